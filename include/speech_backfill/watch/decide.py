"""Decide what a look at transcriptions means: wait on, ended, or overdue. Knows no clock and does no I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from speech_backfill.model import Status

MOST_INTERVALS = 10.0
"""However old the work, it is looked at this many poll intervals apart at the most: every ten minutes by default."""

_SHARE_OF_AGE = 0.05
_SHARE_OF_EXPECTED = 0.25


class Seen(StrEnum):
    """What the last looks say of a transcription: the service's word, or that it knows none such."""

    NOT_STARTED = Status.NOT_STARTED.value
    RUNNING = Status.RUNNING.value
    SUCCEEDED = Status.SUCCEEDED.value
    FAILED = Status.FAILED.value
    GONE = "Gone"
    """The service does not know it (any more): nothing is left to wait for."""

    @property
    def over(self) -> bool:
        """Whether waiting longer changes nothing."""
        return self in {Seen.SUCCEEDED, Seen.FAILED, Seen.GONE}


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again in *seconds*."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ended:
    """What was waited for has happened; *seen* holds every wanted id that was seen."""

    seen: Mapping[str, Seen]


@dataclass(frozen=True, slots=True)
class Overdue:
    """The deadline passed first. *overdue* ids have not ended, or were never seen."""

    seen: Mapping[str, Seen]
    overdue: tuple[str, ...]


Verdict = Wait | Ended | Overdue

Until = Literal["all", "any"]


def decide(
    wanted: Collection[str],
    seen: Mapping[str, Seen],
    *,
    now: float,
    deadline_at: float,
    interval_seconds: float,
    until: Until = "all",
) -> Verdict:
    """What follows from *seen*, where *wanted* ids may be lacking. An end beats the deadline.

    *until* "any": one end is enough, as for somebody who waits for room. Nothing wanted has ended already under "all",
    and is a plain wait for the deadline under "any".
    """
    known = {one: seen[one] for one in sorted(wanted) if one in seen}
    open_ids = tuple(one for one in sorted(wanted) if one not in known or not known[one].over)
    if (until == "all" and not open_ids) or (until == "any" and len(open_ids) < len(set(wanted))):
        return Ended(known)
    if now >= deadline_at:
        return Overdue(known, open_ids)
    return Wait(min(interval_seconds, deadline_at - now))


def interval(
    *,
    poll_interval_seconds: float,
    youngest_age_seconds: float,
    failed_looks: int,
    draw: float,
    advised_seconds: float = 0.0,
    expected_seconds: float | None = None,
) -> float:
    """How long until the next look: never less than the poll interval.

    Where the pace of the resource tells when the wait should end (*expected_seconds* from now), a quarter of that;
    otherwise work that has run for hours is looked at more rarely (a twentieth of the age of its youngest). A service that
    could not be asked, or that advised so, is left alone for longer. *draw*, a random number from 0 to 1, spreads several
    triggerers by a twentieth.
    """
    longest = poll_interval_seconds * MOST_INTERVALS
    if expected_seconds is None:
        fitting = youngest_age_seconds * _SHARE_OF_AGE
    else:
        fitting = expected_seconds * _SHARE_OF_EXPECTED
    backed_off = max(poll_interval_seconds, advised_seconds, fitting) * 2.0 ** min(failed_looks, 20)
    return float(min(backed_off, longest) * (1.0 + 0.05 * draw))
