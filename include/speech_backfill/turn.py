"""When a shard that finds no room should look again: after the ends of so many transcriptions, or far back in line after a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.line import Line
from speech_backfill.ledger.resources import Resources, region_of
from speech_backfill.model import Shard, TranscriptionRef
from speech_backfill.services import Services
from speech_backfill.settings import Settings
from speech_backfill.speech.resource import SpeechResource

_LONGEST_SECONDS = 3600.0
"""How long to wait for room before looking anyway, should the wake-up get lost."""

_SHORTEST_SECONDS = 30.0
"""Whoever stands far back in line does not come back sooner: it would find no room."""

_PATIENCE = 3.0
"""Ends that take so much longer than expected may never come: another resource may have room by now."""

_SURE_SHARE = 0.7
"""A wait for one's turn is expected to be this much shorter, so that no region runs dry because of a wrong guess."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Look again when *ends* of *waiting_for* have ended, or at *until* (seconds since 1970)."""

    until: float
    ahead: int
    """Chunks of others that come first."""
    waiting_for: tuple[TranscriptionRef, ...] = ()
    """Empty where nobody can be waited for, or too many come first."""
    ends: int = 1


@dataclass(frozen=True, slots=True)
class Turns:
    """Takes places in line for one shard, a line for each residency that its chunks ask for."""

    ledger: Ledger
    services: Services
    settings: Settings

    def take(
        self, shard: Shard, residency: str, *, waiting: int, unfinished: Sequence[TranscriptionRef]
    ) -> Turn:
        """Wait for as many ends of *unfinished* as stand before us, and for half a window of our own.

        *waiting* chunks of the shard want room at the resources that *residency* allows, whose windows *unfinished* fill.
        """
        line = Line(self.ledger)
        if not unfinished:
            # The windows are held by submissions whose answer is still unknown: nobody can be waited for.
            ahead, until = line.stand(
                shard, residency=residency, chunks=waiting, pause=lambda _: self.settings.lease_seconds
            )
            return Turn(until, ahead)
        allowed = self.services.allowed(residency)
        batch = min(waiting, max(1, sum(one.window for one in allowed) // 2))
        seconds_each = self._seconds_each(allowed)

        def pause(ahead: int) -> float:
            if ahead < len(unfinished):
                seconds = (ahead + batch) * seconds_each * _PATIENCE
            else:
                seconds = (ahead - len(unfinished)) * seconds_each * _SURE_SHARE
            return min(max(seconds, _SHORTEST_SECONDS), _LONGEST_SECONDS)

        ahead, until = line.stand(shard, residency=residency, chunks=waiting, pause=pause)
        if ahead >= len(unfinished):
            return Turn(until, ahead)
        return Turn(until, ahead, tuple(unfinished), min(ahead + batch, len(unfinished)))

    def _seconds_each(self, allowed: Sequence[SpeechResource]) -> float:
        """How long the regions of *allowed* together work on one chunk."""
        by_region: dict[str, list[str]] = {}
        for one in allowed:
            by_region.setdefault(region_of(one.name, one.region), []).append(one.name)
        found = Resources(self.ledger).backlogs(
            assumed_speed=self.settings.audio_speed,
            by_region=by_region,
            linger_seconds=self.settings.linger_seconds,
        )
        rates = [
            1 / max(one.speed.seconds_each, 0.001) for one in found if one.speed.seconds_each is not None
        ]
        if rates:
            return 1 / sum(rates)
        unfinished = sum(one.unfinished for one in found)
        if not unfinished:
            return _SHORTEST_SECONDS
        return max(one.seconds for one in found) / unfinished
