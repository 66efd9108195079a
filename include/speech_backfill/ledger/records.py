"""What the ledger hands out: frozen records, and the closed union of what a reservation may be answered with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from speech_backfill.model import TranscriptionOptions, TranscriptionRef, token


class PlanState(StrEnum):
    """A plan is open until it is published or another plan of the same partition takes its place."""

    OPEN = "open"
    PUBLISHED = "published"
    SUPERSEDED = "superseded"


class TranscriptionState(StrEnum):
    """How far the submission of one chunk has come, as far as we know for certain."""

    INTENDED = "intended"
    """The intent is committed; the service may or may not have the transcription."""
    SUBMITTED = "submitted"
    """Azure's id is known."""
    ENDED = "ended"
    """Azure said Succeeded or Failed."""
    GIVEN_UP = "given_up"
    """Past its deadline, or gone at the service; its files are repaired elsewhere."""
    REFUSED = "refused"
    """The service said no before anything was made; it may be tried again."""


UNFINISHED = (TranscriptionState.INTENDED, TranscriptionState.SUBMITTED)

OVERDUE = "past its deadline"
"""How the problem begins of what was given up though the service may still work on it."""

GONE = "the service does not know it any more: its time to live has ended, or somebody deleted it"
"""How the problem ends of what nobody can wait for."""

BUDGET = "budget"
"""What stops a placement whose chunk does not fit its plan's budget any more."""


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """One plan of a partition."""

    plan_id: str
    partition: str
    run_key: str
    state: PlanState
    created_at: float
    files: int
    budget_ms: int | None
    """The limit that its run asked for."""
    reprocess: bool = False
    """Whether the run asked to pay again for what was done."""
    budget: str | None = None
    """The name of its budget."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much audio may be submitted for all plans that name it."""

    name: str
    limit_ms: int | None
    """None: no limit any more."""


@dataclass(frozen=True, slots=True)
class ChunkRecord:
    """One chunk: what it holds, by number. Its files stand in the store under its id."""

    chunk_id: str
    partition: str
    options: TranscriptionOptions
    files: int
    size_bytes: int
    audio_ms: int
    first_url: str
    last_url: str
    residency: str = ""
    """Only resources of this tag may have it; empty: any."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A chunk's place in a plan, and which attempt at it the plan stands for."""

    plan_id: str
    round: int
    shard: int
    ordinal: int
    attempt: int
    chunk: ChunkRecord
    away_from: str | None = None
    """The resource that was in trouble with these files; another one is taken if there is one."""
    stopped: str | None = None
    """Why it was not submitted, if something stopped it: `BUDGET`."""

    @property
    def token(self) -> str:
        """The displayName of this attempt."""
        return token(self.chunk.chunk_id, self.attempt)


@dataclass(frozen=True, slots=True)
class TranscriptionRecord:
    """One attempt at one chunk."""

    chunk_id: str
    attempt: int
    token: str
    plan_id: str
    resource: str
    state: TranscriptionState
    audio_ms: int
    lease_owner: str | None
    lease_until: float
    intent_at: float
    last_post_at: float | None
    posts: int
    submitted_at: float | None
    adopted: bool
    transcription_id: str | None
    status: str | None
    ended_at: float | None
    billed_ms: int | None
    settled_at: float | None
    problem: str | None
    endpoint: str | None = None
    """Where it was submitted to, or found; the resource's connection may point elsewhere by now."""
    budget: str | None = None
    """The budget that it was reserved from."""
    expected_seconds: float | None = None
    """What its region was expected to need for it and what stood before it there; None where nobody has asked."""

    def due_at(self, deadline_hours: float) -> float | None:
        """When it is given up if it has not ended; None while the service does not have it for certain.

        A region works on one transcription at a time, so the deadline counts from the end that was to be expected.
        """
        if self.submitted_at is None:
            return None
        return self.submitted_at + (self.expected_seconds or 0.0) + deadline_hours * 3600

    @property
    def ref(self) -> TranscriptionRef | None:
        """Where it is to be found, once its id is known."""
        return (
            None if self.transcription_id is None else TranscriptionRef(self.resource, self.transcription_id)
        )


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A second transcription of an attempt, and what it has cost, once that is known."""

    resource: str
    transcription_id: str
    billed_ms: int | None


@dataclass(frozen=True, slots=True)
class PartitionRecord:
    """What is published of a partition."""

    partition: str
    version: int
    plan_id: str
    published_at: float
    files: int
    transcribed: int
    failed: int
    missing: int
    can_retry: int
    first_url: str
    last_url: str


@dataclass(frozen=True, slots=True)
class Reserved:
    """The intent is committed and the chunk is ours: submit it now."""

    record: TranscriptionRecord


@dataclass(frozen=True, slots=True)
class MustLookUp:
    """An earlier submission's answer is unknown and the chunk is ours: look for it before anything else."""

    record: TranscriptionRecord


@dataclass(frozen=True, slots=True)
class Known:
    """The transcription exists at the service (or has ended, or was given up): nothing to submit."""

    record: TranscriptionRecord


@dataclass(frozen=True, slots=True)
class HeldByAnother:
    """Another worker is submitting this chunk."""

    until: float


@dataclass(frozen=True, slots=True)
class WindowFull:
    """Every resource that may have the chunk, and is not set aside, has as many unfinished transcriptions as its window allows."""

    unfinished: tuple[TranscriptionRef, ...]
    resources: tuple[str, ...] = ()
    """Those that were asked."""


@dataclass(frozen=True, slots=True)
class AtWork:
    """An earlier attempt at the chunk was given up and may end yet, and no other region is well that may have it."""

    refs: tuple[TranscriptionRef, ...]


@dataclass(frozen=True, slots=True)
class SetAside:
    """Every resource that may have the chunk is in trouble; the first is tried again at *until*."""

    until: float
    problem: str
    """What is wrong with each."""


@dataclass(frozen=True, slots=True)
class NoneAllowed:
    """No resource has the residency that the chunk's files ask for."""

    residency: str


@dataclass(frozen=True, slots=True)
class OverBudget:
    """The budget *name* does not allow this chunk; its placement is noted as stopped."""

    name: str
    limit_ms: int
    spent_ms: int


@dataclass(frozen=True, slots=True)
class PlanSuperseded:
    """Another plan of the partition has taken this one's place; it must not submit any more."""

    plan_id: str


Reservation = (
    Reserved
    | MustLookUp
    | Known
    | HeldByAnother
    | WindowFull
    | AtWork
    | SetAside
    | NoneAllowed
    | OverBudget
    | PlanSuperseded
)
