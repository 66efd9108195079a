"""The service's request limit as a token bucket; it counts and decides, and never waits."""

import math

from speech_emulator.clock import Clock
from speech_emulator.config import ThrottleSettings


class Throttle:
    """One resource's bucket: full at the start, refilled evenly."""

    def __init__(self, settings: ThrottleSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._capacity = float(settings.requests)
        self._per_second = settings.requests / clock.span(settings.per_seconds)
        self._tokens = self._capacity
        self._filled_at = clock.now()

    def refuse(self) -> int | None:
        """None when the request may pass; otherwise the whole seconds after which one would."""
        if not self._settings.enabled:
            return None
        now = self._clock.now()
        self._tokens = min(self._capacity, self._tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return None
        return max(1, math.ceil((1 - self._tokens) / self._per_second))
