"""The rows that result files make in transcripts, phrases and words: columns that grow batch by batch; it never writes.

Attributes become numbers and texts by the list, without a Python statement per row. What repeats per file
(its id, its URL) is not kept here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from speech_backfill.results.model import MAX_TICKS, Alternative, CombinedPhrase
from speech_backfill.tables.batches import FORMS, Batch
from speech_backfill.tables.columns import (
    Columns,
    Floats,
    coded_texts,
    confidences,
    integers,
    milliseconds,
    optional_integers,
)
from speech_backfill.tables.growing import (
    GrowingBytes,
    RepeatingTexts,
    Texts,
    count_column,
    counts,
    doubles,
    packed_counts,
    packed_doubles,
)


class Rows(Protocol):
    """The growing columns of one table."""

    @property
    def size_bytes(self) -> int:
        """The memory that they take, but for small change."""

    def take(self, batch: Batch) -> None:
        """Append the rows of *batch*, which has ended."""

    def columns(self) -> Columns:
        """All rows, but for what repeats per file; nothing is taken after."""


class _Forms:
    """The four forms of a text, each a column."""

    def __init__(self) -> None:
        self._display, self._lexical, self._itn, self._masked_itn = Texts(), Texts(), Texts(), Texts()

    @property
    def size_bytes(self) -> int:
        texts = (self._display, self._lexical, self._itn, self._masked_itn)
        return sum(one.size_bytes for one in texts)

    def add(self, owners: Sequence[CombinedPhrase] | Sequence[Alternative]) -> None:
        self._display.add([one.display for one in owners])
        self._lexical.add([one.lexical for one in owners])
        self._itn.add([one.itn for one in owners])
        self._masked_itn.add([one.masked_itn for one in owners])

    def columns(self) -> Columns:
        return {
            "display": self._display.array(),
            "lexical": self._lexical.array(),
            "itn": self._itn.array(),
            "masked_itn": self._masked_itn.array(),
        }


class TranscriptRows:
    """Rows of the transcripts table."""

    def __init__(self) -> None:
        self._channels, self._per_file = GrowingBytes(), GrowingBytes()
        self._locales = RepeatingTexts()
        self._forms = _Forms()
        self._durations_ms: list[int | None] = []
        self._phrase_channels, self._phrases_per_file = GrowingBytes(), GrowingBytes()
        self._phrase_ticks, self._phrase_confidences = GrowingBytes(), GrowingBytes()

    @property
    def size_bytes(self) -> int:
        """The memory that they take, but for small change."""
        return self._forms.size_bytes + len(self._phrase_ticks) * 5 // 2

    def take(self, batch: Batch) -> None:
        """Append the rows of *batch*, which has ended."""
        rows = batch.transcripts
        self._channels += packed_counts([one.channel for one in rows])
        self._per_file += packed_counts(batch.transcripts_per_file)
        self._locales.add(batch.transcript_locales)
        self._forms.add(rows)
        self._durations_ms += batch.durations_ms
        self._phrase_channels += batch.phrase_channels
        self._phrases_per_file += packed_counts(batch.phrases_per_file)
        self._phrase_ticks += batch.phrase_ticks
        self._phrase_confidences += batch.phrase_confidences

    def columns(self) -> Columns:
        """All rows, but for what repeats per file; nothing is taken after."""
        # Files come in order, and a file's channels, too: the keys of the transcripts are sorted.
        of_transcripts = _keys(self._per_file, self._channels)
        of_phrases = _keys(self._phrases_per_file, self._phrase_channels)
        spoken_ticks, phrase_counts, means = _sums(
            np.searchsorted(of_transcripts, of_phrases),
            len(of_transcripts),
            doubles(self._phrase_ticks),
            doubles(self._phrase_confidences),
        )
        return {
            "channel": count_column(self._channels),
            "locale": self._locales.array(),
            **self._forms.columns(),
            "duration_ms": optional_integers(self._durations_ms, pa.int64()),
            "speech_ms": milliseconds(np.where(spoken_ticks < MAX_TICKS, spoken_ticks, 0.0)),
            "phrase_count": integers(phrase_counts, pa.int32()),
            "confidence": confidences(means),
        }


class PhraseRows:
    """Rows of the phrases table."""

    def __init__(self) -> None:
        self._channels, self._per_file, self._speakers = GrowingBytes(), GrowingBytes(), GrowingBytes()
        self._locales, self._statuses = RepeatingTexts(), RepeatingTexts()
        self._offsets, self._durations, self._confidences = GrowingBytes(), GrowingBytes(), GrowingBytes()
        self._forms = _Forms()

    @property
    def size_bytes(self) -> int:
        """The memory that they take, but for small change."""
        repeating = self._locales.size_bytes + self._statuses.size_bytes
        return self._forms.size_bytes + repeating + 4 * len(self._offsets)

    def take(self, batch: Batch) -> None:
        """Append the rows of *batch*, which has ended."""
        self._channels += batch.phrase_channels
        self._per_file += packed_counts(batch.phrases_per_file)
        self._speakers += packed_counts([one.speaker for one in batch.phrases])
        self._locales.add(batch.locales)
        self._statuses.add([one.status for one in batch.phrases])
        self._offsets += packed_doubles([one.offset_ticks for one in batch.phrases])
        self._durations += batch.phrase_ticks
        self._confidences += batch.phrase_confidences
        self._forms.add(batch.best)

    def columns(self) -> Columns:
        """All rows, but for what repeats per file; nothing is taken after."""
        return {
            "channel": count_column(self._channels),
            "phrase_index": integers(_positions(counts(self._per_file)), pa.int32()),
            "speaker": count_column(self._speakers),
            "locale": self._locales.array(),
            "recognition_status": self._statuses.array(),
            "offset_ms": milliseconds(doubles(self._offsets)),
            "duration_ms": milliseconds(doubles(self._durations)),
            "confidence": confidences(doubles(self._confidences)),
            **self._forms.columns(),
        }


class WordRows:
    """Rows of the words table."""

    def __init__(self) -> None:
        self._phrase_channels, self._phrases_per_file, self._runs = (
            GrowingBytes(),
            GrowingBytes(),
            GrowingBytes(),
        )
        self._texts = Texts()
        self._offsets, self._durations, self._confidences = GrowingBytes(), GrowingBytes(), GrowingBytes()

    @property
    def size_bytes(self) -> int:
        """The memory that they take, but for small change."""
        return self._texts.size_bytes + 5 * len(self._offsets)

    def take(self, batch: Batch) -> None:
        """Append the rows of *batch*, which has ended."""
        words = batch.words
        if words:
            self._phrase_channels += batch.phrase_channels
            self._phrases_per_file += packed_counts(batch.phrases_per_file)
            self._runs += packed_counts(batch.runs)
            self._texts.add([one.text for one in words])
            self._offsets += packed_doubles([one.offset_ticks for one in words])
            self._durations += packed_doubles([one.duration_ticks for one in words])
            self._confidences += packed_doubles([one.confidence for one in words])

    def columns(self) -> Columns:
        """All rows, but for what repeats per file; nothing is taken after."""
        runs = counts(self._runs)
        per_phrase = runs.reshape(-1, len(FORMS)).sum(axis=1)
        indices = _positions(counts(self._phrases_per_file))
        forms = np.tile(np.arange(len(FORMS), dtype=np.int32), len(per_phrase))
        return {
            "channel": integers(np.repeat(counts(self._phrase_channels), per_phrase), pa.int32()),
            "phrase_index": integers(np.repeat(indices, per_phrase), pa.int32()),
            "word_index": integers(_positions(runs), pa.int32()),
            "form": coded_texts(np.repeat(forms, runs), FORMS),
            "word": self._texts.array(),
            "offset_ms": milliseconds(doubles(self._offsets)),
            "duration_ms": milliseconds(doubles(self._durations)),
            "confidence": confidences(doubles(self._confidences)),
        }


def _sums(
    transcript: NDArray[np.intp], rows: int, ticks: Floats, stated: Floats
) -> tuple[Floats, NDArray[np.intp], Floats]:
    """For each of so many *rows* of transcripts: the ticks spoken, the number of phrases, and the mean confidence.

    *transcript* is the row that each phrase belongs to. Durations beyond belief count as none. Confidences are weighted by
    the durations; the mean is a plain one where no phrase with a confidence has one, and NaN without confidences.
    """
    ticks = np.where((ticks > 0) & (ticks < MAX_TICKS), ticks, 0.0)
    known = ~np.isnan(stated)
    of_known, weights, stated = transcript[known], ticks[known], stated[known]
    # A confidence may be any number, and 0 / 0 is what no confidence means.
    with np.errstate(all="ignore"):
        weight = np.bincount(of_known, weights, rows)
        weighted = np.bincount(of_known, weights * stated, rows) / weight
        plain = np.bincount(of_known, stated, rows) / np.bincount(of_known, minlength=rows)
    spoken: Floats = np.bincount(transcript, ticks, rows).astype(np.float64, copy=False)
    means: Floats = np.where(weight > 0, weighted, plain).astype(np.float64, copy=False)
    return spoken, np.bincount(transcript, minlength=rows), means


def _keys(per_file: GrowingBytes, channels: GrowingBytes) -> NDArray[np.int64]:
    """A number for the file and the channel of each row."""
    rows = counts(per_file)
    return (np.repeat(np.arange(len(rows), dtype=np.int64), rows) << 32) | counts(channels)


def _positions(runs: NDArray[np.int32]) -> NDArray[np.int64]:
    """0, 1, 2, … anew for each of *runs*."""
    ends = np.cumsum(runs, dtype=np.int64)
    rows = int(ends[-1]) if len(ends) else 0
    positions: NDArray[np.int64] = np.arange(rows) - np.repeat(ends - runs, runs)
    return positions
