"""Collects the rows of many result files as decoded values and turns them into Arrow columns at once; it never writes.

Attributes become numbers and texts by the list, without a Python statement per row. What repeats per file
(its id, its URL) is kept once per file with a count, and becomes a dictionary column when the row group is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from speech_backfill.results.model import Alternative, DisplayWord, Phrase, Word
from speech_backfill.results.transcript import ChannelTranscript
from speech_backfill.tables.columns import (
    Columns,
    coded_texts,
    confidences,
    integers,
    milliseconds,
    optional_integers,
    texts,
)

_FORMS: Final = ("lexical", "display")
"""The forms of words, in the order in which a phrase's words come."""


class TranscriptBatch:
    """Rows of the transcripts table."""

    def __init__(self) -> None:
        self._rows: list[ChannelTranscript] = []
        self._durations: list[int | None] = []

    def add(self, transcripts: Sequence[ChannelTranscript], duration_ms: int | None) -> int:
        """Take one file's transcripts; the number of rows they make."""
        self._rows += transcripts
        self._durations += [duration_ms] * len(transcripts)
        return len(transcripts)

    def columns(self) -> Columns:
        """Everything added so far, but for what repeats per file."""
        rows = self._rows
        return {
            "channel": optional_integers([row.channel for row in rows], pa.int32()),
            "locale": texts([row.locale for row in rows]),
            "display": texts([row.display for row in rows]),
            "lexical": texts([row.lexical for row in rows]),
            "itn": texts([row.itn for row in rows]),
            "masked_itn": texts([row.masked_itn for row in rows]),
            "duration_ms": optional_integers(self._durations, pa.int64()),
            "speech_ms": optional_integers([row.speech_ms for row in rows], pa.int64()),
            "phrase_count": optional_integers([row.phrase_count for row in rows], pa.int32()),
            "confidence": confidences(np.array([row.confidence for row in rows], np.float64)),
        }


class SpeechBatch:
    """Rows of the phrases and the words tables.

    A file's numbers are packed as soon as it is added, while its values are still in the processor's cache. Comprehensions
    and `struct.pack` stand here because they are measured to be the fastest way from attributes to numbers: about half
    the time of `map(attrgetter(…))` into `numpy.fromiter`, and a fifth of `array.array.extend`.
    """

    def __init__(self) -> None:
        self._phrases_per_file: list[int] = []
        self._channels = bytearray()
        self._offsets = bytearray()
        self._durations = bytearray()
        self._confidences = bytearray()
        self._speakers: list[int | None] = []
        self._locales: list[str | None] = []
        self._statuses: list[str | None] = []
        self._displays: list[str | None] = []
        self._lexicals: list[str | None] = []
        self._itns: list[str | None] = []
        self._masked_itns: list[str | None] = []

        self._runs: list[int] = []
        """The number of words of each phrase in each form, perhaps 0."""
        self._words: list[str | None] = []
        self._word_offsets = bytearray()
        self._word_durations = bytearray()
        self._word_confidences = bytearray()

    def add(self, phrases: Sequence[Phrase], best: Sequence[Alternative]) -> tuple[int, int]:
        """Take one file's phrases with the alternative that counts for each; the rows of phrases and words they make."""
        self._phrases_per_file.append(len(phrases))
        doubles = f"{len(phrases)}d"
        self._channels += pack(f"{len(phrases)}i", *[one.channel for one in phrases])
        self._offsets += pack(doubles, *[one.offset_ticks for one in phrases])
        self._durations += pack(doubles, *[one.duration_ticks for one in phrases])
        self._confidences += pack(doubles, *[one.confidence for one in best])
        self._speakers += [one.speaker for one in phrases]
        self._locales += [one.locale for one in phrases]
        self._statuses += [one.status for one in phrases]
        self._displays += [one.display for one in best]
        self._lexicals += [one.lexical for one in best]
        self._itns += [one.itn for one in best]
        self._masked_itns += [one.masked_itn for one in best]

        words: list[Word | DisplayWord] = []
        runs = self._runs
        for alternative in best:
            lexical, display = alternative.words, alternative.display_words
            runs.append(len(lexical) if lexical else 0)
            runs.append(len(display) if display else 0)
            if lexical:
                words += lexical
            if display:
                words += display
        if words:
            doubles = f"{len(words)}d"
            self._words += [one.text for one in words]
            self._word_offsets += pack(doubles, *[one.offset_ticks for one in words])
            self._word_durations += pack(doubles, *[one.duration_ticks for one in words])
            self._word_confidences += pack(doubles, *[one.confidence for one in words])
        return len(phrases), len(words)

    def phrase_columns(self) -> Columns:
        """The phrases, but for what repeats per file."""
        return {
            "channel": integers(self._phrase_channels(), pa.int32()),
            "phrase_index": integers(self._phrase_indices(), pa.int32()),
            "speaker": optional_integers(self._speakers, pa.int32()),
            "locale": texts(self._locales),
            "recognition_status": texts(self._statuses),
            "offset_ms": milliseconds(_doubles(self._offsets)),
            "duration_ms": milliseconds(_doubles(self._durations)),
            "confidence": confidences(_doubles(self._confidences)),
            "display": texts(self._displays),
            "lexical": texts(self._lexicals),
            "itn": texts(self._itns),
            "masked_itn": texts(self._masked_itns),
        }

    def word_columns(self) -> Columns:
        """The words, but for what repeats per file."""
        runs = np.array(self._runs, np.int64)
        per_phrase = runs.reshape(-1, len(_FORMS)).sum(axis=1)
        forms = np.tile(np.arange(len(_FORMS), dtype=np.int32), len(per_phrase))
        return {
            "channel": integers(np.repeat(self._phrase_channels(), per_phrase), pa.int32()),
            "phrase_index": integers(np.repeat(self._phrase_indices(), per_phrase), pa.int32()),
            "word_index": integers(_positions(runs), pa.int32()),
            "form": coded_texts(np.repeat(forms, runs), _FORMS),
            "word": texts(self._words),
            "offset_ms": milliseconds(_doubles(self._word_offsets)),
            "duration_ms": milliseconds(_doubles(self._word_durations)),
            "confidence": confidences(_doubles(self._word_confidences)),
        }

    def _phrase_channels(self) -> NDArray[np.int32]:
        return np.frombuffer(self._channels, np.int32)

    def _phrase_indices(self) -> NDArray[np.int64]:
        return _positions(np.array(self._phrases_per_file, np.int64))


def _doubles(packed: bytearray) -> NDArray[np.float64]:
    return np.frombuffer(packed, np.float64)


def _positions(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, 2, … anew for each of *counts*."""
    starts = np.cumsum(counts) - counts
    positions: NDArray[np.int64] = np.arange(int(counts.sum())) - np.repeat(starts, counts)
    return positions
