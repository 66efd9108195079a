"""What a result file says, channel by channel: the alternative that counts and the text of each channel; no Arrow, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from speech_backfill.results.model import (
    MAX_TICKS,
    Alternative,
    CombinedPhrase,
    Phrase,
    ResultFile,
    milliseconds,
)

_NO_ALTERNATIVE = Alternative()
_FORMS = ("display", "lexical", "itn", "masked_itn")


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
    confidence: float | None


@dataclass(slots=True)
class _Speech:
    """What the phrases of one channel add up to."""

    phrases: list[Phrase] = field(default_factory=list)
    best: list[Alternative] = field(default_factory=list)


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
            # NaN compares as false on both sides: an unknown confidence never wins and always yields.
            if other.confidence > winner.confidence or (
                winner.confidence != winner.confidence and other.confidence == other.confidence
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
    speech: dict[int, _Speech] = {}
    if len(set(map(attrgetter("channel"), phrases))) == 1:
        speech[phrases[0].channel] = _Speech(list(phrases), list(best))
    else:
        for phrase, alternative in zip(phrases, best, strict=True):
            part = speech.setdefault(phrase.channel, _Speech())
            part.phrases.append(phrase)
            part.best.append(alternative)
    return [
        _transcript(channel, combined.get(channel, ()), speech.get(channel) or _Speech())
        for channel in sorted(combined.keys() | speech.keys())
    ]


def _transcript(channel: int, combined: Sequence[CombinedPhrase], speech: _Speech) -> ChannelTranscript:
    texts: Sequence[CombinedPhrase | Alternative] = combined or speech.best
    display, lexical, itn, masked_itn = (_joined(map(attrgetter(form), texts)) for form in _FORMS)
    spoken_ticks = weight = weighted = plain = 0.0
    known = 0
    for phrase, alternative in zip(speech.phrases, speech.best, strict=True):
        ticks = phrase.duration_ticks
        ticks = ticks if 0 < ticks < MAX_TICKS else 0.0
        spoken_ticks += ticks
        confidence = alternative.confidence
        if confidence == confidence:  # noqa: PLR0124 - false for NaN
            weight += ticks
            weighted += ticks * confidence
            plain += confidence
            known += 1
    mean: float | None = None
    if known:
        mean = weighted / weight if weight else plain / known
    return ChannelTranscript(
        channel=channel,
        locale=main_locale(speech.phrases),
        display=display,
        lexical=lexical,
        itn=itn,
        masked_itn=masked_itn,
        speech_ms=milliseconds(spoken_ticks) or 0,
        phrase_count=len(speech.phrases),
        confidence=mean,
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


def _joined(texts: Iterable[str | None]) -> str | None:
    """The texts that are there, joined by spaces; None when none is there, which is not the same as silence."""
    there = [text for text in texts if text is not None]
    if len(there) == 1:
        return there[0]
    return " ".join(text for text in there if text) if there else None
