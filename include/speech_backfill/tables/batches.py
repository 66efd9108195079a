"""Collects the rows of many result files as decoded values and turns them into Arrow columns at once; it never writes.

Attributes go from whole lists of values straight into numpy, without a Python statement per row. What repeats per file
(its id, its URL) is kept once per file with a count, and becomes a dictionary column when the row group is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final

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

_TEXTS: Final = {name: attrgetter(name) for name in ("display", "lexical", "itn", "masked_itn")}
_SPEAKER, _LOCALE, _STATUS, _TEXT = map(attrgetter, ("speaker", "locale", "status", "text"))


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
        numbers = _Numbers(
            ("channel", np.int32),
            ("speech_ms", np.int64),
            ("phrase_count", np.int32),
            ("confidence", np.float64),
        )
        numbers.add(rows)
        return {
            "channel": integers(numbers["channel"], pa.int32()),
            "locale": texts(list(map(_LOCALE, rows))),
            **{name: texts(list(map(get, rows))) for name, get in _TEXTS.items()},
            "duration_ms": optional_integers(self._durations, pa.int64()),
            "speech_ms": integers(numbers["speech_ms"], pa.int64()),
            "phrase_count": integers(numbers["phrase_count"], pa.int32()),
            "confidence": confidences(numbers["confidence"]),
        }


class SpeechBatch:
    """Rows of the phrases and the words tables.

    A file's numbers are copied into arrays as soon as it is added, while its values are still in the processor's cache.
    """

    def __init__(self) -> None:
        self._phrase_numbers = _Numbers(
            ("channel", np.int32), ("offset_ticks", np.float64), ("duration_ticks", np.float64)
        )
        self._best_numbers = _Numbers(("confidence", np.float64))
        self._speakers: list[int | None] = []
        self._locales: list[str | None] = []
        self._statuses: list[str | None] = []
        self._phrase_texts: dict[str, list[str | None]] = {name: [] for name in _TEXTS}
        self._phrases_per_file: list[int] = []
        self._word_numbers = _Numbers(
            ("offset_ticks", np.float64), ("duration_ticks", np.float64), ("confidence", np.float64)
        )
        self._words: list[str | None] = []
        self._runs: list[int] = []
        """The number of words of each phrase in each form, perhaps 0."""

    def add(self, phrases: Sequence[Phrase], best: Sequence[Alternative]) -> tuple[int, int]:
        """Take one file's phrases with the alternative that counts for each; the rows of phrases and words they make."""
        self._phrases_per_file.append(len(phrases))
        self._phrase_numbers.add(phrases)
        self._best_numbers.add(best)
        self._speakers += map(_SPEAKER, phrases)
        self._locales += map(_LOCALE, phrases)
        self._statuses += map(_STATUS, phrases)
        for name, get in _TEXTS.items():
            self._phrase_texts[name] += map(get, best)
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
            self._word_numbers.add(words)
            self._words += map(_TEXT, words)
        return len(phrases), len(words)

    def phrase_columns(self) -> Columns:
        """The phrases, but for what repeats per file."""
        return {
            "channel": integers(self._phrase_numbers["channel"], pa.int32()),
            "phrase_index": integers(self._indices(), pa.int32()),
            "speaker": optional_integers(self._speakers, pa.int32()),
            "locale": texts(self._locales),
            "recognition_status": texts(self._statuses),
            "offset_ms": milliseconds(self._phrase_numbers["offset_ticks"]),
            "duration_ms": milliseconds(self._phrase_numbers["duration_ticks"]),
            "confidence": confidences(self._best_numbers["confidence"]),
            **{name: texts(values) for name, values in self._phrase_texts.items()},
        }

    def word_columns(self) -> Columns:
        """The words, but for what repeats per file."""
        runs = np.array(self._runs, np.int64)
        per_phrase = runs.reshape(-1, len(_FORMS)).sum(axis=1)
        forms = np.tile(np.arange(len(_FORMS), dtype=np.int32), len(per_phrase))
        return {
            "channel": integers(np.repeat(self._phrase_numbers["channel"], per_phrase), pa.int32()),
            "phrase_index": integers(np.repeat(self._indices(), per_phrase), pa.int32()),
            "word_index": integers(_positions(runs), pa.int32()),
            "form": coded_texts(np.repeat(forms, runs), _FORMS),
            "word": texts(self._words),
            "offset_ms": milliseconds(self._word_numbers["offset_ticks"]),
            "duration_ms": milliseconds(self._word_numbers["duration_ticks"]),
            "confidence": confidences(self._word_numbers["confidence"]),
        }

    def _indices(self) -> NDArray[np.int64]:
        return _positions(np.array(self._phrases_per_file, np.int64))


class _Numbers:
    """Numeric attributes of many values, copied into arrays file by file."""

    def __init__(self, *attributes: tuple[str, type[np.generic]]) -> None:
        self._columns: dict[str, tuple[Callable[[Any], Any], type[np.generic], list[NDArray[Any]]]] = {
            name: (attrgetter(name), kind, []) for name, kind in attributes
        }

    def add(self, values: Sequence[object]) -> None:
        for get, kind, arrays in self._columns.values():
            arrays.append(np.fromiter(map(get, values), kind, len(values)))

    def __getitem__(self, name: str) -> NDArray[Any]:
        _, kind, arrays = self._columns[name]
        return np.concatenate(arrays) if arrays else np.zeros(0, kind)


def _positions(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, 2, … anew for each of *counts*."""
    starts = np.cumsum(counts) - counts
    positions: NDArray[np.int64] = np.arange(int(counts.sum())) - np.repeat(starts, counts)
    return positions
