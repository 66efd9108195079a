"""What earlier runs did: the published outcomes of the same partition, and the ids other partitions have transcribed.

A plan without a source also learns here how long its files are, as the plan before it knew.
Only indexes whose URLs can overlap the source are read, so a nightly plan does not pay for years of history.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from speech_backfill import paths
from speech_backfill.errors import StoreError
from speech_backfill.ledger.ledger import Ledger, PlansChanged
from speech_backfill.plan.dispositions import KEY
from speech_backfill.relations import exactly, parquet
from speech_backfill.store import Store
from speech_backfill.tables.columns import texts
from speech_backfill.tables.errors import UnreadablePartitionFile
from speech_backfill.tables.layout import partition_file
from speech_backfill.tables.published import PublishedPartition, read_partition_file
from speech_backfill.tables.schema import OUTCOMES

log = logging.getLogger(__name__)

INDEX = pa.schema([pa.field("file_id", pa.string(), nullable=False)])
"""The index of a partition: ids of the files whose rows it holds."""


@dataclass(frozen=True, slots=True)
class Published:
    """The visible version of a partition, as its partition file says; version 0: none yet."""

    partition: PublishedPartition | None
    etag: str | None

    @property
    def version(self) -> int:
        """Counts publications."""
        return 0 if self.partition is None else self.partition.version


def published(store: Store, partition: str) -> Published:
    """Read the partition file of *partition*. Raises UnreadablePartitionFile where it is spoilt."""
    path = partition_file(partition)
    found = store.get_versioned(path)
    if found is None:
        return Published(None, None)
    return Published(read_partition_file(path, found[0]), found[1])


def load_prior(connection: duckdb.DuckDBPyConnection, store: Store, before: Published, folder: Path) -> None:
    """Make the view `prior`: the published outcomes of this partition, all columns; empty where there are none.

    Raises UnreadablePartitionFile where a part that the partition file names is gone.
    """
    # An empty part of today's schema stands beside them: what older parts lack is null.
    files = [folder / "prior.parquet"]
    pq.ParquetWriter(files[0], OUTCOMES).close()
    for number, part in enumerate([] if before.partition is None else before.partition.parts("outcomes")):
        files.append(folder / f"prior-{number}.parquet")
        try:
            store.download(part.path, files[-1])
        except FileNotFoundError as error:
            assert before.partition is not None
            path = partition_file(before.partition.partition)
            raise UnreadablePartitionFile(path, f"the part {part.path} that it names is gone") from error
    columns = ", ".join(f'"{name}"' for name in OUTCOMES.names)
    connection.execute(
        f"""CREATE VIEW prior AS SELECT {columns}
            FROM read_parquet({parquet(*files)}, union_by_name = true, hive_partitioning = false)"""  # noqa: S608  our own names
    )


def load_planned(
    connection: duckdb.DuckDBPyConnection, store: Store, before: Published, folder: Path
) -> None:
    """Make the relation `planned` (position, file_id, duration_ms): the durations in the frozen manifest of what is published.

    They were given by the source or read from headers. Outcomes don't have them: theirs are the service's, and what failed has
    none. Empty where that manifest is gone or spoilt: the audio is estimated anew then, and nothing else is lost.
    """
    plan_id = None if before.partition is None else before.partition.plan_id
    if plan_id is not None:
        local = folder / "planned.parquet"
        try:
            store.download(paths.manifest(plan_id), local)
            pq.read_schema(local)
        except (FileNotFoundError, pa.ArrowInvalid) as error:
            log.warning(
                "plan %s: its manifest is gone or spoilt, so durations are estimated anew: %s", plan_id, error
            )
        else:
            connection.execute(
                f"""CREATE VIEW planned AS SELECT position, file_id, duration_ms
                    FROM read_parquet({parquet(local)}, hive_partitioning = false)"""  # noqa: S608  our own path
            )
            return
    connection.execute("CREATE TABLE planned (position BIGINT, file_id VARCHAR, duration_ms BIGINT)")


def load_elsewhere(
    connection: duckdb.DuckDBPyConnection,
    store: Store,
    ledger: Ledger,
    partition: str,
    folder: Path,
    *,
    first_url: str,
    last_url: str,
) -> None:
    """Make the table `elsewhere` (file, transcribed_in): which of the `lines` overlapping other partitions hold.

    A file is named by its KEY, and once: of several partitions the first by name counts. Raises PlansChanged where one
    of them is published anew at this moment.
    """
    found: list[tuple[str, Path]] = []
    for number, other in enumerate(ledger.partitions()):
        if other.partition == partition or other.last_url < first_url or other.first_url > last_url:
            continue
        local = folder / f"elsewhere-{number}.parquet"
        path = paths.index(other.partition, other.plan_id)
        try:
            store.download(path, local)
        except FileNotFoundError as error:
            # Never taken for "nothing was transcribed there": that would pay for all of it again.
            now = ledger.partition(other.partition)
            if now is None or now.plan_id == other.plan_id:
                raise StoreError("read", path, "the index of a published partition is gone") from error
            raise PlansChanged from error
        found.append((other.partition, local))
    if not found:
        connection.execute("CREATE TABLE elsewhere (file UHUGEINT, transcribed_in VARCHAR)")
        return
    # All at once, as the lines are too many to be gone through for every partition; and only what the source asks for is
    # kept, so that the table stays as small as the overlap.
    named = pa.table(
        {"partition": texts([one for one, _ in found]), "path": texts([str(one) for _, one in found])}
    )
    connection.register("others", named)
    connection.execute(
        f"""CREATE TABLE overlap AS
            SELECT file, filename FROM (SELECT {KEY.format("file_id")} AS file, filename FROM read_parquet(?, hive_partitioning = false, filename = true))
            SEMI JOIN (SELECT {KEY.format("file_id")} AS file FROM lines) USING (file)""",  # noqa: S608  our own columns
        [[exactly(one) for _, one in found]],
    )
    connection.execute(
        """CREATE TABLE elsewhere AS
           SELECT file, min(partition) AS transcribed_in FROM overlap JOIN others ON path = filename GROUP BY file"""
    )
    connection.execute("DROP TABLE overlap")
    connection.unregister("others")
    for _, local in found:
        local.unlink()
