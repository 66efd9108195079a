"""Clean up at the service: delete the transcriptions of a published plan. Never one that is not accounted for."""

from __future__ import annotations

import logging

from speech_backfill.errors import SpeechBackfillError
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import PlanState, TranscriptionState
from speech_backfill.ledger.submissions import Submissions
from speech_backfill.services import Services
from speech_backfill.speech.client import Deleted

log = logging.getLogger(__name__)


async def delete_at_service(ledger: Ledger, services: Services, plan_id: str) -> int:
    """Delete what the published plan has settled, and duplicates that have ended; returns how many are gone.

    Failures are logged and left to the service's time to live: cleaning up never fails a run.
    """
    if ledger.plan(plan_id).state is not PlanState.PUBLISHED:
        return 0
    submissions, gone = Submissions(ledger), 0
    # Another partition's plan may have adopted a chunk and not have merged it yet: it deletes it in its turn.
    wanted = ledger.wanted_by_others(plan_id)
    settled = [
        (record.resource, record.transcription_id)
        for record in submissions.of_plan(plan_id)
        if record.transcription_id
        and record.state is TranscriptionState.ENDED
        and record.settled_at is not None
        and record.chunk_id not in wanted
    ]
    for resource, transcription_id in [*settled, *submissions.duplicates_of_plan(plan_id)]:
        try:
            answer = await services.client(resource).delete(transcription_id)
        except (
            SpeechBackfillError
        ) as error:  # of the service, or of a resource that is not configured any more
            log.warning("%s not deleted at %s: %s", transcription_id, resource, error)
            continue
        gone += isinstance(answer, Deleted)
    return gone


async def note_duplicates(ledger: Ledger, services: Services, plan_id: str) -> None:
    """Ask what second transcriptions of the plan's chunks have cost, so that the report can say so.

    What can't be learned is logged and left open: it never fails a run.
    """
    submissions = Submissions(ledger)
    for resource, transcription_id in submissions.duplicates_of_plan(plan_id):
        try:
            seen = await services.client(resource).get(transcription_id)
        except SpeechBackfillError as error:
            log.warning("%s at %s: its cost is not known: %s", transcription_id, resource, error)
            continue
        if seen.status.ended:
            submissions.record_duplicate_cost(transcription_id, seen.duration_ms)
