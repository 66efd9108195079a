"""One look at a resource, written into the ledger: which of the transcriptions under way have ended, or are overdue. Only looks."""

from __future__ import annotations

import logging

from speech_backfill.error_classes import OurCode, can_retry
from speech_backfill.errors import EndpointMoved
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import GONE, OVERDUE, TranscriptionRecord, TranscriptionState
from speech_backfill.ledger.resources import Resources
from speech_backfill.ledger.submissions import Submissions
from speech_backfill.model import Status, TranscriptionRef
from speech_backfill.services import Services
from speech_backfill.speech.api import Transcription
from speech_backfill.speech.errors import NotFound, ServiceUnavailable, without_secrets

log = logging.getLogger(__name__)


async def record_ends(
    ledger: Ledger,
    services: Services,
    resource: str,
    *,
    gone_after_seconds: float,
    linger_seconds: float = 0.0,
) -> int:
    """LIST *resource* once from the oldest transcription under way; returns how many are unfinished still.

    What was given up at its deadline, *linger_seconds* ago at the most, is under way too.
    """
    submissions = Submissions(ledger)
    lingering = submissions.lingering(resource, seconds=linger_seconds)
    under_way = {
        one.transcription_id: one
        for one in (*submissions.unfinished(resource), *lingering)
        if one.transcription_id
    }
    if not under_way:
        return 0
    unlisted = set(under_way)
    # The list is filtered by the service's clock, ours may differ: an hour of slack costs a page at the most.
    oldest = min(one.last_post_at or one.intent_at for one in under_way.values()) - 3600
    async for seen in services.client(resource).list(created_after=oldest):
        if seen.transcription_id in under_way and seen.status.ended:
            _record(submissions, resource, seen)
            del under_way[seen.transcription_id]
        unlisted.discard(seen.transcription_id)
    for transcription_id in unlisted & under_way.keys():
        # Deleted by somebody, or purged: only asking for it by its id is proof, for a list may lag.
        record = under_way[transcription_id]
        try:
            if await look(ledger, services, record, gone_after_seconds=gone_after_seconds) is None:
                del under_way[transcription_id]
        except ServiceUnavailable:
            continue  # not proved to be gone: it keeps its place in the window
        except EndpointMoved:
            if record.state is not TranscriptionState.GIVEN_UP:
                raise
            submissions.give_up(
                record, GONE
            )  # it is accounted for: nobody has to act, and nobody can ask for it
    return len(under_way)


def past_deadline(record: TranscriptionRecord, *, now: float, deadline_hours: float) -> str | None:
    """Why a transcription that has not ended is to be given up; None while it is within its deadline."""
    due_at = record.due_at(deadline_hours)
    if due_at is None or record.submitted_at is None or now < due_at:
        return None
    hours = round((due_at - record.submitted_at) / 3600, 1)
    return f"{OVERDUE} of {hours:g} hours; it was given up and left alone at the service"


async def look(
    ledger: Ledger, services: Services, record: TranscriptionRecord, *, gone_after_seconds: float
) -> Transcription | None:
    """GET one transcription and note its status; None where the service does not know it (any more).

    Raises EndpointMoved where it was submitted to another endpoint, for then not to know it proves nothing.
    """
    assert record.transcription_id is not None
    submissions = Submissions(ledger)
    try:
        seen = await services.client(record.resource).get(record.transcription_id)
    except NotFound as error:
        if (submitted_to := services.moved_from(record)) is not None:
            now = services.resources[record.resource].endpoint
            raise EndpointMoved(
                resource=record.resource, token=record.token, submitted_to=submitted_to, now=now
            ) from error
        if record.submitted_at is not None and ledger.clock() < record.submitted_at + gone_after_seconds:
            # Young transcriptions may not show everywhere yet: believing this would mean to pay again.
            raise ServiceUnavailable(
                resource=record.resource,
                action=f"show {record.token}",
                detail="404, right after its submission",
            ) from error
        submissions.give_up(record, GONE)
        return None
    if seen.status.ended:
        _record(submissions, record.resource, seen)
    return seen


def _record(submissions: Submissions, resource: str, seen: Transcription) -> None:
    ref = TranscriptionRef(resource, seen.transcription_id)
    news = submissions.record_status(
        ref,
        seen.status,
        ended_at=seen.last_action_at,
        billed_ms=seen.duration_ms,
        problem=_problem(submissions, ref, seen),
    )
    if not news:
        return
    aside = Resources(submissions.ledger).heed_end(resource)
    if aside:
        log.warning("%s is set aside: %s", resource, aside)


def _problem(submissions: Submissions, ref: TranscriptionRef, seen: Transcription) -> str | None:
    """Why it failed as a whole, where that is not certain to be its audio's own doing."""
    if seen.status is not Status.FAILED:
        return None
    code = seen.error_code or OurCode.TRANSCRIPTION_FAILED
    if not can_retry(code, seen.error_message, alone=submissions.holds_one_file(ref)):
        return None
    return without_secrets(f"{code}: {seen.error_message or 'no reason given'}")
