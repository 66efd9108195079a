"""A result file as typed values: the fields that the tables need and nothing else; it never decides how to read bad input.

The types are as strict as a result file that follows the contract allows, for that makes decoding fast: a number that is
absent is NaN, offsets and durations of phrases and words must be there as ticks. Whatever deviates is brought into this
same shape by `speech_backfill.results.lenient`. Fields stand in the service's order, in which they are found soonest.
"""

from __future__ import annotations

import math
from typing import Annotated

from msgspec import Meta, Struct, field

from speech_backfill.results.redaction import without_query

TICKS_PER_MS = 10_000
"""The service counts time in units of 100 ns."""

MAX_TICKS = float(2**53)
"""28 years. Beyond it a double no longer counts single ticks; such a number is damage, not a time."""

NAN = math.nan

Int32 = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class Word(Struct, gc=False, kw_only=True):
    """One recognised word; in the lexical form, so without punctuation and capitals."""

    text: str | None = field(default=None, name="word")
    offset_ticks: float = field(name="offsetInTicks")
    duration_ticks: float = field(name="durationInTicks")
    confidence: float = NAN


class DisplayWord(Struct, gc=False, kw_only=True):
    """One word as it is displayed; the service gives these no confidence so far."""

    text: str | None = field(default=None, name="displayText")
    offset_ticks: float = field(name="offsetInTicks")
    duration_ticks: float = field(name="durationInTicks")
    confidence: float = NAN


class Alternative(Struct, gc=False, kw_only=True):
    """One entry of a phrase's nBest list."""

    confidence: float = NAN
    lexical: str | None = None
    itn: str | None = None
    masked_itn: str | None = field(default=None, name="maskedITN")
    display: str | None = None
    words: list[Word] | None = None
    display_words: list[DisplayWord] | None = field(default=None, name="displayWords")


class Phrase(Struct, gc=False, kw_only=True):
    """One recognised phrase with its alternatives, in no particular order."""

    status: str | None = field(default=None, name="recognitionStatus")
    channel: Int32 = 0
    speaker: Int32 | None = None
    locale: str | None = None
    offset_ticks: float = field(name="offsetInTicks")
    duration_ticks: float = field(name="durationInTicks")
    alternatives: list[Alternative] | None = field(default=None, name="nBest")


class CombinedPhrase(Struct, gc=False, kw_only=True):
    """All that was said in one channel, as the service joined it."""

    channel: Int32 = 0
    lexical: str | None = None
    itn: str | None = None
    masked_itn: str | None = field(default=None, name="maskedITN")
    display: str | None = None


class ResultFile(Struct, gc=False, kw_only=True):
    """One result file. *source* has lost its query, where a SAS would be, the moment the value exists."""

    source: str | None = None
    duration_ticks: float = field(default=NAN, name="durationInTicks")
    duration_milliseconds: float = field(default=NAN, name="durationMilliseconds")
    old_duration_ticks: float = field(default=NAN, name="durationTicks")
    """The name that version 3.0 gave to `durationInTicks`."""
    combined_phrases: list[CombinedPhrase] | None = field(default=None, name="combinedRecognizedPhrases")
    phrases: list[Phrase] | None = field(default=None, name="recognizedPhrases")

    def __post_init__(self) -> None:
        if self.source is not None:
            self.source = without_query(self.source)
        if math.isnan(self.duration_ticks):
            ms = self.duration_milliseconds * TICKS_PER_MS
            self.duration_ticks = ms if math.isnan(self.old_duration_ticks) else self.old_duration_ticks

    @property
    def duration_ms(self) -> int | None:
        """The audio's duration; None when the service did not give a credible one."""
        return milliseconds(self.duration_ticks)


def milliseconds(ticks: float) -> int | None:
    """*ticks* rounded to milliseconds, halves to the even one; None when they are unknown or out of range."""
    return round(ticks / TICKS_PER_MS) if abs(ticks) < MAX_TICKS else None
