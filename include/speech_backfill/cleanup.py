"""Clean up at the service: delete the transcriptions of a published plan. Never one that is not accounted for."""

from __future__ import annotations

import json
import logging

from speech_backfill import paths
from speech_backfill.errors import SpeechBackfillError, StoreError
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import PlanState, TranscriptionState
from speech_backfill.ledger.submissions import Submissions
from speech_backfill.model import Status
from speech_backfill.services import Services
from speech_backfill.speech.client import Deleted
from speech_backfill.store import Store

log = logging.getLogger(__name__)

_ENDED = {Status.SUCCEEDED, Status.FAILED}


async def delete_at_service(ledger: Ledger, store: Store, services: Services, plan_id: str) -> int:
    """Delete what the published plan has settled, and duplicates that have ended; returns how many are gone.

    Duplicates of earlier plans that had not ended then are among them. What was given up and has succeeded late goes
    once another attempt has brought its transcripts; until then a repair may still take it. Those with a file that was not read
    stay for whoever may still get at it. Failures are logged and left to the service's time to live: cleaning up never fails a run.
    """
    if ledger.plan(plan_id).state is not PlanState.PUBLISHED:
        return 0
    submissions, gone = Submissions(ledger), 0
    try:
        unread = _unread(ledger, store, plan_id)
    except (StoreError, FileNotFoundError) as error:
        log.warning("%s: nothing is deleted, for what was read of it is not known: %s", plan_id, error)
        return 0
    # Another partition's plan may have adopted a chunk and not have merged it yet: it deletes it in its turn.
    kept = ledger.wanted_by_others(plan_id) | unread
    records = submissions.of_plan(plan_id)
    again = {one.chunk_id: one.attempt for one in records if one.status == Status.SUCCEEDED}
    settled = [
        (record.resource, record.transcription_id)
        for record in records
        if record.transcription_id
        and record.settled_at is not None
        and record.chunk_id not in kept
        and (
            record.state is TranscriptionState.ENDED
            or (record.status in _ENDED and again.get(record.chunk_id, 0) > record.attempt)
        )
    ]
    duplicates = {one.transcription_id: one.resource for one in submissions.duplicates_left()}
    for resource, transcription_id in [*settled, *((where, which) for which, where in duplicates.items())]:
        try:
            answer = await services.client(resource).delete(transcription_id)
        except (
            SpeechBackfillError
        ) as error:  # of the service, or of a resource that is not configured any more
            log.warning("%s not deleted at %s: %s", transcription_id, resource, error)
            continue
        if isinstance(answer, Deleted):
            gone += 1
            if transcription_id in duplicates:
                submissions.record_duplicate_deleted(transcription_id)
    return gone


def _unread(ledger: Ledger, store: Store, plan_id: str) -> set[str]:
    """Chunks of the plan with a file of which no result, or none that can be read, was had. Raises StoreError, FileNotFoundError."""
    found: set[str] = set()
    for round_ in range(ledger.rounds(plan_id)):
        for shard in ledger.shards(plan_id, round_):
            merged = json.loads(store.get(f"{paths.shard_folder(plan_id, round_, shard.index)}/merged.json"))
            # Merges of before this was noted have deleted without asking.
            found.update(merged.get("unread_chunks", ()))
    return found


async def note_duplicates(ledger: Ledger, services: Services, plan_id: str) -> None:
    """Ask what second transcriptions of the plan's chunks have cost, so that the report can say so.

    What can't be learned is logged and left open: it never fails a run.
    """
    submissions = Submissions(ledger)
    for one in submissions.duplicates_of_plan(plan_id):
        if one.billed_ms is not None:
            continue
        try:
            seen = await services.client(one.resource).get(one.transcription_id)
        except SpeechBackfillError as error:
            log.warning("%s at %s: its cost is not known: %s", one.transcription_id, one.resource, error)
            continue
        if seen.status.ended:
            submissions.record_duplicate_cost(one.transcription_id, seen.duration_ms)
