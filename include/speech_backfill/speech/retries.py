"""Which failed calls are worth another try, and when. Pure policy: knows no clock, sends nothing.

It is asked only about calls that may be repeated without harm; a submission is never one of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from speech_backfill.speech.errors import NotSent, ServiceUnavailable, SpeechServiceError, Throttled


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential delays with jitter; what the service advises counts where it advises."""

    tries: int = 5
    """How often a call is made at the most when the service is unavailable."""
    throttled_tries: int = 10
    """How often when it throttles, which says that it works."""
    first_delay_seconds: float = 1.0
    longest_delay_seconds: float = 60.0
    """Advice beyond this is handed to the caller, who can wait without holding a worker."""

    def delay_seconds(self, error: SpeechServiceError, *, tries_made: int, draw: float) -> float | None:
        """How long to wait before the next try; None: give up. *draw* is a random number from 0 to 1."""
        match error:
            case Throttled(retry_after_seconds=advice):
                if tries_made >= self.throttled_tries or (advice or 0.0) > self.longest_delay_seconds:
                    return None
                return max(advice or 0.0, self._backoff(tries_made, draw))
            case ServiceUnavailable() | NotSent():
                return None if tries_made >= self.tries else self._backoff(tries_made, draw)
            case _:
                return None

    def _backoff(self, tries_made: int, draw: float) -> float:
        """Between half and all of the doubled delay, so that many clients do not come back together."""
        doubled = self.first_delay_seconds * 2.0 ** min(tries_made - 1, 30)
        return float(min(doubled, self.longest_delay_seconds)) * (0.5 + 0.5 * draw)


ONE_TRY = RetryPolicy(tries=1, throttled_tries=1)
"""For a person who waits for the answer."""
