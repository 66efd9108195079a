"""What a result file says, channel by channel: the alternative that counts and the text of each channel; no Arrow, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isnan

from speech_backfill.results.model import MAX_TICKS, Alternative, CombinedPhrase, Phrase, ResultFile

_NO_ALTERNATIVE = Alternative()


def best_alternatives(phrases: Sequence[Phrase]) -> list[Alternative]:
    """For each phrase the alternative with the highest confidence: the service does not sort them.

    The first of equals wins, an unknown confidence loses against any, and a phrase without alternatives (silence) gets an
    empty one.
    """
    try:
        # Nearly always there is one alternative only, and a file of them is found out without a look at each.
        return [one for (one,) in [phrase.alternatives for phrase in phrases]]  # type: ignore[misc]
    except (TypeError, ValueError):
        return [_best(phrase.alternatives) for phrase in phrases]


def _best(alternatives: Sequence[Alternative] | None) -> Alternative:
    if not alternatives:
        return _NO_ALTERNATIVE
    winner = alternatives[0]
    for other in alternatives[1:]:
        # NaN compares as false: an unknown confidence never wins, and below it always yields.
        if other.confidence > winner.confidence or (isnan(winner.confidence) and not isnan(other.confidence)):
            winner = other
    return winner


def channel_texts(
    result: ResultFile, channels: Sequence[int], best: Sequence[Alternative]
) -> list[CombinedPhrase]:
    """The text of each channel, by channel number, each channel once.

    The text is the service's own combined text; a channel that has phrases but no combined text gets its phrases' text,
    joined by spaces. *channels* and *best* are each phrase's channel and the alternative that counts.
    """
    combined = result.combined_phrases or []
    by_channel = {one.channel: one for one in combined}
    spoken_in = set(channels)
    if len(by_channel) == len(combined) and spoken_in <= by_channel.keys():
        return [by_channel[channel] for channel in sorted(by_channel)]
    texts: dict[int, list[CombinedPhrase | Alternative]] = {}
    for one in combined:
        texts.setdefault(one.channel, []).append(one)
    for channel, alternative in zip(channels, best, strict=True):
        if channel not in by_channel:
            texts.setdefault(channel, []).append(alternative)
    return [_joined(channel, texts[channel]) for channel in sorted(texts)]


def _joined(channel: int, texts: Sequence[CombinedPhrase | Alternative]) -> CombinedPhrase:
    return CombinedPhrase(
        channel=channel,
        display=_joined_text([one.display for one in texts]),
        lexical=_joined_text([one.lexical for one in texts]),
        itn=_joined_text([one.itn for one in texts]),
        masked_itn=_joined_text([one.masked_itn for one in texts]),
    )


def _joined_text(texts: Sequence[str | None]) -> str | None:
    """The texts that are there, joined by spaces; None when none is there, which is not the same as silence."""
    there = [text for text in texts if text is not None]
    return " ".join(filter(None, there)) if there else None


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
