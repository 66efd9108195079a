"""How fast regions work, learnt from what has succeeded there: audio against the time that the region spent on it.

A region works its transcriptions one at a time, so the time it spent on one begins with its submission or with the end of
the one before it, whichever is later. What failed says nothing of it: to fail is quickly done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from speech_backfill.ledger import schema
from speech_backfill.ledger.records import TranscriptionState
from speech_backfill.model import Status

SAMPLES = 40
"""So many of the last ends count: a region's speed changes over the day."""

_ENOUGH = 3
"""Fewer ends than this tell nothing: what is assumed counts then."""


@dataclass(frozen=True, slots=True)
class End:
    """A transcription that has ended: seconds since 1970, and milliseconds of audio."""

    submitted_at: float
    ended_at: float
    audio_ms: int


@dataclass(frozen=True, slots=True)
class Speed:
    """How a region has worked lately."""

    factor: float
    """Seconds of audio in a second."""
    seconds_each: float | None
    """How long it works on one transcription; None where too few have ended."""
    ends: int
    """What this rests on; 0: it is assumed."""


def speed(ends: Iterable[End], *, assumed: float) -> Speed:
    """The speed of one region from its *ends*, in any order; *assumed* (audio seconds a second) where they are too few."""
    worked = audio = 0.0
    before = float("-inf")
    counted = 0
    for one in sorted(ends, key=lambda end: end.ended_at):
        seconds = one.ended_at - max(one.submitted_at, before)
        before = one.ended_at
        # The service's clock is not ours, and stamps whole seconds: what took no time tells nothing by itself.
        if seconds >= 0:
            worked += seconds
            audio += one.audio_ms / 1000
            counted += 1
    if counted < _ENOUGH or worked <= 0 or audio <= 0:
        return Speed(assumed, None, 0)
    return Speed(audio / worked, worked / counted, counted)


def speeds(
    connection: sa.Connection, resources_by_region: Mapping[str, Sequence[str]], *, assumed: float
) -> dict[str, Speed]:
    """The speed of each region, from the last ends at its resources."""
    return {
        region: speed(_ends(connection, names), assumed=assumed)
        for region, names in resources_by_region.items()
    }


def _ends(connection: sa.Connection, resources: Sequence[str]) -> list[End]:
    made = schema.transcriptions.c
    longer = sa.case((made.billed_ms > made.audio_ms, made.billed_ms), else_=made.audio_ms)
    query = (
        sa.select(made.submitted_at, made.ended_at, longer)
        .where(
            made.resource.in_(resources),
            made.state == TranscriptionState.ENDED,
            made.status == Status.SUCCEEDED,
            made.submitted_at.is_not(None),
            made.ended_at.is_not(None),
        )
        .order_by(made.ended_at.desc())
        .limit(SAMPLES)
    )
    return [End(*row) for row in connection.execute(query)]
