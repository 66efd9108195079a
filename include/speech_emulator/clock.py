"""Time as the emulator sees it: timestamps are real, spans can be shortened; no other module reads a clock.

With a time scale of 60, a configured minute passes in a second, while every timestamp stays the real one.
A client therefore compares its own clock with the emulator's and is right, whatever the scale.
"""

import asyncio
import heapq
import itertools
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Seconds since 1970, waiting, and the shortening of configured spans."""

    def now(self) -> float:
        """Seconds since 1970 in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return once `seconds` of this clock have passed; they are not shortened again."""
        ...

    def span(self, seconds: float) -> float:
        """How long a configured span takes on this clock."""
        ...


class ScaledClock:
    """The machine's clock, with every configured span divided by the time scale."""

    def __init__(self, time_scale: float = 1.0) -> None:
        self._time_scale = time_scale

    def now(self) -> float:
        """Seconds since 1970 in UTC."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Return once so many real seconds have passed."""
        await asyncio.sleep(max(0.0, seconds))

    def span(self, seconds: float) -> float:
        """The configured span, divided by the time scale."""
        return seconds / self._time_scale


class ManualClock:
    """A clock that moves only when told to, for tests that must not wait."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []

    def now(self) -> float:
        """Seconds since 1970 in UTC."""
        return self._now

    def span(self, seconds: float) -> float:
        """The configured span as it is."""
        return seconds

    async def sleep(self, seconds: float) -> None:
        """Return once the clock has been moved that far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.Event()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), woken))
        await woken.wait()

    def advance(self, seconds: float) -> None:
        """Move time on and wake everyone whose time has come."""
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            heapq.heappop(self._sleepers)[2].set()


def stamp(seconds: float) -> str:
    """A timestamp as the service writes it: whole seconds, `Z`."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
