"""Submit the chunks of a shard: intent before money, look before a second submission, never two workers on one chunk.

The hole that remains is named: a worker that is frozen between its last check of the lease and the moment its request
leaves the machine, for longer than lease and grace together, can submit a chunk that another worker has submitted
meanwhile. Both carry the same token, so the second is found, kept out of the tables, deleted and reported.
"""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from speech_backfill.accounts import StorageAccounts
from speech_backfill.chunk_files import read_chunk
from speech_backfill.errors import BudgetExhausted, EndpointMoved, SettingsError, SupersededPlan
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import (
    HeldByAnother,
    Known,
    MustLookUp,
    OverBudget,
    Placement,
    PlanSuperseded,
    Reservation,
    Reserved,
    TranscriptionRecord,
    TranscriptionState,
    WindowFull,
)
from speech_backfill.ledger.submissions import LeaseLost, Submissions
from speech_backfill.marks import Mark, leave_mark
from speech_backfill.model import Shard, Status, TranscriptionRef
from speech_backfill.observe import look, past_deadline, record_ends
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

_THROTTLED_SECONDS = 15.0
"""How long to keep away after a 429 that names no time."""

_WINDOW_SECONDS = 3600.0
"""How long to wait for room before looking anyway, should the wake-up get lost."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """Every chunk of the shard has a transcription."""

    refs: tuple[TranscriptionRef, ...]


@dataclass(frozen=True, slots=True)
class NotYet:
    """Some chunks can't be submitted before *until* (seconds since 1970), or before one of *waiting_for* has ended."""

    until: float
    reason: str
    waiting_for: tuple[TranscriptionRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Submitter:
    """The pieces that submitting needs; `submit_shard` is its verb."""

    ledger: Ledger
    store: Store
    accounts: StorageAccounts
    services: Services
    settings: Settings

    async def submit_shard(self, shard: Shard) -> Submitted | NotYet:
        """Submit what is not submitted yet. Run it again after a NotYet, a crash or a clear: it goes on where it was.

        Raises BudgetExhausted, SupersededPlan, RequestRefused, Unauthorized and other errors of the service.
        """
        submissions = Submissions(self.ledger)
        for one in self.services.resources.values():
            submissions.register(one.name, window=one.window, region=one.region)
        owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        placements = self.ledger.placements(shard.plan_id, shard.round, shard.index)
        refs: list[TranscriptionRef] = []
        for done, placement in enumerate(placements):
            answer = await self._submit(submissions, shard, placement, owner, left=len(placements) - done)
            match answer:
                case NotYet():
                    return answer
                case None:
                    continue
                case TranscriptionRef():
                    refs.append(answer)
                case _:
                    assert_never(answer)
        return Submitted(tuple(refs))

    async def _submit(
        self, submissions: Submissions, shard: Shard, placement: Placement, owner: str, *, left: int
    ) -> TranscriptionRef | NotYet | None:
        """One chunk. None: it was given up before it ever had an id, so there is nothing to wait for."""
        now = self.ledger.clock()
        late = await self._late_success(submissions, placement)
        if late is not None:
            return late
        reservation = self._reserve(submissions, placement, owner)
        if isinstance(reservation, WindowFull):
            # Others' transcriptions may have ended without anybody having noted it yet: look once, then ask again.
            for resource in self.services.names:
                await self._make_room(submissions, resource, owner)
            reservation = self._reserve(submissions, placement, owner)
        match reservation:
            case Known(record=record):
                return record.ref
            case HeldByAnother(until=until):
                return NotYet(until, f"chunk {placement.chunk.chunk_id} is being submitted by another worker")
            case WindowFull(unfinished=unfinished):
                # An end wakes us; the moment is for windows held by submissions whose answer is still unknown.
                pause = _WINDOW_SECONDS if unfinished else self.settings.lease_seconds
                return NotYet(now + pause, "every resource's window is full", unfinished)
            case OverBudget(budget_ms=budget_ms, reserved_ms=reserved_ms):
                raise BudgetExhausted(
                    plan_id=shard.plan_id,
                    budget_hours=budget_ms / 3_600_000,
                    reserved_hours=reserved_ms / 3_600_000,
                    next_hours=placement.chunk.audio_ms / 3_600_000,
                    left_chunks=left,
                )
            case PlanSuperseded():
                raise SupersededPlan(shard.partition, shard.plan_id)
            case MustLookUp(record=record):
                return await self._look_up_first(submissions, placement, record)
            case Reserved(record=record):
                return await self._post(submissions, placement, record)
            case _:
                assert_never(reservation)

    async def _late_success(self, submissions: Submissions, placement: Placement) -> TranscriptionRef | None:
        """An earlier attempt that was given up and has succeeded since: taken instead of paying again.

        Where it can't be asked for (its region may be down) its files are submitted: that is what giving up was for.
        """
        given_up = submissions.given_up_before(placement) if placement.attempt > 1 else []
        if not given_up:
            return None
        record = submissions.of(placement)
        if record is not None and record.state is not TranscriptionState.REFUSED:
            return None
        for late in given_up:
            try:
                seen = await look(
                    self.ledger, self.services, late, gone_after_seconds=self.settings.gone_after_seconds
                )
            except (SpeechServiceError, SettingsError) as error:
                log.warning("%s: no look whether it has ended late: %s", late.token, error)
                continue
            if seen is None or seen.status is not Status.SUCCEEDED:
                continue
            if submissions.take_late(placement, late):
                log.info("%s %s has succeeded late: taken, not paid again", placement.plan_id, late.token)
                return late.ref
        return None

    async def _make_room(self, submissions: Submissions, resource: str, owner: str) -> None:
        """Note what has ended, give up what is overdue, and resolve intents that nobody will come back for.

        A transcription of a shard that is not wholly submitted is merged by nobody yet: without this, one that never
        ends would keep the window shut for ever.
        """
        await record_ends(
            self.ledger, self.services, resource, gone_after_seconds=self.settings.gone_after_seconds
        )
        now = self.ledger.clock()
        for record in submissions.unfinished(resource):
            problem = past_deadline(record, now=now, deadline_hours=self.settings.deadline_hours)
            if problem:
                log.warning("%s %s", record.token, problem)
                submissions.give_up(record, problem)
        for orphan in submissions.orphans(resource):
            try:
                await self._resolve(submissions, orphan, owner)
            except LeaseLost:
                continue

    async def _resolve(self, submissions: Submissions, orphan: TranscriptionRecord, owner: str) -> None:
        """An intent of a plan that was replaced: adopt what the service has of it, or free its place."""
        record = submissions.take_over(orphan, owner=owner, lease_seconds=self.settings.lease_seconds)
        found = await self._found(record)
        if found:
            adopted = submissions.record_submitted(
                record,
                found[0].transcription_id,
                adopted=True,
                endpoint=self._endpoint(record.resource),
            )
            for other in found[1:]:
                submissions.record_duplicate(adopted, other.transcription_id)
        elif record.last_post_at is None or self.ledger.clock() >= self._settled_at(record.last_post_at):
            submissions.record_refused(record, "its plan was replaced before the service had it")

    async def _found(self, record: TranscriptionRecord) -> list[Transcription]:
        """What the service has under the record's token. A look-up that fails raises, also where it proves nothing."""
        found = await self.services.client(record.resource).find(
            record.token, created_after=record.intent_at - self.settings.lookup_skew_seconds
        )
        submitted_to = self.services.moved_from(record)
        if not found and submitted_to is not None:
            raise EndpointMoved(
                resource=record.resource,
                token=record.token,
                submitted_to=submitted_to,
                now=self._endpoint(record.resource),
            )
        return found

    def _endpoint(self, resource: str) -> str:
        return self.services.resources[resource].endpoint

    def _settled_at(self, posted_at: float) -> float:
        """When a submission that the list does not show counts as never accepted."""
        return posted_at + self.settings.submit_timeout_seconds + self.settings.lookup_grace_seconds

    def _reserve(self, submissions: Submissions, placement: Placement, owner: str) -> Reservation:
        return submissions.reserve(
            placement, owner=owner, lease_seconds=self.settings.lease_seconds, resources=self.services.names
        )

    async def _look_up_first(
        self, submissions: Submissions, placement: Placement, record: TranscriptionRecord
    ) -> TranscriptionRef | NotYet:
        """Adopt what the service already has under this token; submit only when it certainly has nothing.

        A look-up that fails raises: then nothing is submitted and the next run looks again.
        """
        found = await self._found(record)
        if found:
            return self._adopt(submissions, placement, record, found)
        if record.last_post_at is None:
            return await self._post(submissions, placement, record)
        settled_at = self._settled_at(record.last_post_at)
        if self.ledger.clock() < settled_at:
            return NotYet(
                settled_at,
                f"an answer was lost; {record.token} is looked for again once the list has had time",
            )
        log.info(
            "%s %s not at the service after the grace time: submitting again", placement.plan_id, record.token
        )
        return await self._post(submissions, placement, record)

    def _adopt(
        self,
        submissions: Submissions,
        placement: Placement,
        record: TranscriptionRecord,
        found: Sequence[Transcription],
        *,
        resource: str | None = None,
    ) -> TranscriptionRef | NotYet:
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

    async def _post(
        self, submissions: Submissions, placement: Placement, record: TranscriptionRecord
    ) -> TranscriptionRef | NotYet:
        """Put one submission on the wire and record what came of it."""
        mark = leave_mark(self.store, record, now=self.ledger.clock())
        if mark is not None:
            answer = await self._heed(submissions, placement, record, mark)
            if answer is not None:
                return answer
            leave_mark(self.store, record, now=self.ledger.clock(), heeded=mark)
        urls = self._content_urls(placement, record)
        client = self.services.client(record.resource)
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
            try:
                submissions.record_refused(record, str(error))
            except LeaseLost:
                return self._lease_lost(record)
            if isinstance(error, Throttled):
                pause = error.retry_after_seconds or _THROTTLED_SECONDS
                return NotYet(self.ledger.clock() + pause, f"resource {record.resource} is throttling")
            raise
        except AnswerLost as error:
            log.warning("%s %s", placement.plan_id, error)
            return await self._look_up_first(submissions, placement, record)
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

    async def _heed(
        self, submissions: Submissions, placement: Placement, record: TranscriptionRecord, mark: Mark
    ) -> TranscriptionRef | NotYet | None:
        """What another ledger has submitted of this attempt, at any resource; None where it certainly did not."""
        log.warning(
            "%s %s was submitted, or about to be, by another ledger on this store: looking for it. After restoring or losing "
            "a ledger run rebuild-ledger first",
            placement.plan_id,
            record.token,
        )
        for resource in self.services.names:
            found = await self.services.client(resource).find(
                record.token, created_after=mark.at - self.settings.lookup_skew_seconds
            )
            if found:
                return self._adopt(submissions, placement, record, found, resource=resource)
        settled_at = self._settled_at(mark.at + self.settings.lease_seconds)
        if self.ledger.clock() < settled_at:
            return NotYet(settled_at, f"another ledger has marked {record.token}; it is looked for again")
        return None

    def _lease_lost(self, record: TranscriptionRecord) -> NotYet:
        until = self.ledger.clock() + self.settings.lease_seconds
        return NotYet(until, f"another worker has taken over {record.token}")

    def _content_urls(self, placement: Placement, record: TranscriptionRecord) -> list[str]:
        """The chunk's URLs with a read SAS each, minted now; plain ones where the service reads by its own identity."""
        files = read_chunk(self.store, placement.chunk.chunk_id)
        if self.settings.source_access == "identity":
            return [one.url for one in files]
        signers = {
            account.name: account.signer(now=self.ledger.clock(), hours=self.settings.sas_hours)
            for account in self.accounts.accounts
        }
        urls = []
        for one in files:
            place = self.accounts.locate(one.url)
            urls.append(f"{one.url}?{signers[place.account.name](place.container, place.path)}")
        return urls
