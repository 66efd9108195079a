"""Collects the rows of many result files as plain columns and turns them into Arrow columns; it never writes.

Scalars go into `array.array`, which numpy reads in place, and texts into lists. What repeats per file (its id, its URL) is
kept once per file with a count and becomes a dictionary column when the row group is made.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

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

_offset = attrgetter("offset_ticks")
_duration = attrgetter("duration_ticks")
_channel = attrgetter("channel")
_speaker = attrgetter("speaker")
_locale = attrgetter("locale")
_status = attrgetter("status")
_confidence = attrgetter("confidence")
_text = attrgetter("text")
_DISPLAY_FORMS = tuple((name, attrgetter(name)) for name in ("display", "lexical", "itn", "masked_itn"))

_FORMS = ("lexical", "display")
_LEXICAL, _DISPLAY = range(2)


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
        known = [np.nan if row.confidence is None else row.confidence for row in rows]
        return {
            "channel": optional_integers([row.channel for row in rows], pa.int32()),
            "locale": texts([row.locale for row in rows]),
            **{name: texts(list(map(get, rows))) for name, get in _DISPLAY_FORMS},
            "duration_ms": optional_integers(self._durations, pa.int64()),
            "speech_ms": optional_integers([row.speech_ms for row in rows], pa.int64()),
            "phrase_count": optional_integers([row.phrase_count for row in rows], pa.int32()),
            "confidence": confidences(np.array(known, np.float64)),
        }


class PhraseBatch:
    """Rows of the phrases table."""

    def __init__(self) -> None:
        self._counts = array("q")
        self._channels = array("i")
        self._offsets = array("d")
        self._durations = array("d")
        self._confidences = array("d")
        self._speakers: list[int | None] = []
        self._locales: list[str | None] = []
        self._statuses: list[str | None] = []
        self._texts: dict[str, list[str | None]] = {name: [] for name, _ in _DISPLAY_FORMS}

    def add(self, phrases: Sequence[Phrase], best: Sequence[Alternative]) -> int:
        """Take one file's phrases with the alternative that counts for each; the number of rows they make."""
        self._counts.append(len(phrases))
        self._channels.extend(map(_channel, phrases))
        self._offsets.extend(map(_offset, phrases))
        self._durations.extend(map(_duration, phrases))
        self._confidences.extend(map(_confidence, best))
        self._speakers.extend(map(_speaker, phrases))
        self._locales.extend(map(_locale, phrases))
        self._statuses.extend(map(_status, phrases))
        for name, get in _DISPLAY_FORMS:
            self._texts[name].extend(map(get, best))
        return len(phrases)

    def columns(self) -> Columns:
        """Everything added so far, but for what repeats per file."""
        return {
            "channel": integers(_numbers(self._channels), pa.int32()),
            "phrase_index": integers(_positions(_numbers(self._counts)), pa.int32()),
            "speaker": optional_integers(self._speakers, pa.int32()),
            "locale": texts(self._locales),
            "recognition_status": texts(self._statuses),
            "offset_ms": milliseconds(_numbers(self._offsets)),
            "duration_ms": milliseconds(_numbers(self._durations)),
            "confidence": confidences(_numbers(self._confidences)),
            **{name: texts(values) for name, values in self._texts.items()},
        }


class WordBatch:
    """Rows of the words table. Words come in runs: one per phrase and form, with its count."""

    def __init__(self) -> None:
        self._counts = array("q")
        self._channels = array("i")
        self._phrases = array("i")
        self._forms = array("i")
        self._offsets = array("d")
        self._durations = array("d")
        self._confidences = array("d")
        self._texts: list[str | None] = []

    def add(self, phrases: Sequence[Phrase], best: Sequence[Alternative]) -> int:
        """Take the words of one file's phrases in the alternatives that count; the number of rows they make."""
        words: list[Word | DisplayWord] = []
        for index, alternative in enumerate(best):
            if alternative.words:
                self._run(phrases[index].channel, index, _LEXICAL, len(alternative.words))
                words += alternative.words
            if alternative.display_words:
                self._run(phrases[index].channel, index, _DISPLAY, len(alternative.display_words))
                words += alternative.display_words
        self._texts.extend(map(_text, words))
        self._offsets.extend(map(_offset, words))
        self._durations.extend(map(_duration, words))
        self._confidences.extend(map(_confidence, words))
        return len(words)

    def columns(self) -> Columns:
        """Everything added so far, but for what repeats per file."""
        counts = _numbers(self._counts)
        return {
            "channel": integers(np.repeat(_numbers(self._channels), counts), pa.int32()),
            "phrase_index": integers(np.repeat(_numbers(self._phrases), counts), pa.int32()),
            "word_index": integers(_positions(counts), pa.int32()),
            "form": coded_texts(np.repeat(_numbers(self._forms), counts), _FORMS),
            "word": texts(self._texts),
            "offset_ms": milliseconds(_numbers(self._offsets)),
            "duration_ms": milliseconds(_numbers(self._durations)),
            "confidence": confidences(_numbers(self._confidences)),
        }

    def _run(self, channel: int, phrase: int, form: int, count: int) -> None:
        self._channels.append(channel)
        self._phrases.append(phrase)
        self._forms.append(form)
        self._counts.append(count)


def _numbers(values: array[Any]) -> NDArray[Any]:
    return np.frombuffer(values, dtype=values.typecode) if values else np.zeros(0, values.typecode)


def _positions(counts: NDArray[Any]) -> NDArray[np.int64]:
    """0, 1, 2, … anew for each of *counts*."""
    starts = np.cumsum(counts) - counts
    positions: NDArray[np.int64] = np.arange(int(counts.sum())) - np.repeat(starts, counts)
    return positions
