"""Submit the chunks of a shard as far as there is room: reserve, hand to the wire, go on elsewhere where one resource won't.

Run it again after a `NotYet`, a crash or a clear: it goes on where it was. What one chunk meets costs that chunk only.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

from speech_backfill.chunk_submission import ChunkSubmitter, NoRoom, Stopped
from speech_backfill.errors import NothingTaken
from speech_backfill.ledger.line import Line
from speech_backfill.ledger.records import Placement, TranscriptionRecord, TranscriptionState
from speech_backfill.ledger.resources import Resources
from speech_backfill.ledger.submissions import Submissions
from speech_backfill.model import Shard, TranscriptionRef
from speech_backfill.post import Later, Poster
from speech_backfill.speech.errors import NotFound, RequestRefused, SpeechServiceError, Unauthorized
from speech_backfill.turn import Turns

_FINAL = (Unauthorized, NotFound, RequestRefused)
"""A person has to act before the resource takes anything."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """Every chunk of the shard has a transcription, or was stopped."""

    refs: tuple[TranscriptionRef, ...]
    stopped: int = 0
    """Chunks that did not fit the budget any more."""
    due_at: Mapping[TranscriptionRef, float] = field(default_factory=dict)
    """When each of them is given up if it has not ended (seconds since 1970)."""


@dataclass(frozen=True, slots=True)
class NotYet:
    """Some chunks can't be submitted before *until* (seconds since 1970), or before *ends* of *waiting_for* have ended."""

    until: float
    reason: str
    waiting_for: tuple[TranscriptionRef, ...] = ()
    ends: int = 1
    no_room: bool = False
    """Whether it is for lack of room: other shards whose files ask for the same residency would meet the same."""
    shut: bool = False
    """Whether every resource that its files may go to has just been in trouble: they would meet the same, too."""


@dataclass(slots=True)
class _Wanted:
    """Chunks of one residency that found no room, and what fills the windows that they may use."""

    unfinished: tuple[TranscriptionRef, ...]
    chunks: int = 0


@dataclass(slots=True)
class _Pass:
    """One pass over the chunks of a shard, as far as it has come."""

    refs: list[TranscriptionRef] = field(default_factory=list)
    later: list[tuple[str, Later]] = field(default_factory=list)
    """Each with the residency that its chunk asks for."""
    no_room: dict[str, _Wanted] = field(default_factory=dict)
    """By residency."""
    full: set[tuple[str, str | None]] = field(default_factory=set)
    """Residency, and resource to keep away from, for which there was no room."""
    stopped: Stopped | None = None
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

        Raises UnknownPlan, SupersededPlan, SettingsError, RequestRefused; where no resource is left that works, Unauthorized and
        the like if a person must mend all of them, and NothingTaken once they were tried in vain for as long as the deadline.
        """
        try:
            return await self._submit(shard)
        except Exception:
            # Whether it comes back is not known: nobody is to wait for it until it does.
            Line(self.poster.ledger).leave(shard)
            raise

    async def _submit(self, shard: Shard) -> Submitted | NotYet:
        ledger, services = self.poster.ledger, self.poster.services
        submissions, resources = Submissions(ledger), Resources(ledger)
        for one in services.resources.values():
            resources.register(one.name, window=one.window, region=one.region, residency=one.residency)
        owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        chunks = ChunkSubmitter(self.poster, shard.partition, shard.plan_id, submissions, resources, owner)
        known = submissions.of_shard(shard)
        made = _Pass()
        for placement in ledger.shard_placements(shard):
            record = known.get((placement.chunk.chunk_id, placement.attempt))
            if record is not None and record.state not in _OPEN:
                if record.ref is not None:  # else given up before it ever had an id: nothing to wait for
                    made.refs.append(record.ref)
                continue
            await self._go_on(chunks, placement, record, made)
        return self._concluded(shard, made)

    async def _go_on(
        self, chunks: ChunkSubmitter, placement: Placement, record: TranscriptionRecord | None, made: _Pass
    ) -> None:
        """One chunk more; what came of it is noted in *made*."""
        residency = placement.chunk.residency
        want = (residency, placement.away_from)
        unsent = record is None or record.state is TranscriptionState.REFUSED
        if unsent and want in made.full and placement.attempt == 1:
            made.no_room[residency].chunks += 1
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
                made.later.append((residency, answer))
            case NoRoom(unfinished=unfinished):
                made.full.add(want)
                wanted = made.no_room.setdefault(residency, _Wanted(unfinished))
                wanted.unfinished, wanted.chunks = unfinished, wanted.chunks + 1
            case Stopped():
                made.stopped = answer
                made.left += 1
            case _:
                assert_never(answer)

    def _concluded(self, shard: Shard, made: _Pass) -> Submitted | NotYet:
        Line(self.poster.ledger).leave(shard, but=tuple(made.no_room))
        if made.no_room:
            return self._without_room(shard, made)
        if not made.later:
            return Submitted(tuple(made.refs), made.left, self._due_at(shard))
        allowed = [self._allowed(residency) for residency, _ in made.later]
        shut = all(some and some <= set(made.troubles) for some in allowed)
        met = [made.troubles[one] for some in allowed for one in sorted(some)] if shut else []
        # What passes by itself is waited for, whatever else a person has to mend.
        if met and all(isinstance(one, _FINAL) for one in met):
            raise met[0]
        self._check_patience(shard, made)
        _, soonest = min(made.later, key=lambda one: one[1].until)
        ends = tuple(dict.fromkeys(ref for _, one in made.later for ref in one.waiting_for))
        return NotYet(soonest.until, soonest.reason, waiting_for=ends, shut=shut)

    def _due_at(self, shard: Shard) -> dict[TranscriptionRef, float]:
        hours = self.poster.settings.deadline_hours
        records = Submissions(self.poster.ledger).of_shard(shard).values()
        return {one.ref: due for one in records if one.ref and (due := one.due_at(hours)) is not None}

    def _check_patience(self, shard: Shard, made: _Pass) -> None:
        """Raise NothingTaken where all that is waited for is resources that have not worked for as long as the deadline."""
        hours = self.poster.settings.deadline_hours
        # A chunk in doubt waits for the resource that may have it, any other for the first that will.
        wanted = [
            {later.trouble.resource} if later.trouble is not None else self._allowed(residency)
            for residency, later in made.later
        ]
        # What was in trouble once, and in this pass was not, has not been tried in vain.
        met = {
            *made.troubles,
            *(later.trouble.resource for _, later in made.later if later.trouble is not None),
        }
        problems = Resources(self.poster.ledger).in_vain(met, seconds=hours * 3600)
        if problems and set().union(*wanted) <= set(problems):
            raise NothingTaken(shard.label, hours=hours, problems=problems)

    def _allowed(self, residency: str) -> set[str]:
        return {one.name for one in self.poster.services.allowed(residency)}

    def _without_room(self, shard: Shard, made: _Pass) -> NotYet:
        """Wait for room in the line of each residency that wants some, or for what comes sooner."""
        turns = Turns(self.poster.ledger, self.poster.services, self.poster.settings)
        taken = [
            turns.take(shard, residency, waiting=wanted.chunks, unfinished=wanted.unfinished)
            for residency, wanted in made.no_room.items()
        ]
        waiting_for = [one for one in taken if one.waiting_for]
        first = min(waiting_for or taken, key=lambda one: one.until)
        reason = "every resource's window is full" + (
            f"; {first.ahead} chunks first" if first.ahead or not first.waiting_for else ""
        )
        until = min(one.until for one in taken)
        soonest = min((one for _, one in made.later), key=lambda one: one.until, default=None)
        if soonest is not None and soonest.until < until:
            until, reason = soonest.until, f"{reason}; {soonest.reason}"
        return NotYet(
            until,
            reason,
            waiting_for=tuple(dict.fromkeys(ref for one in waiting_for for ref in one.waiting_for)),
            ends=min((one.ends for one in waiting_for), default=1),
            no_room=True,
        )


_OPEN = {TranscriptionState.INTENDED, TranscriptionState.REFUSED}
