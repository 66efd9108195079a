"""Put one reserved chunk on the wire, at the most once: look for its token first, post, record what came of it.

The hole that remains is named: a worker that is frozen between its last check of the lease and the moment its request
leaves the machine, for longer than lease and grace together, can submit a chunk that another worker has submitted
meanwhile. Both carry the same token, so the second is found, kept out of the tables, deleted and reported.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from speech_backfill.accounts import StorageAccounts
from speech_backfill.chunk_files import read_chunk
from speech_backfill.errors import ClockWrong, EndpointMoved
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import Placement, TranscriptionRecord
from speech_backfill.ledger.submissions import LeaseLost, Submissions
from speech_backfill.marks import Mark, leave_mark
from speech_backfill.model import TranscriptionRef
from speech_backfill.services import Services
from speech_backfill.settings import Settings
from speech_backfill.speech.api import Transcription
from speech_backfill.speech.errors import (
    AnswerLost,
    NotFound,
    NotSent,
    RequestRefused,
    SpeechServiceError,
    Throttled,
    Unauthorized,
)
from speech_backfill.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Later:
    """The chunk can't be submitted before *until* (seconds since 1970)."""

    until: float
    reason: str
    trouble: SpeechServiceError | None = None
    """What was wrong with a resource, where that is why."""
    waiting_for: tuple[TranscriptionRef, ...] = ()
    """It can be told sooner once one of these has ended."""


@dataclass(frozen=True, slots=True)
class Poster:
    """The pieces that one submission needs; `look_up_first` and `post` are its verbs."""

    ledger: Ledger
    store: Store
    accounts: StorageAccounts
    services: Services
    settings: Settings

    async def look_up_first(
        self, submissions: Submissions, placement: Placement, record: TranscriptionRecord
    ) -> TranscriptionRef | Later | None:
        """Adopt what the service already has under this token.

        None: it certainly has nothing, and the reservation is free again; plan, budget and resource may be others by now.
        A look-up that fails raises: then nothing is changed and the next run looks again.
        """
        asked_at = self.ledger.clock()  # a look takes time, and counts for the moment at which it began
        found = await self.found(record)
        if found:
            return self._adopt(submissions, placement, record, found)
        settled_at = self.free_at(record)
        if asked_at < settled_at:
            return Later(
                settled_at,
                f"an answer was lost; {record.token} is looked for again once the list has had time",
            )
        log.info("%s %s is not at the service: it may be submitted again", placement.plan_id, record.token)
        return self._refused(submissions, record, "the service certainly has nothing of it")

    async def post(
        self, submissions: Submissions, placement: Placement, record: TranscriptionRecord
    ) -> TranscriptionRef | Later | None:
        """Put one submission on the wire and record what came of it. None where it may be reserved anew.

        Raises what the service says for certain, once the reservation is free again: Throttled, NotSent,
        RequestRefused, Unauthorized, NotFound. Raises ClockWrong before anything is sent.
        """
        self._check_clock(record)
        client = self.services.client(record.resource)
        mark = leave_mark(self.store, record, now=self.ledger.clock())
        if mark is not None:
            try:
                answer = await self._heed(submissions, placement, record, mark)
            except SpeechServiceError as error:
                # Any resource may have it, so trouble at one of them, not only at the one reserved, is reason to wait.
                until = self.ledger.clock() + self.settings.lookup_grace_seconds
                return self._refused(submissions, record, str(error)) or Later(until, str(error), error)
            if answer is not None:
                return answer
            leave_mark(self.store, record, now=self.ledger.clock(), heeded=mark)
        urls = self._content_urls(placement, record)
        try:
            record = submissions.about_to_post(
                record,
                lease_seconds=self.settings.lease_seconds,
                endpoint=self._endpoint(record.resource),
            )
        except LeaseLost:
            return self._lease_lost(record)
        try:
            made = await client.submit(
                options=placement.chunk.options,
                content_urls=urls,
                display_name=record.token,
                custom_properties={
                    "speech-backfill": "1",
                    "chunk": placement.chunk.chunk_id,
                    "attempt": str(placement.attempt),
                    "partition": placement.chunk.partition[:256],
                    "files": str(placement.chunk.files),
                },
                time_to_live_hours=self.settings.time_to_live_hours,
                timeout_seconds=self.settings.submit_timeout_seconds,
            )
        except (Throttled, NotSent, RequestRefused, Unauthorized, NotFound) as error:
            # Certain: nothing was made. The place in the window and the budget are free again.
            lost = self._refused(submissions, record, str(error))
            if lost is not None:
                return lost
            raise
        except AnswerLost as error:
            log.warning("%s %s", placement.plan_id, error)
            answer = await self.look_up_first(submissions, placement, record)
            return replace(answer, trouble=error) if isinstance(answer, Later) else answer
        try:
            done = submissions.record_submitted(record, made.transcription_id)
        except LeaseLost:
            # Another worker took over while we slept. If it adopts this very transcription all is well; otherwise the
            # token leads it (or the merge) to both.
            log.warning(
                "%s %s: lease lost after the answer; left to the new holder", placement.plan_id, record.token
            )
            return self._lease_lost(record)
        log.info(
            "%s %s submitted to %s as %s: %d files",
            placement.plan_id,
            record.token,
            record.resource,
            made.transcription_id,
            len(urls),
        )
        assert done.ref is not None
        return done.ref

    async def found(self, record: TranscriptionRecord) -> list[Transcription]:
        """What the service has under the record's token. A look-up that fails raises, also where it proves nothing."""
        found = await self.services.client(record.resource).find(
            record.token, created_after=record.intent_at - self.settings.lookup_skew_seconds
        )
        if found:
            return found
        self._check_clock(record)
        submitted_to = self.services.moved_from(record)
        if submitted_to is not None:
            raise EndpointMoved(
                resource=record.resource,
                token=record.token,
                submitted_to=submitted_to,
                now=self._endpoint(record.resource),
            )
        return []

    def free_at(self, record: TranscriptionRecord) -> float:
        """When a submission that the list does not show counts as never accepted; one that was never sent, at once."""
        return 0.0 if record.last_post_at is None else self._settled_at(record.last_post_at)

    def _settled_at(self, posted_at: float) -> float:
        return posted_at + self.settings.submit_timeout_seconds + self.settings.lookup_grace_seconds

    def _refused(self, submissions: Submissions, record: TranscriptionRecord, problem: str) -> Later | None:
        """Free the reservation; `Later` where another worker has taken it over."""
        try:
            submissions.record_refused(record, problem)
        except LeaseLost:
            return self._lease_lost(record)
        return None

    def adopt_orphan(
        self, submissions: Submissions, record: TranscriptionRecord, found: Sequence[Transcription]
    ) -> None:
        """Record what was *found* of an intent that nobody will come back for. Raises LeaseLost."""
        adopted = submissions.record_submitted(
            record,
            found[0].transcription_id,
            adopted=True,
            endpoint=self._endpoint(record.resource),
        )
        for other in found[1:]:
            submissions.record_duplicate(adopted, other.transcription_id)

    def _check_clock(self, record: TranscriptionRecord) -> None:
        """Look-ups go by the moment of the intent: a clock that is far off would make them miss what is there."""
        offset = self.services.client(record.resource).clock_offset_seconds
        if offset is not None and abs(offset) > self.settings.lookup_skew_seconds:
            raise ClockWrong(
                resource=record.resource, seconds=-offset, allowed=self.settings.lookup_skew_seconds
            )

    def _adopt(
        self,
        submissions: Submissions,
        placement: Placement,
        record: TranscriptionRecord,
        found: Sequence[Transcription],
        *,
        resource: str | None = None,
    ) -> TranscriptionRef | Later:
        first, *others = found
        try:
            adopted = submissions.record_submitted(
                record,
                first.transcription_id,
                adopted=True,
                resource=resource,
                endpoint=self._endpoint(resource or record.resource),
            )
        except LeaseLost:
            return self._lease_lost(record)
        for other in others:
            log.warning(
                "%s %s was submitted twice: %s is kept out",
                placement.plan_id,
                record.token,
                other.transcription_id,
            )
            submissions.record_duplicate(adopted, other.transcription_id)
        log.info("%s %s adopted %s", placement.plan_id, record.token, first.transcription_id)
        assert adopted.ref is not None
        return adopted.ref

    async def _heed(
        self, submissions: Submissions, placement: Placement, record: TranscriptionRecord, mark: Mark
    ) -> TranscriptionRef | Later | None:
        """What another ledger has submitted of this attempt, at any resource; None where it certainly did not."""
        log.warning(
            "%s %s was submitted, or about to be, by another ledger on this store: looking for it. After restoring or losing "
            "a ledger run rebuild-ledger first",
            placement.plan_id,
            record.token,
        )
        asked_at = self.ledger.clock()
        for resource in self.services.names:
            found = await self.services.client(resource).find(
                record.token, created_after=mark.at - self.settings.lookup_skew_seconds
            )
            if found:
                return self._adopt(submissions, placement, record, found, resource=resource)
        settled_at = self._settled_at(mark.at + self.settings.lease_seconds)
        if asked_at < settled_at:
            return Later(settled_at, f"another ledger has marked {record.token}; it is looked for again")
        return None

    def _lease_lost(self, record: TranscriptionRecord) -> Later:
        until = self.ledger.clock() + self.settings.lease_seconds
        return Later(until, f"another worker has taken over {record.token}")

    def _endpoint(self, resource: str) -> str:
        return self.services.resources[resource].endpoint

    def _content_urls(self, placement: Placement, record: TranscriptionRecord) -> list[str]:
        """The chunk's URLs with a read SAS each, minted now; plain ones where the service reads by its own identity.

        Where we can sign one for so long it lives until the transcription is given up: until then its region may begin with it.
        """
        files = read_chunk(self.store, placement.chunk.chunk_id)
        if self.settings.source_access == "identity":
            return [one.url for one in files]
        until_given_up = (record.expected_seconds or 0.0) / 3600 + self.settings.deadline_hours
        signers = {
            account.name: account.signer(
                now=self.ledger.clock(), hours=self.settings.sas_hours, better_hours=until_given_up
            )
            for account in self.accounts.accounts
        }
        urls = []
        for one in files:
            place = self.accounts.locate(one.url)
            urls.append(f"{one.url}?{signers[place.account.name](place.container, place.path)}")
        return urls
