"""What a result file says, channel by channel: the alternative that counts and the text of each channel; no Arrow, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import starmap
from math import isnan
from operator import mul

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
    spoken: dict[int, tuple[list[Phrase], list[Alternative]]] = {}
    for phrase, alternative in zip(phrases, best, strict=True):
        channel = spoken.get(phrase.channel)
        if channel is None:
            channel = spoken[phrase.channel] = ([], [])
        channel[0].append(phrase)
        channel[1].append(alternative)
    return [
        _transcript(number, combined.get(number), *spoken.get(number, ((), ())))
        for number in sorted(combined.keys() | spoken.keys())
    ]


def _transcript(
    channel: int,
    combined: Sequence[CombinedPhrase] | None,
    phrases: Sequence[Phrase],
    best: Sequence[Alternative],
) -> ChannelTranscript:
    texts: Sequence[CombinedPhrase | Alternative] = combined or best
    spoken_ticks, confidence = _sums(phrases, best)
    return ChannelTranscript(
        channel=channel,
        locale=main_locale(phrases),
        display=_joined([text.display for text in texts]),
        lexical=_joined([text.lexical for text in texts]),
        itn=_joined([text.itn for text in texts]),
        masked_itn=_joined([text.masked_itn for text in texts]),
        speech_ms=milliseconds(spoken_ticks) or 0,
        phrase_count=len(phrases),
        confidence=confidence,
    )


def _sums(phrases: Sequence[Phrase], best: Sequence[Alternative]) -> tuple[float, float]:
    """The ticks spoken and the mean confidence weighted by them; a plain mean without times, NaN without confidences."""
    if not phrases:
        return 0.0, NAN
    ticks = [phrase.duration_ticks for phrase in phrases]
    confidences = [alternative.confidence for alternative in best]
    weighted = sum(map(mul, ticks, confidences))
    if not isnan(weighted) and min(ticks) > 0 and max(ticks) < MAX_TICKS:
        # Nothing is unknown: a NaN on either side would have made the sum of products one.
        spoken = sum(ticks)
        return spoken, weighted / spoken
    ticks = [one if 0 < one < MAX_TICKS else 0.0 for one in ticks]
    known = [(weight, one) for weight, one in zip(ticks, confidences, strict=True) if not isnan(one)]
    weight = sum(one for one, _ in known)
    if weight:
        return sum(ticks), sum(starmap(mul, known)) / weight
    return sum(ticks), sum(one for _, one in known) / len(known) if known else NAN


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
