"""Writes the outcomes table row by row, in memory that does not grow with their number; it never decides an outcome."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pyarrow as pa

from speech_backfill.tables.columns import Columns, booleans, optional_integers, string_maps, texts, times
from speech_backfill.tables.parquet import ROW_GROUP_BYTES, ROW_GROUP_ROWS, ParquetFile, Part
from speech_backfill.tables.rows import OutcomeRow
from speech_backfill.tables.schema import OUTCOMES

_BATCH_ROWS: Final = 8_192


class OutcomesWriter:
    """Writes outcomes into one local Parquet file.

    Use it as a context manager: leaving it closes the file, leaving it by an error removes it. The same rows in the same
    order give the same bytes.
    """

    def __init__(
        self,
        path: Path,
        *,
        row_group_rows: int = ROW_GROUP_ROWS["outcomes"],
        row_group_bytes: int = ROW_GROUP_BYTES,
    ) -> None:
        path.unlink(missing_ok=True)
        self._file = ParquetFile(
            "outcomes", path, row_group_rows=row_group_rows, row_group_bytes=row_group_bytes
        )
        self._batch_rows = min(_BATCH_ROWS, row_group_rows)
        self._pending: list[OutcomeRow] = []
        self._chunks: list[Columns] = []
        self._rows = 0
        self._size_bytes = 0
        self._part: Part | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def add(self, row: OutcomeRow) -> None:
        """Add one row; they stay in the order in which they are added."""
        if self._closed:
            raise ValueError("this OutcomesWriter is closed")
        self._pending.append(row)
        if len(self._pending) >= self._batch_rows:
            self._end_batch()

    def close(self) -> Part | None:
        """End the file; None when it has no row, for then there is no file."""
        if not self._closed:
            self._end_batch()
            self._flush()
            self._part = self._file.close()
            self._closed = True
        return self._part

    def abort(self) -> None:
        """Remove what was written."""
        self._file.abort()
        self._closed = True

    def _end_batch(self) -> None:
        if not self._pending:
            return
        columns = {
            one.name: _column(one.type, list(map(attrgetter(one.name), self._pending))) for one in OUTCOMES
        }
        self._chunks.append(columns)
        self._rows += len(self._pending)
        self._size_bytes += sum(column.nbytes for column in columns.values())
        self._pending = []
        if self._file.is_full(self._rows, self._size_bytes):
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            names = OUTCOMES.names
            self._file.write_row_group(
                {name: pa.chunked_array([chunk[name] for chunk in self._chunks]) for name in names}
            )
        self._chunks, self._rows, self._size_bytes = [], 0, 0


def _column(kind: pa.DataType, values: Sequence[Any]) -> pa.Array:
    if pa.types.is_string(kind):
        return texts(values)
    if pa.types.is_boolean(kind):
        return booleans(values)
    if pa.types.is_timestamp(kind):
        return times(values, kind)
    if pa.types.is_map(kind):
        return string_maps(values, kind)
    return optional_integers(values, kind)
