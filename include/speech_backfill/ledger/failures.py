"""Whether a resource fails what it takes. Judged by how its last transcriptions have ended: that it takes one proves nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from speech_backfill.ledger import schema
from speech_backfill.ledger.records import TranscriptionState
from speech_backfill.model import Status

FAILURES = 3
"""So many transcriptions in a row that failed as a whole are no accident."""


@dataclass(frozen=True, slots=True)
class _End:
    """How a transcription has ended."""

    status: str
    problem: str | None
    """Why it failed as a whole, where that may be the resource's doing."""

    @property
    def failed(self) -> bool:
        return self.status == Status.FAILED and self.problem is not None


def failing(connection: sa.Connection, resource: str) -> str | None:
    """What was wrong with the last transcription at *resource*, if it and those right before it have all failed."""
    ends = _last_ends(connection, resource, FAILURES)
    return ends[0].problem if _all_failed(ends) else None


def failing_until_its_last(connection: sa.Connection, resource: str) -> bool:
    """Whether the last transcription at *resource* is the first after such a row that says it works again."""
    ends = _last_ends(connection, resource, FAILURES + 1)
    return bool(ends) and not ends[0].failed and _all_failed(ends[1:])


def _all_failed(ends: Sequence[_End]) -> bool:
    return len(ends) == FAILURES and all(one.failed for one in ends)


def _last_ends(connection: sa.Connection, resource: str, count: int) -> list[_End]:
    """The latest first."""
    made = schema.transcriptions.c
    query = (
        sa.select(made.status, made.problem)
        .where(
            made.resource == resource,
            made.state == TranscriptionState.ENDED,
            made.ended_at.is_not(None),
        )
        .order_by(made.ended_at.desc(), made.submitted_at.desc())
        .limit(count)
    )
    return [_End(*row) for row in connection.execute(query)]
