"""Which transcriptions take up a region: those that have not ended, as far as anybody knows, given up by us or not.

Nothing can be cancelled at the service, so giving up frees nothing there. To count the place as free would send the region
more while it is behind already, and what it has would be paid for twice.
"""

from __future__ import annotations

import sqlalchemy as sa

from speech_backfill.ledger import schema
from speech_backfill.ledger.records import GONE, OVERDUE, UNFINISHED, TranscriptionState
from speech_backfill.model import Status

_T = schema.transcriptions.c


def occupying(*, now: float, linger_seconds: float) -> sa.ColumnElement[bool]:
    """That a row of `transcriptions` takes up a place in its resource's window, and its region's time.

    What was given up at its deadline does for *linger_seconds* more at the most: it may never end.
    """
    return sa.or_(_T.state.in_(UNFINISHED), lingering(now=now, linger_seconds=linger_seconds))


def lingering(*, now: float, linger_seconds: float) -> sa.ColumnElement[bool]:
    """That it was given up at its deadline, not longer ago than that, and has not been seen to end since."""
    return sa.and_(
        _T.state == TranscriptionState.GIVEN_UP,
        _T.problem.startswith(OVERDUE),
        ~_T.problem.endswith(GONE),
        _T.transcription_id.is_not(None),
        _T.status.not_in((Status.SUCCEEDED, Status.FAILED)),
        _T.ended_at > now - linger_seconds,
    )
