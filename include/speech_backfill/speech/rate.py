"""Keep our requests to a resource under the service's limit of 100 in 10 seconds. Waits; never refuses.

Workers of one installation share an allowance, taken a few requests at a time. Others use the same resource without our
knowing: a 429 is still to be expected and pauses everyone here.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

REQUESTS = 90
WINDOW_SECONDS = 10.0
"""Quotas page: 100 requests per 10 seconds for each Speech resource; the rest is left to other clients."""


TAKEN_AT_ONCE = 4
"""Requests taken of the shared allowance at a time: asking for each would cost more than it is worth."""

TAKEN_FOR_SECONDS = 1.0
"""What was taken and not used is void after so long, or several workers could save it up."""

Shared = Callable[[int], Awaitable[float]]
"""Asks for so many requests: 0 where they are allowed, else the seconds after which to ask again."""


class RequestRate:
    """At most *requests* in any *seconds*: a bucket whose tokens come back one by one, as each request grows old."""

    def __init__(
        self,
        requests: int = REQUESTS,
        seconds: float = WINDOW_SECONDS,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        shared: Shared | None = None,
    ) -> None:
        """*shared* is the allowance of all workers; *monotonic* and *sleep* are the time, for tests to own."""
        self._shared = shared
        self._taken = 0
        self._taken_until = 0.0
        self._sent: deque[float] = deque(maxlen=requests)
        self._seconds = seconds
        self._monotonic = monotonic
        self._sleep = sleep
        self._paused_until = 0.0
        self._turn = asyncio.Lock()

    async def admit(self) -> None:
        """Return when one more request may be sent; first come, first served."""
        async with self._turn:
            while (wait := self._wait_seconds()) > 0:
                await self._sleep(wait)
            if self._shared is not None:
                await self._take(self._shared)
            self._sent.append(self._monotonic())

    def pause(self, seconds: float) -> None:
        """Admit nobody for *seconds*: the service throttles."""
        self._paused_until = max(self._paused_until, self._monotonic() + seconds)

    async def _take(self, shared: Shared) -> None:
        """One request of the allowance that all workers share."""
        if not self._taken or self._monotonic() > self._taken_until:
            while (wait := await shared(TAKEN_AT_ONCE)) > 0:
                await self._sleep(wait)
            self._taken = TAKEN_AT_ONCE
            self._taken_until = self._monotonic() + TAKEN_FOR_SECONDS
        self._taken -= 1

    def _wait_seconds(self) -> float:
        now = self._monotonic()
        full = len(self._sent) == self._sent.maxlen
        oldest_leaves = self._sent[0] + self._seconds - now if full else 0.0
        return max(self._paused_until - now, oldest_leaves)
