"""A Parquet manifest: row group after row group, batch after batch, never the whole table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from speech_backfill.errors import UnreadableManifest
from speech_backfill.manifest.formats import Reading
from speech_backfill.manifest.lines import Line

_BATCH_ROWS = 4096


def parquet_table(file: BinaryIO, reading: Reading) -> Iterator[Line]:
    """The rows of the Parquet *file*, numbered from 1. Raises UnreadableManifest, MissingColumn."""
    try:
        table = pq.ParquetFile(file, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableManifest(reading.source, "Parquet", _said(error)) from None
    rows = reading.rows(table.schema_arrow.names)
    batches = table.iter_batches(batch_size=_BATCH_ROWS, use_threads=False)
    number = 0
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError) as error:
            raise UnreadableManifest(
                reading.source, "Parquet", f"after row {number}: {_said(error)}"
            ) from None
        if batch is None:
            return
        for cells in zip(*(_python_values(column) for column in batch.columns), strict=True):
            number += 1
            yield rows.read(number, cells)


def _python_values(column: Any) -> list[Any]:
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException):  # times that Python can't hold
        values = column.cast(pa.string()).to_pylist()
    return values


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
