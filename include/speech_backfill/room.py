"""Make room in the windows: note what has ended, give up what is overdue, resolve intents that nobody will come back for.

Others' transcriptions may have ended without anybody having noted it yet. A transcription of a shard that is not wholly
submitted is merged by nobody so far: without this, one that never ends would keep its window shut for ever.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from speech_backfill.errors import EndpointMoved
from speech_backfill.ledger.records import TranscriptionRecord
from speech_backfill.ledger.submissions import LeaseLost, Submissions
from speech_backfill.observe import past_deadline, record_ends
from speech_backfill.post import Poster

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Room:
    """Looks at one resource for whoever finds its window full. *owner* names the worker."""

    poster: Poster
    submissions: Submissions
    owner: str

    async def make(self, resource: str) -> None:
        """Look once. Raises errors of the service."""
        settings, ledger = self.poster.settings, self.poster.ledger
        try:
            await record_ends(
                ledger,
                self.poster.services,
                resource,
                gone_after_seconds=settings.gone_after_seconds,
                linger_seconds=settings.linger_seconds,
            )
        except EndpointMoved as error:
            # A person has to act on that one; those who wait for room here are others.
            log.warning("%s: %s", resource, error)
        now = ledger.clock()
        for record in self.submissions.unfinished(resource):
            problem = past_deadline(record, now=now, deadline_hours=settings.deadline_hours)
            if problem:
                log.warning("%s %s", record.token, problem)
                self.submissions.give_up(record, problem)
        for orphan in self.submissions.orphans(resource, after_seconds=settings.lease_seconds):
            try:
                await self._resolve(orphan)
            except LeaseLost:
                continue
            except EndpointMoved as error:
                log.warning("%s %s", orphan.token, error)

    async def _resolve(self, orphan: TranscriptionRecord) -> None:
        """An intent whose worker did not come back: adopt what the service has of it, or free its place."""
        poster = self.poster
        record = self.submissions.take_over(
            orphan, owner=self.owner, lease_seconds=poster.settings.lease_seconds
        )
        asked_at = poster.ledger.clock()
        try:
            found = await poster.found(record)
        except BaseException:
            self.submissions.release(record)
            raise
        if found:
            poster.adopt_orphan(self.submissions, record, found)
        elif asked_at >= poster.free_at(record):
            self.submissions.record_refused(
                record, "its worker did not come back, and the service has nothing of it"
            )
        else:
            self.submissions.release(record)
