"""The frozen manifest: every audio file of a partition with what the plan means to do about it. Written once."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from speech_backfill.plan.lines import BATCH_BYTES, bounded_batches
from speech_backfill.relations import THREADS, one_row, parquet, steps
from speech_backfill.tables.columns import integers, optional_integers, texts

_WIDE_MEMORY_LIMIT = "256MB"
"""DuckDB's share while it reads the rows of files published before."""

MANIFEST = pa.schema(
    [
        pa.field("position", pa.int64(), nullable=False),
        pa.field("file_id", pa.string(), nullable=False),
        pa.field("audio_url", pa.string(), nullable=False),
        pa.field("etag", pa.string()),
        pa.field("size_bytes", pa.int64()),
        pa.field("modified_at", pa.float64()),
        pa.field("duration_ms", pa.int64()),
        pa.field("options_id", pa.string()),
        pa.field("residency", pa.string()),
        pa.field("disposition", pa.string(), nullable=False),
        pa.field("transcribed_in", pa.string()),
        pa.field("error_code", pa.string()),
        pa.field("error_message", pa.string()),
        pa.field("manifest_columns", pa.map_(pa.string(), pa.string())),
    ]
)


def write_manifest(connection: duckdb.DuckDBPyConnection, lines: Path | None, target: Path) -> str:
    """Write *lines* as `decisions` has them and then `from_prior`; returns the digest of ids, dispositions and residencies.

    `manifest` is a view of the file from then on.
    """
    digest = hashlib.blake2b(digest_size=16)
    position = 0
    with pq.ParquetWriter(target, MANIFEST, compression="zstd") as writer:
        for rows in _rows(connection, lines):
            of_each = (rows[name].to_pylist() for name in ("file_id", "disposition", "residency"))
            digest.update(
                "".join(
                    [f"{one} {what} {where or ''}\n" for one, what, where in zip(*of_each, strict=True)]
                ).encode()
            )
            positions = integers(np.arange(position, position + len(rows)), pa.int64())
            position += len(rows)
            _write(writer, rows.add_column(0, "position", positions).select(MANIFEST.names).cast(MANIFEST))
    # Or Arrow keeps what it has freed, some 40 MB, while DuckDB sorts.
    pa.default_memory_pool().release_unused()
    _view(connection, target)
    return digest.hexdigest()


def note_durations(
    connection: duckdb.DuckDBPyConnection, source: Path, target: Path, durations: Mapping[str, int]
) -> None:
    """Move the manifest *source* to *target*, with the *durations* (by file id) that were read. `manifest` follows."""
    if durations:
        connection.register("noted", pa.table({"file_id": texts(list(durations))}))
        found = connection.execute(
            "SELECT position, file_id FROM manifest SEMI JOIN noted USING (file_id) ORDER BY position"
        ).fetchall()
        connection.unregister("noted")
        _write_noted(source, target, [(position, durations[file_id]) for position, file_id in found])
        source.unlink()
    else:
        source.rename(target)
    _view(connection, target)


def _view(connection: duckdb.DuckDBPyConnection, file: Path) -> None:
    connection.execute(
        f"CREATE OR REPLACE VIEW manifest AS SELECT * FROM read_parquet({parquet(file)}, hive_partitioning = false)"  # noqa: S608  our own path
    )


def _rows(connection: duckdb.DuckDBPyConnection, lines: Path | None) -> Iterator[pa.Table]:
    """The rows of the manifest in order, without their positions."""
    if lines is not None:
        with pq.ParquetFile(lines, pre_buffer=False) as file:
            for batch in bounded_batches(file):
                yield _decided(connection, batch)
    (left,) = one_row(connection, "SELECT count(*) FROM taken")
    if not left:
        return
    columns = ", ".join(f'"{name}"' for name in MANIFEST.names[1:])
    query = f"""SELECT {columns} FROM from_prior
                WHERE line >= $first AND line < $first + $positions ORDER BY line"""  # noqa: S608  our own names
    # All columns are read at once, which takes more than keys do: one thread, and more memory.
    (limit,) = one_row(connection, "SELECT current_setting('memory_limit')")
    connection.execute(f"SET threads = 1; SET memory_limit = '{_WIDE_MEMORY_LIMIT}'")
    for first, positions in steps(connection, "prior", "manifest_position"):
        rows = connection.sql(query, params={"first": first, "positions": positions}).to_arrow_table()
        if len(rows):
            left -= len(rows)
            yield rows
    connection.execute(f"SET threads = {THREADS}; SET memory_limit = '{limit}'")
    assert left == 0, "files published before are not where they were"


def _decided(connection: duckdb.DuckDBPyConnection, batch: pa.RecordBatch) -> pa.Table:
    """Those rows of *batch* that are decided about, with their decisions.

    Wide rows neither enter DuckDB nor are sorted there: they stand in the order of the manifest already.
    """
    numbers = np.from_dlpack(batch["line"])
    found = connection.sql(
        "SELECT line, disposition::VARCHAR AS disposition, transcribed_in FROM decisions WHERE line BETWEEN ? AND ? ORDER BY line",
        params=[int(numbers.min()), int(numbers.max())],
    ).to_arrow_table()
    places = {number: place for place, number in enumerate(numbers.tolist())}
    rows = batch.take(
        integers(np.array([places[one] for one in found["line"].to_pylist()], np.int64), pa.int64())
    )
    made = pa.Table.from_batches([rows])
    for name in ("disposition", "transcribed_in"):
        made = made.append_column(name, found[name])
    return made


def _write_noted(source: Path, target: Path, noted: list[tuple[int, int]]) -> None:
    """Copy *source* to *target* with the *noted* (position, duration), which come in order."""
    column = MANIFEST.get_field_index("duration_ms")
    begin = 0
    with (
        pq.ParquetFile(source, pre_buffer=False) as file,
        pq.ParquetWriter(target, MANIFEST, compression="zstd") as writer,
    ):
        for batch in bounded_batches(file):
            end = begin + len(batch)
            rows = pa.Table.from_batches([batch])
            here = noted[bisect_left(noted, (begin, 0)) : bisect_left(noted, (end, 0))]
            if here:
                values = batch.column(column).to_pylist()
                for position, duration in here:
                    values[position - begin] = duration
                rows = rows.set_column(column, MANIFEST.field(column), optional_integers(values, pa.int64()))
            _write(writer, rows)
            begin = end


def _write(writer: pq.ParquetWriter, rows: pa.Table) -> None:
    """Write *rows* in row groups that are no wider than a batch: whoever reads one needs memory for all its columns."""
    if rows.nbytes <= BATCH_BYTES or len(rows) == 1:
        writer.write_table(rows)
        return
    half = len(rows) // 2
    _write(writer, rows.slice(0, half))
    _write(writer, rows.slice(half))
