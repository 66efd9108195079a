"""Writes the parts of transcripts, phrases and words from result files, in memory that does not grow with their number.

It never lets one file harm another: a result file is read whole before a row of it is kept.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Self

import pyarrow as pa

from speech_backfill.results.decode import decode_result
from speech_backfill.results.transcript import best_alternatives, channel_transcripts, main_locale
from speech_backfill.tables.batches import SpeechBatch, TranscriptBatch
from speech_backfill.tables.columns import Columns, repeated_texts
from speech_backfill.tables.parquet import ROW_GROUP_BYTES, ROW_GROUP_ROWS, ParquetFile, Part

BATCH_BYTES: Final = 4 << 20
"""So much result JSON is held as Python values before it becomes Arrow columns, which take a fraction of it."""


@dataclass(frozen=True, slots=True)
class ResultSummary:
    """What one result file added to the tables."""

    duration_ms: int | None
    channels: int
    phrases: int
    words: int
    locale: str | None
    source_url: str | None
    """The audio file's URL as the result file gives it, without its query."""


class _Table:
    """The open row group of one table: finished column chunks, and for every file its id, its URL and its rows."""

    def __init__(self, name: str, file: ParquetFile, *, with_url: bool) -> None:
        self.name = name
        self.file = file
        self._with_url = with_url
        self._clear()

    def _clear(self) -> None:
        self._chunks: list[Columns] = []
        self._rows = 0
        self._size_bytes = 0
        self._file_ids: list[str] = []
        self._urls: list[str] = []
        self._counts: list[int] = []

    def count(self, file_id: str, audio_url: str, rows: int) -> None:
        if rows:
            self._file_ids.append(file_id)
            self._urls.append(audio_url)
            self._counts.append(rows)
            self._rows += rows

    def take(self, columns: Columns) -> None:
        """Make a batch's columns part of the row group, and write it out when it is full."""
        self._chunks.append(columns)
        self._size_bytes += sum(column.nbytes for column in columns.values())
        if self.file.is_full(self._rows, self._size_bytes):
            self.flush()

    def flush(self) -> None:
        if self._rows:
            columns = {
                name: pa.chunked_array([chunk[name] for chunk in self._chunks]) for name in self._chunks[0]
            }
            columns["file_id"] = repeated_texts(self._file_ids, self._counts)
            if self._with_url:
                columns["audio_url"] = repeated_texts(self._urls, self._counts)
            self.file.write_row_group(columns)
        self._clear()


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
    ) -> None:
        self._batch_bytes = batch_bytes
        self._pending_bytes = 0
        self._parts: Mapping[str, Part] | None = None

        def table(name: str, *, with_url: bool) -> _Table:
            path = folder / f"{name}.parquet"
            # A part of an earlier, interrupted run must not be taken for one of this run.
            path.unlink(missing_ok=True)
            file = ParquetFile(
                name, path, row_group_rows=row_group_rows[name], row_group_bytes=row_group_bytes
            )
            return _Table(name, file, with_url=with_url)

        self._transcripts = table("transcripts", with_url=True)
        self._phrases = table("phrases", with_url=True)
        self._words = table("words", with_url=False)
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
        with _without_gc():
            result = decode_result(raw)
            phrases = result.phrases or []
            best = best_alternatives(phrases)
            transcripts = channel_transcripts(result, phrases, best)
            duration_ms = result.duration_ms
            # From here on nothing depends on the file's content any more: no row can fail to be added.
            self._transcripts.count(file_id, audio_url, self._transcript_batch.add(transcripts, duration_ms))
            spoken, words = self._speech_batch.add(phrases, best)
            self._phrases.count(file_id, audio_url, spoken)
            self._words.count(file_id, audio_url, words)
        self._pending_bytes += len(raw)
        if self._pending_bytes >= self._batch_bytes:
            self._end_batch()
        return ResultSummary(
            duration_ms=duration_ms,
            channels=len(transcripts),
            phrases=spoken,
            words=words,
            locale=main_locale(phrases),
            source_url=result.source,
        )

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
        self._transcript_batch = TranscriptBatch()
        self._speech_batch = SpeechBatch()
        self._pending_bytes = 0

    def _end_batch(self) -> None:
        with _without_gc():
            self._transcripts.take(self._transcript_batch.columns())
            self._phrases.take(self._speech_batch.phrase_columns())
            self._words.take(self._speech_batch.word_columns())
        self._begin_batch()


@contextmanager
def _without_gc() -> Iterator[None]:
    """Keep the garbage collector from walking over thousands of young values that can't form a cycle."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
