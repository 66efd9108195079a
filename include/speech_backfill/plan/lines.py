"""Source lines → a local Parquet file that DuckDB can sort and join. Streams; holds one batch in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from speech_backfill.manifest.lines import ManifestLine, RefusedLine
from speech_backfill.model import TranscriptionOptions
from speech_backfill.tables.columns import optional_floats, optional_integers, string_maps, texts

BATCH = 20_000
BATCH_BYTES = 16_000_000
"""How many rows are held at once, and written as a row group: fewer where the source has wide columns of its own."""

LINES = pa.schema(
    [
        pa.field("line", pa.int64(), nullable=False),
        pa.field("audio_url", pa.string(), nullable=False),
        pa.field("file_id", pa.string(), nullable=False),
        pa.field("etag", pa.string()),
        pa.field("size_bytes", pa.int64()),
        pa.field("modified_at", pa.float64()),
        pa.field("duration_ms", pa.int64()),
        pa.field("options_id", pa.string(), nullable=False),
        pa.field("residency", pa.string(), nullable=False),
        pa.field("manifest_columns", pa.map_(pa.string(), pa.string())),
        pa.field("error_code", pa.string()),
        pa.field("error_message", pa.string()),
    ]
)


def write_lines(
    lines: Iterable[ManifestLine | RefusedLine], target: Path, *, residency: str = ""
) -> dict[str, TranscriptionOptions]:
    """Write *lines* to *target* and return the options met, by their id. *residency* is that of files that name none."""
    options: dict[str, TranscriptionOptions] = {}
    ids: dict[int, str] = {}
    with pq.ParquetWriter(target, LINES, compression="zstd", compression_level=1) as writer:
        rows: list[tuple[Any, ...]] = []
        size_bytes = 0
        for one in lines:
            match one:
                case ManifestLine(number=number, file=file, options=asked):
                    # Rows share a handful of options objects; their ids are digests worth computing once.
                    options_id = ids.get(id(asked))
                    if options_id is None:
                        options_id = asked.options_id
                        options.setdefault(options_id, asked)
                        ids[id(options[options_id])] = options_id
                    own = file.manifest_columns
                    if own:
                        size_bytes += sum(map(len, own)) + sum(map(len, own.values()))
                    row: tuple[Any, ...] = (
                        number,
                        file.url,
                        file.file_id(options_id),
                        file.etag,
                        file.size_bytes,
                        file.modified_at,
                        file.duration_ms,
                        options_id,
                        residency if file.residency is None else file.residency,
                        own,
                        None,
                        None,
                    )
                case RefusedLine(number=number, text=text, code=code, problem=problem):
                    refused_id = hashlib.blake2b(
                        f"refused\n{number}\n{text}".encode(), digest_size=16
                    ).hexdigest()
                    row = (number, text, refused_id, None, None, None, None, "", "", {}, code, problem)
            rows.append(row)
            if len(rows) >= BATCH or size_bytes >= BATCH_BYTES:
                _flush(writer, rows)
                rows, size_bytes = [], 0
        if rows:
            _flush(writer, rows)
    # Or Arrow keeps what it has freed while DuckDB joins.
    pa.default_memory_pool().release_unused()
    return options


def bounded_batches(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """The rows of *file*, no more at once than a row group of it and BATCH."""
    for number in range(file.num_row_groups):
        yield from file.iter_batches(BATCH, row_groups=[number], use_threads=False)


def _flush(writer: pq.ParquetWriter, rows: Sequence[tuple[Any, ...]]) -> None:
    arrays = [_column(one.type, values) for values, one in zip(zip(*rows, strict=True), LINES, strict=True)]
    writer.write_table(pa.Table.from_arrays(arrays, schema=LINES))


def _column(kind: pa.DataType, values: Sequence[Any]) -> pa.Array:
    if pa.types.is_string(kind):
        return texts(values)
    if pa.types.is_map(kind):
        return string_maps(values, kind)
    if pa.types.is_floating(kind):
        return optional_floats(values)
    return optional_integers(values, kind)
