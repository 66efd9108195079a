"""Writes the parts of transcripts, phrases and words from result files, in memory that does not grow with their number.

It never lets one file harm another: a result file is read whole before a row of it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Self

from speech_backfill.results.decode import decode_result
from speech_backfill.results.model import ResultFile
from speech_backfill.tables.batches import Batch, ResultSummary
from speech_backfill.tables.columns import repeated_texts
from speech_backfill.tables.parquet import ROW_GROUP_BYTES, ROW_GROUP_ROWS, ParquetFile, Part
from speech_backfill.tables.result_rows import PhraseRows, Rows, TranscriptRows, WordRows

BATCH_BYTES: Final = 512 << 10
"""So much result JSON is held as Python values before it becomes Arrow columns, which take a fraction of it."""

OPEN_BYTES: Final = 32 << 20
"""The open row groups of all tables together take so much memory at the most, then the largest is written. Their own limits
alone would let all be nearly full at once, which a merge of many files meets sooner or later."""


class _Table:
    """The open row group of one table: its growing columns, and for every file its id, its URL and its rows."""

    def __init__(self, name: str, file: ParquetFile, rows: Callable[[], Rows], *, with_url: bool) -> None:
        self.name = name
        self.file = file
        self._new_rows = rows
        self._with_url = with_url
        self._clear()

    def _clear(self) -> None:
        self._rows = self._new_rows()
        self._row_count = 0
        self._file_ids: list[str] = []
        self._urls: list[str] = []
        self._counts: list[int] = []

    def count(self, file_id: str, audio_url: str, rows: int) -> None:
        if rows:
            self._file_ids.append(file_id)
            self._urls.append(audio_url)
            self._counts.append(rows)
            self._row_count += rows

    def take(self, batch: Batch) -> None:
        """Make a batch's rows part of the row group, and write it out when it is full."""
        self._rows.take(batch)
        if self.file.is_full(self._row_count, self.size_bytes):
            self.flush()

    @property
    def size_bytes(self) -> int:
        """The memory that the open row group takes, but for small change."""
        return self._rows.size_bytes

    def flush(self) -> None:
        if self._row_count:
            columns = dict(self._rows.columns())
            columns["file_id"] = repeated_texts(self._file_ids, self._counts)
            if self._with_url:
                columns["audio_url"] = repeated_texts(self._urls, self._counts)
            # What the columns were made of goes before they are written: that is when most memory is taken.
            self._clear()
            self.file.write_row_group(columns)


class PartWriter:
    """Writes result files as at most one part per table into a local *folder*.

    Use it as a context manager: leaving it closes the parts, leaving it by an error removes them. The same result files
    in the same order give the same bytes.
    """

    def __init__(
        self,
        folder: Path,
        *,
        row_group_rows: Mapping[str, int] = ROW_GROUP_ROWS,
        row_group_bytes: int = ROW_GROUP_BYTES,
        batch_bytes: int = BATCH_BYTES,
        open_bytes: int = OPEN_BYTES,
    ) -> None:
        self._batch_bytes = batch_bytes
        self._open_bytes = open_bytes
        self._pending_bytes = 0
        self._parts: Mapping[str, Part] | None = None

        def table(name: str, rows: Callable[[], Rows], *, with_url: bool) -> _Table:
            path = folder / f"{name}.parquet"
            # A part of an earlier, interrupted run must not be taken for one of this run.
            path.unlink(missing_ok=True)
            file = ParquetFile(
                name, path, row_group_rows=row_group_rows[name], row_group_bytes=row_group_bytes
            )
            return _Table(name, file, rows, with_url=with_url)

        self._transcripts = table("transcripts", TranscriptRows, with_url=True)
        self._phrases = table("phrases", PhraseRows, with_url=True)
        self._words = table("words", WordRows, with_url=False)
        self._begin_batch()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def add(self, file_id: str, audio_url: str, raw: bytes) -> ResultSummary:
        """Add one result file's rows; raises InvalidResultFile, and then none of its rows is written."""
        if self._parts is not None:
            raise ValueError("this PartWriter is closed")
        return self.add_result(file_id, audio_url, decode_result(raw), size_bytes=len(raw))

    def add_result(
        self, file_id: str, audio_url: str, result: ResultFile, *, size_bytes: int
    ) -> ResultSummary:
        """Add the rows of one result file that is decoded already, and was so large as JSON."""
        summary = self._batch.add(result)
        self._transcripts.count(file_id, audio_url, summary.channels)
        self._phrases.count(file_id, audio_url, summary.phrases)
        self._words.count(file_id, audio_url, summary.words)
        self._pending_bytes += size_bytes
        if self._pending_bytes >= self._batch_bytes:
            self._end_batch()
        return summary

    def close(self) -> Mapping[str, Part]:
        """End the parts. A table without a row has no part and is not in the mapping."""
        if self._parts is None:
            self._end_batch()
            parts = {}
            for table in (self._transcripts, self._phrases, self._words):
                table.flush()
                part = table.file.close()
                if part is not None:
                    parts[table.name] = part
            self._parts = MappingProxyType(parts)
        return self._parts

    def abort(self) -> None:
        """Remove what was written."""
        for table in (self._transcripts, self._phrases, self._words):
            table.file.abort()
        self._parts = MappingProxyType({})

    def _begin_batch(self) -> None:
        self._batch = Batch()
        self._pending_bytes = 0

    def _end_batch(self) -> None:
        self._batch.end()
        tables = (self._transcripts, self._phrases, self._words)
        for table in tables:
            table.take(self._batch)
        self._begin_batch()
        while sum(table.size_bytes for table in tables) > self._open_bytes:
            max(tables, key=lambda table: table.size_bytes).flush()
