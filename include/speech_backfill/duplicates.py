"""Find second transcriptions of a plan's chunks at the service: same token, another id. Only looks, and writes it down.

There should be none. Where a worker was frozen for longer than lease and grace time there may be one; it is kept out of
the tables, named in the run report with what it cost, and deleted with the rest.
"""

from __future__ import annotations

import logging

from speech_backfill.errors import SpeechBackfillError
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import TranscriptionRecord, TranscriptionState
from speech_backfill.ledger.submissions import Submissions
from speech_backfill.model import TranscriptionRef
from speech_backfill.services import Services
from speech_backfill.speech.api import Transcription

log = logging.getLogger(__name__)


async def find_duplicates(ledger: Ledger, services: Services, plan_id: str, *, skew_seconds: float) -> int:
    """List every resource once, from the plan's first intent on; returns how many second transcriptions were seen.

    What was given up and has ended since is noted on the way, because it is paid. A list that fails is logged and leaves
    the report without this look: it never fails a run.
    """
    submissions, found = Submissions(ledger), 0
    by_token = {one.token: one for one in submissions.of_plan(plan_id) if one.transcription_id is not None}
    if not by_token:
        return 0
    first = min(one.intent_at for one in by_token.values()) - skew_seconds
    # A submission that was refused at one resource went to another: the second may be at any of them.
    for resource in services.names:
        try:
            async for seen in services.client(resource).list(created_after=first):
                record = by_token.get(seen.display_name)
                if record is not None:
                    found += _note(submissions, resource, record, seen)
        except SpeechBackfillError as error:
            log.warning("no look for duplicates at %s: %s", resource, error)
    return found


def _note(submissions: Submissions, resource: str, record: TranscriptionRecord, seen: Transcription) -> bool:
    if seen.transcription_id == record.transcription_id:
        if record.state is TranscriptionState.GIVEN_UP and seen.status.ended:
            submissions.record_status(
                TranscriptionRef(resource, seen.transcription_id),
                seen.status,
                ended_at=seen.last_action_at,
                billed_ms=seen.duration_ms,
            )
        return False
    log.warning("%s was submitted twice: %s is kept out", record.token, seen.transcription_id)
    submissions.record_duplicate(record, seen.transcription_id, resource=resource)
    if seen.status.ended:
        submissions.record_duplicate_cost(seen.transcription_id, seen.duration_ms)
    return True
