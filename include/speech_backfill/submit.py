"""Submit the chunks of a shard as far as there is room: reserve, hand to the wire, go on elsewhere where one resource won't.

Run it again after a `NotYet`, a crash or a clear: it goes on where it was. What one chunk meets costs that chunk only.
"""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import assert_never

from speech_backfill.errors import SettingsError, SupersededPlan
from speech_backfill.ledger.line import Line
from speech_backfill.ledger.records import (
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
from speech_backfill.model import Shard, Status, TranscriptionRef
from speech_backfill.observe import look
from speech_backfill.post import Later, Poster
from speech_backfill.room import Room
from speech_backfill.speech.errors import (
    NotFound,
    NotSent,
    ServiceUnavailable,
    SpeechServiceError,
    Throttled,
    Unauthorized,
    UnreadableAnswer,
)

log = logging.getLogger(__name__)

_THROTTLED_SECONDS = 15.0
"""How long to keep away after a 429 that names no time."""

_WINDOW_SECONDS = 3600.0
"""How long to wait for room before looking anyway, should the wake-up get lost."""

_SHORTEST_LINE_SECONDS = 30.0
"""Whoever stands far back in line does not come back sooner: it would find no room."""

_SURE_SHARE = 0.7
"""A wait for one's turn is expected to be this much shorter, so that no region runs dry because of a wrong guess."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """Every chunk of the shard has a transcription, or was stopped."""

    refs: tuple[TranscriptionRef, ...]
    stopped: int = 0
    """Chunks that did not fit the budget any more."""


@dataclass(frozen=True, slots=True)
class NotYet:
    """Some chunks can't be submitted before *until* (seconds since 1970), or before *ends* of *waiting_for* have ended."""

    until: float
    reason: str
    waiting_for: tuple[TranscriptionRef, ...] = ()
    ends: int = 1
    no_room: bool = False
    """Whether it is for lack of room: other shards would meet the same."""


@dataclass(frozen=True, slots=True)
class _NoRoom:
    """The windows are full of these."""

    unfinished: tuple[TranscriptionRef, ...]


@dataclass(frozen=True, slots=True)
class _Stopped:
    """The budget does not allow it."""

    over: OverBudget


_Answer = TranscriptionRef | Later | _NoRoom | _Stopped | None


@dataclass(slots=True)
class _Pass:
    """One pass over the chunks of a shard, as far as it has come."""

    refs: list[TranscriptionRef] = field(default_factory=list)
    later: list[Later] = field(default_factory=list)
    no_room: _NoRoom | None = None
    full: set[tuple[str, str | None]] = field(default_factory=set)
    """Residency, and resource to keep away from, for which there was no room."""
    waiting: int = 0
    """Chunks that want room."""
    stopped: _Stopped | None = None
    left: int = 0
    """Chunks that the budget does not allow."""
    troubles: dict[str, SpeechServiceError] = field(default_factory=dict)
    """What was wrong with each resource."""


@dataclass(frozen=True, slots=True)
class Submitter:
    """`submit_shard` is its verb."""

    poster: Poster

    async def submit_shard(self, shard: Shard) -> Submitted | NotYet:
        """Submit what is not submitted yet.

        Raises UnknownPlan, SupersededPlan, SettingsError, RequestRefused; and Unauthorized, NotSent, ServiceUnavailable and the like
        where no resource is left that works.
        """
        ledger, services = self.poster.ledger, self.poster.services
        submissions, resources = Submissions(ledger), Resources(ledger)
        for one in services.resources.values():
            resources.register(one.name, window=one.window, region=one.region, residency=one.residency)
        owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        chunks = _Chunks(self.poster, shard, submissions, resources, owner)
        known = submissions.of_shard(shard)
        made = _Pass()
        for placement in ledger.shard_placements(shard):
            record = known.get((placement.chunk.chunk_id, placement.attempt))
            if record is not None and record.state not in _OPEN:
                if record.ref is not None:  # else given up before it ever had an id: nothing to wait for
                    made.refs.append(record.ref)
                continue
            await self._go_on(chunks, placement, record, made)
        return self._concluded(shard, made, chunks)

    async def _go_on(
        self, chunks: _Chunks, placement: Placement, record: TranscriptionRecord | None, made: _Pass
    ) -> None:
        """One chunk more; what came of it is noted in *made*."""
        want = (placement.chunk.residency, placement.away_from)
        unsent = record is None or record.state is TranscriptionState.REFUSED
        if unsent and want in made.full and placement.attempt == 1:
            made.waiting += 1
            return
        if unsent and made.stopped is not None:
            chunks.stop(placement)
            made.left += 1
            return
        answer = await chunks.submit(placement, made.troubles, look_for_room=want not in made.full)
        match answer:
            case None:
                pass
            case TranscriptionRef():
                made.refs.append(answer)
            case Later():
                made.later.append(answer)
            case _NoRoom():
                made.no_room = answer
                made.full.add(want)
                made.waiting += 1
            case _Stopped():
                made.stopped = answer
                made.left += 1
            case _:
                assert_never(answer)

    def _concluded(self, shard: Shard, made: _Pass, chunks: _Chunks) -> Submitted | NotYet:
        line = Line(self.poster.ledger)
        if not made.later and made.no_room is None:
            line.leave(shard)
            return Submitted(tuple(made.refs), made.left)
        if made.later and set(made.troubles) >= set(self.poster.services.names):
            raise next(iter(made.troubles.values()))
        later = [NotYet(one.until, one.reason) for one in made.later]
        if made.no_room is None:
            # What it waits for is not room: others need not wait for it.
            line.leave(shard)
        else:
            later.append(chunks.in_line(line, shard, made.no_room, made.waiting))
        soonest = min(later, key=lambda one: one.until)
        room = later[-1] if made.no_room is not None else None
        return NotYet(
            soonest.until,
            soonest.reason
            if room is None
            else f"{room.reason}{f'; {soonest.reason}' if soonest is not room else ''}",
            waiting_for=() if room is None else room.waiting_for,
            ends=1 if room is None else room.ends,
            no_room=room is not None,
        )


_OPEN = {TranscriptionState.INTENDED, TranscriptionState.REFUSED}


@dataclass(frozen=True, slots=True)
class _Chunks:
    """Submits one chunk after the other of one shard, for one worker."""

    poster: Poster
    shard: Shard
    submissions: Submissions
    resources: Resources
    owner: str

    async def submit(
        self, placement: Placement, troubles: dict[str, SpeechServiceError], *, look_for_room: bool
    ) -> _Answer:
        """Submit *placement* to the first resource that takes it. *troubles* gains what was wrong with others.

        None: it was given up before it ever had an id, so there is nothing to wait for. *look_for_room*: whether to ask
        the service what has ended, where the windows are full.
        """
        late = await self._late_success(placement)
        if late is not None:
            return late
        while True:
            reservation = self._reserve(placement, troubles)
            if look_for_room and isinstance(reservation, WindowFull):
                await self._make_room(troubles)
                reservation = self._reserve(placement, troubles)
            match reservation:
                case Known(record=record):
                    return record.ref
                case HeldByAnother(until=until):
                    return Later(
                        until, f"chunk {placement.chunk.chunk_id} is being submitted by another worker"
                    )
                case WindowFull(unfinished=unfinished):
                    return _NoRoom(unfinished)
                case SetAside(until=until, problem=problem):
                    return Later(until, f"every resource that may have it is set aside: {problem}")
                case NoneAllowed(residency=residency):
                    raise SettingsError(
                        "SPEECH_BACKFILL_SPEECH_CONNECTIONS",
                        f"files ask for the residency {residency!r}, which no Speech resource has",
                        "Give a connection that residency, or add one that has it, then clear this task.",
                    )
                case OverBudget():
                    return _Stopped(reservation)
                case PlanSuperseded():
                    raise SupersededPlan(self.shard.partition, self.shard.plan_id)
                case MustLookUp(record=record):
                    try:
                        answer = await self.poster.look_up_first(self.submissions, placement, record)
                    except _PASSING as error:
                        # Whether the service has it is not known, so it stays where it is until that can be told.
                        return Later(self._trouble(record.resource, error, troubles), str(error))
                    except (Unauthorized, NotFound) as error:
                        return Later(self._trouble(record.resource, error, troubles), str(error))
                    self.resources.well(record.resource)
                    return answer
                case Reserved(record=record):
                    try:
                        answer = await self.poster.post(self.submissions, placement, record)
                    except Throttled as error:
                        pause = error.retry_after_seconds or _THROTTLED_SECONDS
                        self.resources.pause(record.resource, pause)
                        self.resources.set_aside(record.resource, "it is throttling", seconds=pause)
                    except _NOT_HERE as error:
                        self._trouble(record.resource, error, troubles)
                    except _PASSING as error:
                        return Later(self._trouble(record.resource, error, troubles), str(error))
                    else:
                        self.resources.well(record.resource)
                        return answer
                case _:
                    assert_never(reservation)

    def stop(self, placement: Placement) -> None:
        """Note that *placement* is not submitted, for the one before it did not fit the budget either."""
        Reservations(self.poster.ledger).stop(placement)

    def in_line(self, line: Line, shard: Shard, no_room: _NoRoom, waiting: int) -> NotYet:
        """Wait for as many ends as stand before us, and for half a window of our own; far back in line for a time."""
        unfinished = no_room.unfinished
        settings, services = self.poster.settings, self.poster.services
        if not unfinished:
            # The windows are held by submissions whose answer is still unknown: nobody can be waited for.
            ahead, until = line.stand(shard, chunks=waiting, pause=lambda _: settings.lease_seconds)
            return NotYet(until, f"every resource's window is full; {ahead} chunks first", no_room=True)
        room = sum(one.window for one in services.resources.values())
        batch = min(waiting, max(1, room // 2))

        seconds_each = self._seconds_each()

        def pause(ahead: int) -> float:
            if ahead < len(unfinished):
                return _WINDOW_SECONDS
            turn = (ahead - len(unfinished)) * seconds_each
            return min(max(turn * _SURE_SHARE, _SHORTEST_LINE_SECONDS), _WINDOW_SECONDS)

        ahead, until = line.stand(shard, chunks=waiting, pause=pause)
        if ahead >= len(unfinished):
            return NotYet(until, f"every resource's window is full; {ahead} chunks first", no_room=True)
        return NotYet(
            until,
            "every resource's window is full" + (f"; {ahead} chunks first" if ahead else ""),
            unfinished,
            ends=min(ahead + batch, len(unfinished)),
            no_room=True,
        )

    def _seconds_each(self) -> float:
        """How long the regions together work on one chunk."""
        found = self.resources.backlogs(assumed_speed=self.poster.settings.audio_speed)
        rates = [
            1 / max(one.speed.seconds_each, 0.001) for one in found if one.speed.seconds_each is not None
        ]
        if rates:
            return 1 / sum(rates)
        unfinished = sum(one.unfinished for one in found)
        if not unfinished:
            return _SHORTEST_LINE_SECONDS
        return max(one.seconds for one in found) / unfinished

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

    async def _make_room(self, troubles: dict[str, SpeechServiceError]) -> None:
        room = Room(self.poster, self.submissions, self.owner)
        for resource in self.poster.services.names:
            if resource in troubles:
                continue
            try:
                await room.make(resource)
            except (*_PASSING, *_NOT_HERE) as error:
                self._trouble(resource, error, troubles)

    def _trouble(
        self, resource: str, error: SpeechServiceError, troubles: dict[str, SpeechServiceError]
    ) -> float:
        """Set *resource* aside for everybody; returns until when."""
        log.warning("%s is set aside: %s", resource, error)
        troubles[resource] = error
        return self.resources.set_aside(resource, str(error))

    def _reserve(self, placement: Placement, tried: Collection[str]) -> Reservation:
        settings = self.poster.settings
        return Reservations(self.poster.ledger).reserve(
            placement,
            owner=self.owner,
            lease_seconds=settings.lease_seconds,
            resources=self.poster.services.names,
            tried=tried,
            assumed_speed=settings.audio_speed,
        )


_NOT_HERE = (NotSent, Unauthorized, NotFound)
"""This resource won't have the chunk, for certain; another one may."""

_PASSING = (ServiceUnavailable, UnreadableAnswer, Throttled, NotSent)
"""The resource is in trouble, and whether it has the chunk can't be told now."""
