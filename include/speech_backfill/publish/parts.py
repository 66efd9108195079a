"""Which part files make up a version, and bringing them to their place.

A part whose rows all live is copied at the server; one that also holds rows of files that were replaced meanwhile is
written anew without them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from speech_backfill import paths
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.plan.prior import Published
from speech_backfill.relations import one_row
from speech_backfill.store import Store
from speech_backfill.tables.layout import table_directory
from speech_backfill.tables.parquet import ROW_GROUP_BYTES, ROW_GROUP_ROWS, ParquetFile
from speech_backfill.tables.published import PublishedPart
from speech_backfill.tables.schema import TABLES

CONTENT_TABLES = tuple(name for name in TABLES if name != "outcomes")


@dataclass(frozen=True, slots=True)
class Source:
    """The part files of one stem: where they are now, and how many transcribed files they hold rows of."""

    stem: str
    files: int
    tables: dict[str, PublishedPart]
    published: bool
    """Whether they stand at their place already."""


def sources(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, store: Store, plan_id: str, before: Published
) -> Iterator[Source]:
    """The parts this version may draw on: those of the plan's shards, and those of the version before."""
    for round_ in range(ledger.rounds(plan_id)):
        for shard in ledger.shards(plan_id, round_):
            folder = paths.shard_folder(plan_id, round_, shard.index)
            merged = json.loads(store.get(f"{folder}/merged.json"))
            tables = {
                name: PublishedPart(part["path"], part["rows"], part["bytes"])
                for name, part in merged["parts"].items()
                if name != "outcomes"
            }
            stem = paths.part_name(plan_id, round_, shard.index)
            yield Source(stem, merged["counts"]["transcribed"], tables, published=False)
    if before.partition is None:
        return
    rows = connection.execute(
        "SELECT part, count(*) FROM prior WHERE outcome = 'transcribed' AND part IS NOT NULL GROUP BY part ORDER BY part"
    ).fetchall()
    for stem, files in rows:
        found = {
            name: part
            for name in CONTENT_TABLES
            for part in before.partition.parts(name)
            if Path(part.path).stem == stem
        }
        yield Source(stem, files, found, published=True)


@dataclass(frozen=True, slots=True)
class Placer:
    """Brings part files to their place in the tables of one partition."""

    connection: duckdb.DuckDBPyConnection
    store: Store
    plan_id: str
    partition: str
    folder: Path

    def place(self, source: Source, number: int) -> dict[str, PublishedPart]:
        """The parts of *source* that belong to the new version, at their place; none where none of its rows lives."""
        (alive,) = one_row(self.connection, "SELECT count(*) FROM final WHERE part = ?", [source.stem])
        if alive == 0:
            return {}
        if alive == source.files:
            return {name: self._copied(source, name, part) for name, part in source.tables.items()}
        stem = f"{self.plan_id}-k{number:04d}"
        ids = self._alive(source.stem)
        kept = {name: self._filtered(part, name, stem, ids) for name, part in source.tables.items()}
        self.connection.execute("INSERT INTO moved VALUES (?, ?)", [source.stem, stem])
        return {name: part for name, part in kept.items() if part is not None}

    def _alive(self, stem: str) -> pa.Array:
        """Ids of the files whose rows in the parts of *stem* belong to the new version."""
        rows = self.connection.sql("SELECT file_id FROM final WHERE part = ?", params=[stem]).to_arrow_table()
        return rows["file_id"].combine_chunks()

    def _copied(self, source: Source, table: str, part: PublishedPart) -> PublishedPart:
        if source.published:
            return part
        path = f"{table_directory(table, self.partition)}{source.stem}.parquet"
        self.store.copy(part.path, path)
        return PublishedPart(path, part.rows, part.bytes)

    def _filtered(self, part: PublishedPart, table: str, stem: str, ids: pa.Array) -> PublishedPart | None:
        local, target = self.folder / "whole.parquet", self.folder / "kept.parquet"
        self.store.download(part.path, local)
        file = ParquetFile(
            table, target, row_group_rows=ROW_GROUP_ROWS[table], row_group_bytes=ROW_GROUP_BYTES
        )
        with pq.ParquetFile(local) as whole:
            # A row group at a time: rows alone don't say how much memory they take.
            groups = (
                batch
                for number in range(whole.num_row_groups)
                for batch in whole.iter_batches(ROW_GROUP_ROWS[table], row_groups=[number])
            )
            file.write_batches(one.filter(pc.is_in(one["file_id"], value_set=ids)) for one in groups)
        written = file.close()
        local.unlink()
        if written is None:
            return None
        path = f"{table_directory(table, self.partition)}{stem}.parquet"
        self.store.upload(written.path, path)
        return PublishedPart(path, written.rows, written.bytes)
