"""What a result file says, channel by channel: the alternative that counts and the text of each channel; no Arrow, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan

from speech_backfill.results.model import (
    MAX_TICKS,
    NAN,
    Alternative,
    CombinedPhrase,
    Phrase,
    ResultFile,
    milliseconds,
)

_NO_ALTERNATIVE = Alternative()


@dataclass(frozen=True, slots=True)
class ChannelTranscript:
    """One channel of one audio file: the fields of a row of the transcripts table that depend on the result file."""

    channel: int
    locale: str | None
    display: str | None
    lexical: str | None
    itn: str | None
    masked_itn: str | None
    speech_ms: int
    phrase_count: int
    confidence: float
    """Mean of the phrases' confidences, weighted by their durations; NaN when none is known."""


@dataclass(slots=True)
class _Sums:
    """What the phrases of one channel add up to; times in ticks."""

    phrases: int = 0
    spoken: float = 0.0
    known: int = 0
    """Phrases whose confidence is known, and below: their times, confidences, and the products of the two."""
    weight: float = 0.0
    plain: float = 0.0
    weighted: float = 0.0

    @property
    def confidence(self) -> float:
        """The mean weighted by time; the plain mean where no phrase has a time; NaN where no confidence is known."""
        if self.weight:
            return self.weighted / self.weight
        return self.plain / self.known if self.known else NAN


def best_alternatives(phrases: Sequence[Phrase]) -> list[Alternative]:
    """For each phrase the alternative with the highest confidence: the service does not sort them.

    The first of equals wins, an unknown confidence loses against any, and a phrase without alternatives (silence) gets an
    empty one.
    """
    best: list[Alternative] = []
    for phrase in phrases:
        alternatives = phrase.alternatives
        if not alternatives:
            best.append(_NO_ALTERNATIVE)
            continue
        winner = alternatives[0]
        for other in alternatives[1:]:
            # NaN compares as false: an unknown confidence never wins, and below it always yields.
            if other.confidence > winner.confidence or (
                isnan(winner.confidence) and not isnan(other.confidence)
            ):
                winner = other
        best.append(winner)
    return best


def channel_transcripts(
    result: ResultFile, phrases: Sequence[Phrase], best: Sequence[Alternative]
) -> list[ChannelTranscript]:
    """One transcript per channel, by channel number.

    The text is the service's own combined text; a channel that has phrases but no combined text gets its phrases' text,
    joined by spaces. *best* are the alternatives that count, one per phrase.
    """
    combined: dict[int, list[CombinedPhrase]] = {}
    for one in result.combined_phrases or ():
        combined.setdefault(one.channel, []).append(one)
    sums: dict[int, _Sums] = {}
    located = False
    for phrase, alternative in zip(phrases, best, strict=True):
        channel = sums.get(phrase.channel)
        if channel is None:
            channel = sums[phrase.channel] = _Sums()
        channel.phrases += 1
        ticks = phrase.duration_ticks
        if not 0 < ticks < MAX_TICKS:
            ticks = 0.0
        channel.spoken += ticks
        confidence = alternative.confidence
        if not isnan(confidence):
            channel.known += 1
            channel.weight += ticks
            channel.plain += confidence
            channel.weighted += ticks * confidence
        located = located or phrase.locale is not None
    return [
        _transcript(
            number,
            combined.get(number)
            or [one for phrase, one in zip(phrases, best, strict=True) if phrase.channel == number],
            sums.get(number) or _Sums(),
            main_locale(phrase for phrase in phrases if phrase.channel == number) if located else None,
        )
        for number in sorted(combined.keys() | sums.keys())
    ]


def _transcript(
    channel: int, texts: Sequence[CombinedPhrase | Alternative], sums: _Sums, locale: str | None
) -> ChannelTranscript:
    return ChannelTranscript(
        channel=channel,
        locale=locale,
        display=_joined([text.display for text in texts]),
        lexical=_joined([text.lexical for text in texts]),
        itn=_joined([text.itn for text in texts]),
        masked_itn=_joined([text.masked_itn for text in texts]),
        speech_ms=milliseconds(sums.spoken) or 0,
        phrase_count=sums.phrases,
        confidence=sums.confidence,
    )


def main_locale(phrases: Iterable[Phrase]) -> str | None:
    """The locale that most of the speech is in; None without language identification. The first of equals wins."""
    ticks_by_locale: dict[str, float] = {}
    for phrase in phrases:
        locale = phrase.locale
        if locale is not None:
            ticks = phrase.duration_ticks
            known = ticks if 0 < ticks < MAX_TICKS else 0.0
            ticks_by_locale[locale] = ticks_by_locale.get(locale, 0.0) + known
    return max(ticks_by_locale, key=ticks_by_locale.__getitem__, default=None)


def _joined(texts: Sequence[str | None]) -> str | None:
    """The texts that are there, joined by spaces; None when none is there, which is not the same as silence."""
    if len(texts) == 1:
        return texts[0]
    there = [text for text in texts if text is not None]
    return " ".join(filter(None, there)) if there else None
