"""A few decoded result files at a time, on their way into the rows of the tables; it never writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from speech_backfill.results.model import Alternative, CombinedPhrase, DisplayWord, Phrase, ResultFile, Word
from speech_backfill.results.transcript import best_alternatives, channel_texts, main_locale
from speech_backfill.tables.growing import packed_counts, packed_doubles

FORMS: Final = ("lexical", "display")
"""The forms of words, in the order in which a phrase's words come."""


@dataclass(frozen=True, slots=True)
class ResultSummary:
    """What one result file added to the tables."""

    duration_ms: int | None
    channels: int
    phrases: int
    words: int
    locale: str | None
    """The locale that most of the speech is in."""
    source_url: str | None
    """The audio file's URL as the result file gives it, without its query."""


class Batch:
    """The values of a few result files, some as they were decoded, some packed.

    A few files, because their values are then still in the processor's cache when they are packed, and what is decoded
    next takes their place there.
    """

    def __init__(self) -> None:
        self.transcripts: list[CombinedPhrase] = []
        self.transcript_locales: list[str | None] = []
        self.transcripts_per_file: list[int] = []
        self.durations_ms: list[int | None] = []
        """Of the audio, for each transcript."""

        self.phrases: list[Phrase] = []
        self.best: list[Alternative] = []
        self.locales: list[str | None] = []
        self._channels: list[int] = []
        self.phrases_per_file: list[int] = []

        self.words: list[Word | DisplayWord] = []
        self.runs: list[int] = []
        """The number of words of each phrase in each form, perhaps 0."""

        self.phrase_channels = b""
        self.phrase_ticks = b""
        self.phrase_confidences = b""

    def add(self, result: ResultFile) -> ResultSummary:
        """Take one file's values."""
        phrases = result.phrases or []
        best = best_alternatives(phrases)
        channels = [phrase.channel for phrase in phrases]
        transcripts = channel_texts(result, channels, best)
        locales = [phrase.locale for phrase in phrases]
        locale: str | None = None
        transcript_locales: list[str | None] = [None] * len(transcripts)
        if locales.count(None) < len(locales):
            locale, transcript_locales = main_locale(phrases), _locales(transcripts, phrases)
        duration_ms = result.duration_ms
        # From here on nothing depends on the file's content any more: no row can fail to be added.
        self.transcripts += transcripts
        self.transcript_locales += transcript_locales
        self.transcripts_per_file.append(len(transcripts))
        self.durations_ms += [duration_ms] * len(transcripts)
        self.phrases += phrases
        self.best += best
        self.locales += locales
        self._channels += channels
        self.phrases_per_file.append(len(phrases))
        return ResultSummary(
            duration_ms=duration_ms,
            channels=len(transcripts),
            phrases=len(phrases),
            words=self._add_words(best),
            locale=locale,
            source_url=result.source,
        )

    def _add_words(self, best: Sequence[Alternative]) -> int:
        lexical, display = [one.words for one in best], [one.display_words for one in best]
        if lexical.count(None) == len(lexical) and display.count(None) == len(display):
            self.runs += [0] * len(FORMS) * len(best)
            return 0
        before = len(self.words)
        forms = [form or () for pair in zip(lexical, display, strict=True) for form in pair]
        self.runs += map(len, forms)
        self.words += chain.from_iterable(forms)
        return len(self.words) - before

    def end(self) -> None:
        """Pack what more than one table needs; nothing is added after."""
        self.phrase_channels = packed_counts(self._channels)
        self.phrase_ticks = packed_doubles([one.duration_ticks for one in self.phrases])
        self.phrase_confidences = packed_doubles([one.confidence for one in self.best])


def _locales(transcripts: Sequence[CombinedPhrase], phrases: Sequence[Phrase]) -> list[str | None]:
    """The main locale of each transcript's channel."""
    by_channel: dict[int, list[Phrase]] = {}
    for phrase in phrases:
        by_channel.setdefault(phrase.channel, []).append(phrase)
    return [main_locale(by_channel.get(one.channel, ())) for one in transcripts]
