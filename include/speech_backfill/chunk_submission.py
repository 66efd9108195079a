"""Submit one chunk: reserve, look up or post, go on elsewhere where one resource won't; set aside what is in trouble."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from speech_backfill.errors import SettingsError, SupersededPlan
from speech_backfill.ledger.records import (
    AtWork,
    HeldByAnother,
    Known,
    MustLookUp,
    NoneAllowed,
    OverBudget,
    Placement,
    PlanSuperseded,
    Reservation,
    Reserved,
    SetAside,
    TranscriptionRecord,
    TranscriptionState,
    WindowFull,
)
from speech_backfill.ledger.reservations import Reservations
from speech_backfill.ledger.resources import Resources
from speech_backfill.ledger.submissions import Submissions
from speech_backfill.model import Status, TranscriptionRef
from speech_backfill.observe import look
from speech_backfill.post import Later, Poster
from speech_backfill.room import Room
from speech_backfill.speech.errors import (
    AnswerLost,
    NotFound,
    NotSent,
    RequestRefused,
    ServiceUnavailable,
    SpeechServiceError,
    Throttled,
    Unauthorized,
    UnreadableAnswer,
)

log = logging.getLogger(__name__)

_THROTTLED_SECONDS = 15.0
"""How long to keep away after a 429 that names no time."""

_LONGEST_PAUSE_SECONDS = 60.0
"""How long a 429 to a submission keeps looks and downloads away as well: they cost the service less than advised for."""

_ROOM_SECONDS = 60.0
"""How long a resource may take to say what has ended, before the others' room is used without it."""

_AT_WORK_SECONDS = 3600.0
"""How long to wait for the end of what was given up before looking anyway: another region may be well by then."""

_NOT_HERE = (NotSent, Unauthorized, NotFound)
"""This resource won't have the chunk, for certain; another one may."""

_PASSING = (ServiceUnavailable, UnreadableAnswer, Throttled, NotSent)
"""The resource is in trouble, and whether it has the chunk can't be told now."""


@dataclass(frozen=True, slots=True)
class NoRoom:
    """The windows are full of these."""

    unfinished: tuple[TranscriptionRef, ...]


@dataclass(frozen=True, slots=True)
class Stopped:
    """The budget does not allow it."""

    over: OverBudget


Answer = TranscriptionRef | Later | NoRoom | Stopped | None


@dataclass(frozen=True, slots=True)
class ChunkSubmitter:
    """Submits one chunk after the other of plan *plan_id*, for one worker."""

    poster: Poster
    partition: str
    plan_id: str
    submissions: Submissions
    resources: Resources
    owner: str

    async def submit(
        self, placement: Placement, troubles: dict[str, SpeechServiceError], *, look_for_room: bool
    ) -> Answer:
        """Submit *placement* to the first resource that takes it. *troubles* gains what was wrong with others.

        None: it was given up before it ever had an id, so there is nothing to wait for. *look_for_room*: whether to ask
        the service what has ended, where the windows are full. Raises SettingsError, SupersededPlan, RequestRefused.
        """
        late = await self._late_success(placement)
        if late is not None:
            return late
        wanted, preferred = placement, placement
        while True:
            reservation = self._reserve(preferred, troubles)
            if isinstance(reservation, WindowFull) and preferred is not wanted:
                preferred = wanted
                reservation = self._reserve(wanted, troubles)
            if look_for_room and isinstance(reservation, WindowFull):
                await self._make_room(reservation.resources, troubles)
                late = await self._late_success(placement)
                if late is not None:
                    return late
                reservation = self._reserve(wanted, troubles)
            match reservation:
                case Known(record=record):
                    return record.ref
                case HeldByAnother(until=until):
                    return Later(
                        until, f"chunk {placement.chunk.chunk_id} is being submitted by another worker"
                    )
                case WindowFull(unfinished=unfinished):
                    return NoRoom(unfinished)
                case AtWork(refs=refs):
                    return Later(
                        self.poster.ledger.clock() + _AT_WORK_SECONDS,
                        f"chunk {placement.chunk.chunk_id} was given up and may end yet, and no other region is well",
                        waiting_for=refs,
                    )
                case SetAside(until=until, problem=problem):
                    return Later(until, f"every resource that may have it is set aside: {problem}")
                case NoneAllowed(residency=residency):
                    raise SettingsError(
                        "SPEECH_BACKFILL_SPEECH_CONNECTIONS",
                        f"files ask for the residency {residency!r}, which no Speech resource has",
                        "Give a connection that residency, or add one that has it, then clear this task.",
                    )
                case OverBudget():
                    return Stopped(reservation)
                case PlanSuperseded():
                    raise SupersededPlan(self.partition, self.plan_id)
                case MustLookUp(record=record):
                    answer = await self._look_up(placement, record, troubles)
                    if answer is None:
                        # It counted as sent until now, so nobody has asked for an earlier attempt yet.
                        answer = await self._late_success(placement)
                        if record.posts and wanted.away_from is None:
                            # It was sent there and not taken: another one is the better bet, if another has room.
                            preferred = replace(wanted, away_from=record.resource)
                case Reserved(record=record):
                    answer = await self._post(placement, record, troubles)
                case _:
                    assert_never(reservation)
            if answer is not None:
                return answer

    def stop(self, placement: Placement) -> None:
        """Note that *placement* is not submitted, for the one before it did not fit the budget either."""
        Reservations(self.poster.ledger).stop(placement)

    async def _look_up(
        self, placement: Placement, record: TranscriptionRecord, troubles: dict[str, SpeechServiceError]
    ) -> TranscriptionRef | Later | None:
        """What the service has of it; None where it is free again. In doubt it stays where it is until that can be told."""
        try:
            answer = await self.poster.look_up_first(self.submissions, placement, record)
        except (*_PASSING, Unauthorized, NotFound) as error:
            answer = Later(self._trouble(error, troubles), str(error), error)
        if isinstance(answer, Later):
            self.submissions.release(record)
        return answer

    async def _post(
        self, placement: Placement, record: TranscriptionRecord, troubles: dict[str, SpeechServiceError]
    ) -> TranscriptionRef | Later | None:
        """Put it on the wire; None where this resource won't have it, and another one may."""
        try:
            answer = await self.poster.post(self.submissions, placement, record)
        except Throttled as error:
            pause = error.retry_after_seconds or _THROTTLED_SECONDS
            self.resources.pause(error.resource, min(pause, _LONGEST_PAUSE_SECONDS))
            self.resources.set_aside(error.resource, "it is throttling", seconds=pause)
            return None
        except _NOT_HERE as error:
            self._trouble(error, troubles)
            return None
        except RequestRefused as error:
            if not error.by_its_tier:
                raise
            self._trouble(error, troubles)
            return None
        except _PASSING as error:
            return Later(self._trouble(error, troubles), str(error), error)
        match answer:
            case TranscriptionRef():
                self.resources.well(record.resource)
            case Later(trouble=AnswerLost() as lost):
                # It may take the next one, so this pass goes on trying it where there is no other.
                log.warning("%s is set aside: %s", lost.resource, lost)
                self.resources.set_aside(lost.resource, str(lost))
            case Later(trouble=SpeechServiceError() as elsewhere):
                self._trouble(elsewhere, troubles)
            case Later() | None:
                pass
        return answer

    async def _late_success(self, placement: Placement) -> TranscriptionRef | None:
        """An earlier attempt that was given up and has succeeded since: taken instead of paying again.

        Where it can't be asked for (its region may be down) its files are submitted: that is what giving up was for.
        """
        given_up = self.submissions.given_up_before(placement) if placement.attempt > 1 else []
        if not given_up:
            return None
        record = self.submissions.of(placement)
        if record is not None and record.state is not TranscriptionState.REFUSED:
            return None
        poster = self.poster
        for late in given_up:
            try:
                seen = await look(
                    poster.ledger,
                    poster.services,
                    late,
                    gone_after_seconds=poster.settings.gone_after_seconds,
                )
            except (SpeechServiceError, SettingsError) as error:
                log.warning("%s: no look whether it has ended late: %s", late.token, error)
                continue
            if seen is None or seen.status is not Status.SUCCEEDED:
                continue
            if self.submissions.take_late(placement, late):
                log.info("%s %s has succeeded late: taken, not paid again", placement.plan_id, late.token)
                return late.ref
        return None

    async def _make_room(self, resources: Sequence[str], troubles: dict[str, SpeechServiceError]) -> None:
        """Ask *resources* what has ended, all at once: one that is dead must not keep the others waiting."""
        room = Room(self.poster, self.submissions, self.owner)

        async def make(resource: str) -> None:
            try:
                async with asyncio.timeout(_ROOM_SECONDS):
                    await room.make(resource)
            except (*_PASSING, *_NOT_HERE) as error:
                self._trouble(error, troubles)
            except TimeoutError:
                # A long list at a steady rate takes as long: that is no trouble.
                log.warning("%s has not said within %.0f s what has ended", resource, _ROOM_SECONDS)

        looks = (make(one) for one in resources if one not in troubles)
        # All come to their end before the first error is raised: they share clients that are closed then.
        for failed in await asyncio.gather(*looks, return_exceptions=True):
            if isinstance(failed, BaseException):
                raise failed

    def _trouble(self, error: SpeechServiceError, troubles: dict[str, SpeechServiceError]) -> float:
        """Set the error's resource aside for everybody; returns until when."""
        log.warning("%s is set aside: %s", error.resource, error)
        troubles[error.resource] = error
        return self.resources.set_aside(error.resource, str(error))

    def _reserve(self, placement: Placement, tried: Collection[str]) -> Reservation:
        settings = self.poster.settings
        return Reservations(self.poster.ledger).reserve(
            placement,
            owner=self.owner,
            lease_seconds=settings.lease_seconds,
            resources=self.poster.services.names,
            tried=tried,
            assumed_speed=settings.audio_speed,
            linger_seconds=settings.linger_seconds,
        )
