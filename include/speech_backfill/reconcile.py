"""Reconcile a round: every audio file of the manifest against the merged outcomes, and a repair of what may be cured.

Runs as often as wanted: files that a repair chunk holds already, of this plan or an earlier one, are not cut again.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from speech_backfill import paths
from speech_backfill.chunk_files import file_ids, write_chunk
from speech_backfill.error_classes import OurCode
from speech_backfill.ledger.ledger import Ledger, NewPlacement, PlansChanged
from speech_backfill.ledger.records import ChunkRecord, Placement, PlanRecord, PlanState
from speech_backfill.model import Shard
from speech_backfill.plan.chunks import chunk_record
from speech_backfill.plan.cut import shards_of
from speech_backfill.recut import COLUMNS, ORDER, load_cuts, recut
from speech_backfill.relations import batches, one_row, parquet, relations
from speech_backfill.settings import Settings
from speech_backfill.store import Store
from speech_backfill.tables.schema import OUTCOMES

_MAX_REPAIR_SHARDS = 16
"""A repair is a small part of its run; so are its task instances."""

_MERGED = """
CREATE VIEW merged AS
SELECT {columns}, file_row_number AS row,
       split_part(parse_filename(filename, true), '-', 2)::INTEGER AS round,
       split_part(parse_filename(filename, true), '-', 3)::INTEGER AS shard
FROM read_parquet({files}, union_by_name = true, hive_partitioning = false, filename = true, file_row_number = true)
"""
"""Every outcome row of the plan, and where it stands: the files are named by round and shard."""

_BEATEN = """
CREATE TABLE beaten AS
WITH many AS (
    SELECT hash(file_id) AS hashed FROM merged GROUP BY ALL HAVING count(*) > 1
)
SELECT round, shard, row FROM (
    SELECT round, shard, row, row_number() OVER (
        PARTITION BY file_id ORDER BY (outcome = 'transcribed') DESC, round DESC, shard, attempt DESC, chunk_id
    ) AS rank
    FROM (SELECT * FROM merged SEMI JOIN many ON hash(file_id) = hashed)
) WHERE rank > 1
"""
"""Where the outcome rows stand that do not count. A file may come back in several rounds, and a late result beside its repair:
a transcript wins, then the latest round. One row for each file, whatever happened.

Most files come once, so only those that may come again (two may share a hash) are ranked, and only places are kept.
"""


@dataclass(frozen=True, slots=True)
class MergedShard:
    """A shard of a round and whether its merge has come to its end."""

    shard: Shard
    merged: bool


def merged_shards(ledger: Ledger, store: Store, plan_id: str, round_: int) -> list[MergedShard]:
    """The shards of a round; one counts as merged once its merged.json is there."""
    return [
        MergedShard(one, store.exists(f"{paths.shard_folder(plan_id, round_, one.index)}/merged.json"))
        for one in ledger.shards(plan_id, round_)
    ]


def load_outcomes(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, store: Store, plan_id: str, folder: Path
) -> list[Shard]:
    """Make the view `latest`: of every file its outcome row that counts, with columns round and shard.

    It reads the shards' outcomes, of all rounds, where they lie in *folder*. Returns the shards that are not merged.
    """
    # An empty part stands beside them: there may be none, and what older parts lack is null.
    files = [folder / "none-0-0.parquet"]
    pq.ParquetWriter(files[0], OUTCOMES).close()
    unmerged = []
    for round_ in range(ledger.rounds(plan_id)):
        for one in merged_shards(ledger, store, plan_id, round_):
            if not one.merged:
                unmerged.append(one.shard)
                continue
            stem = paths.shard_folder(plan_id, round_, one.shard.index)
            described = json.loads(store.get(f"{stem}/merged.json"))["parts"]
            if "outcomes" not in described:
                continue
            files.append(folder / f"outcomes-{round_}-{one.shard.index}.parquet")
            store.download(described["outcomes"]["path"], files[-1])
    connection.execute(
        _MERGED.format(
            columns=", ".join(f'"{name}"' for name in OUTCOMES.names),
            files=parquet(*files),
        )
    )
    connection.execute(_BEATEN)
    connection.execute(
        "CREATE VIEW latest AS SELECT * FROM merged ANTI JOIN beaten USING (round, shard, row)"
    )
    return unmerged


def load_manifest(connection: duckdb.DuckDBPyConnection, store: Store, plan_id: str, folder: Path) -> None:
    """Make the view `manifest`: the frozen manifest of the plan."""
    local = folder / "manifest.parquet"
    store.download(paths.manifest(plan_id), local)
    connection.execute(
        f"CREATE VIEW manifest AS SELECT * FROM read_parquet({parquet(local)}, hive_partitioning = false)"  # noqa: S608  our own path
    )


@dataclass(frozen=True, slots=True)
class Reconciler:
    """The pieces that reconciling needs; `reconcile` is its verb."""

    ledger: Ledger
    store: Store
    settings: Settings

    def reconcile(self, plan_id: str, round_: int) -> list[Shard]:
        """Plan round *round_* + 1 from the outcomes so far and return its shards; none where nothing can be cured.

        Files of shards that are not merged are left alone: they may well be transcribed. A published plan has no repair.
        """
        following = round_ + 1
        plan = self.ledger.plan(plan_id)
        while plan.state is not PlanState.PUBLISHED:
            try:
                self._reconcile(plan, following)
                break
            except PlansChanged:
                continue  # others have claimed or settled some of these files meanwhile: look again
        return self.ledger.shards(plan_id, following)

    def _reconcile(self, plan: PlanRecord, following: int) -> None:
        claims = self.ledger.claims(plan.partition, only_run_key=plan.run_key if plan.reprocess else None)
        placements = [
            one
            for round_ in range(self.ledger.rounds(plan.plan_id))
            for one in self.ledger.placements(plan.plan_id, round_)
        ]
        placed = [one for one in placements if one.round == following]
        with (
            tempfile.TemporaryDirectory(prefix="speech-backfill-reconcile-") as name,
            relations(Path(name)) as connection,
        ):
            folder = Path(name)
            load_manifest(connection, self.store, plan.plan_id, folder)
            load_outcomes(connection, self.ledger, self.store, plan.plan_id, folder)
            self._load_repaired(connection, placed)
            load_cuts(connection, self.ledger, "latest")
            connection.execute(_REPAIRS)
            first, last = one_row(connection, "SELECT min(audio_url), max(audio_url) FROM repairs")
            if first is None:
                return
            mine = {one.chunk.chunk_id for one in placements}
            taken = self._adopted(
                connection, [one for one in claims.within(first, last) if one.chunk_id not in mine]
            )
            chunks = [*((one, None) for one in taken), *self._cut(connection, plan)]
        start = 1 + max((one.shard for one in placed), default=-1)
        attempts = self.ledger.next_attempts([one.chunk_id for one, _ in chunks])
        for one in placements:
            # A repair chunk with the content of an earlier round's chunk is that chunk's next attempt.
            if one.chunk.chunk_id in attempts:
                attempts[one.chunk.chunk_id] = max(attempts[one.chunk.chunk_id], one.attempt + 1)
        shards = shards_of([one.audio_ms for one, _ in chunks], max_shards=_MAX_REPAIR_SHARDS)
        new = [
            NewPlacement(
                chunk,
                shard=start + shards[number],
                ordinal=number,
                attempt=attempts[chunk.chunk_id],
                away_from=away_from,
            )
            for number, (chunk, away_from) in enumerate(chunks)
        ]
        self.ledger.add_round(
            plan.plan_id,
            following,
            new,
            claims=claims,
            bounds=(first, last),
            placed=[one.chunk.chunk_id for one in placed],
        )

    def _load_repaired(self, connection: duckdb.DuckDBPyConnection, placed: Sequence[Placement]) -> None:
        """Make the table `repaired`: ids of files that stand in a chunk of the following round already."""
        connection.execute("CREATE TABLE repaired (file_id VARCHAR)")
        for placement in placed:
            ids = file_ids(self.store, placement.chunk.chunk_id)
            connection.register("placed", ids)
            connection.execute("INSERT INTO repaired SELECT file_id FROM placed")
            connection.unregister("placed")

    def _adopted(
        self, connection: duckdb.DuckDBPyConnection, claimed: Sequence[ChunkRecord]
    ) -> list[ChunkRecord]:
        """Those of *claimed* (an earlier plan's repairs, say) that hold files to repair: they are not cut again."""
        taken = []
        for chunk in claimed:
            connection.register("candidate", file_ids(self.store, chunk.chunk_id))
            (found,) = one_row(connection, "SELECT count(*) FROM repairs SEMI JOIN candidate USING (file_id)")
            if found:
                taken.append(chunk)
                connection.execute("DELETE FROM repairs WHERE file_id IN (SELECT file_id FROM candidate)")
            connection.unregister("candidate")
        return taken

    def _cut(
        self, connection: duckdb.DuckDBPyConnection, plan: PlanRecord
    ) -> Iterator[tuple[ChunkRecord, str | None]]:
        """Chunks of the files that may be cured, written to the store, and the resource each had better keep away from."""
        examples = dict(
            connection.execute("SELECT options_id, min(chunk_id) FROM repairs GROUP BY 1").fetchall()
        )
        options = self.ledger.options_of_chunks(list(examples.values()))
        rates = rates_of(self.store, plan.plan_id)
        rows = batches(connection, f"SELECT * EXCLUDE (position, chunk_id) FROM repairs m ORDER BY {ORDER}")  # noqa: S608  our own
        for one in recut(rows, self.settings):
            write_chunk(self.store, one.chunk.chunk_id, list(one.chunk.files))
            record = chunk_record(
                one.chunk,
                partition=plan.partition,
                options=options[examples[one.chunk.options_id]],
                settings=self.settings,
                seconds_per_byte=rates,
            )
            yield record, one.away_from


def rates_of(store: Store, plan_id: str) -> dict[str, float]:
    """By format, what the plan reserves for a byte whose duration is not known; empty where it was made before rates were kept."""
    rates: dict[str, float] = json.loads(store.get(paths.plan_summary(plan_id))).get("seconds_per_byte", {})
    return rates


_REPAIRS = f"""
CREATE TABLE repairs AS
SELECT {COLUMNS}, m.position, e.chunk_id
FROM manifest m JOIN latest e USING (file_id) ANTI JOIN repaired r USING (file_id)
LEFT JOIN cuts c ON c.chunk_id = e.chunk_id AND c.attempt = e.attempt
WHERE m.disposition = 'submit' AND e.outcome <> 'transcribed' AND e.can_retry AND e.error_code IS DISTINCT FROM '{OurCode.OVER_BUDGET}'
"""  # noqa: S608  our own columns
