"""What became of submissions: recorded by whoever holds the lease, ended by whoever looks, settled by a publication.

A worker that slept past its lease finds its writes refused (`LeaseLost`).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from speech_backfill.ledger import schema
from speech_backfill.ledger.engine import insert_into, locked
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.occupancy import lingering
from speech_backfill.ledger.records import (
    UNFINISHED,
    Duplicate,
    Placement,
    PlanState,
    TranscriptionRecord,
    TranscriptionState,
)
from speech_backfill.ledger.rows import found_row, locked_row, of_place, standing
from speech_backfill.ledger.rows import record as made
from speech_backfill.model import Shard, Status, TranscriptionRef

_T = schema.transcriptions


class LeaseLost(Exception):
    """This worker's lease on the chunk has passed to another; whatever it knew is stale."""


class Submissions:
    """Leases and ends of transcriptions."""

    def __init__(self, ledger: Ledger) -> None:
        """Share *ledger*'s engine and clock."""
        self.ledger = ledger
        self._engine = ledger.engine
        self._clock = ledger.clock

    def about_to_post(
        self, record: TranscriptionRecord, *, lease_seconds: float, endpoint: str | None = None
    ) -> TranscriptionRecord:
        """Renew the lease and note moment and *endpoint*, right before the request is put on the wire. Raises LeaseLost."""
        now = self._clock()
        return self._held(
            record,
            lease_until=now + lease_seconds,
            last_post_at=now,
            posts=record.posts + 1,
            endpoint=endpoint,
        )

    def record_submitted(
        self,
        record: TranscriptionRecord,
        transcription_id: str,
        *,
        adopted: bool = False,
        resource: str | None = None,
        endpoint: str | None = None,
    ) -> TranscriptionRecord:
        """The service has it under *transcription_id*, at *resource* (and *endpoint*) if not where it was reserved.

        Raises LeaseLost if another worker holds the chunk by now.
        """
        return self._held(
            record,
            resource=resource or record.resource,
            endpoint=endpoint or record.endpoint,
            state=TranscriptionState.SUBMITTED,
            transcription_id=transcription_id,
            submitted_at=self._clock(),
            status=Status.NOT_STARTED,
            adopted=adopted,
            lease_owner=None,
            lease_until=0.0,
        )

    def record_refused(self, record: TranscriptionRecord, problem: str) -> TranscriptionRecord:
        """The service said no for certain: the place in the window and the budget are free again."""
        return self._held(
            record,
            state=TranscriptionState.REFUSED,
            problem=problem[:1000],
            lease_owner=None,
            lease_until=0.0,
        )

    def record_duplicate(
        self, record: TranscriptionRecord, transcription_id: str, *, resource: str | None = None
    ) -> None:
        """A second transcription of the same attempt was found (at *resource*); it is deleted once it has ended."""
        row = insert_into(self._engine, schema.duplicates).values(
            transcription_id=transcription_id,
            resource=resource or record.resource,
            chunk_id=record.chunk_id,
            attempt=record.attempt,
            found_at=self._clock(),
        )
        with self._engine.begin() as connection:
            connection.execute(row.on_conflict_do_nothing())

    def record_status(
        self,
        ref: TranscriptionRef,
        status: Status,
        *,
        ended_at: float | None,
        billed_ms: int | None,
        problem: str | None = None,
    ) -> bool:
        """Note Azure's word for a transcription; an end is final, and a late word on a given-up one is kept beside it.

        *problem* says why it failed as a whole, where that may be the resource's doing. Returns whether it was under way
        until now.
        """
        values: dict[str, Any] = {"status": status}
        if status.ended:
            values |= {
                "state": TranscriptionState.ENDED,
                "ended_at": ended_at,
                "billed_ms": billed_ms,
                "problem": None if problem is None else problem[:1000],
            }
        with self._engine.begin() as connection:
            if status.ended:
                connection.execute(
                    _T.update()
                    .where(
                        _T.c.transcription_id == ref.transcription_id,
                        _T.c.state == TranscriptionState.GIVEN_UP,
                    )
                    .values(status=status, billed_ms=billed_ms)
                )
            changed = connection.execute(
                _T.update()
                .where(
                    _T.c.transcription_id == ref.transcription_id,
                    _T.c.state == TranscriptionState.SUBMITTED,
                )
                .values(**values)
            ).rowcount
        return bool(changed)

    def holds_one_file(self, ref: TranscriptionRef) -> bool:
        """Whether a transcription of ours has one audio file only."""
        query = (
            sa.select(schema.chunks.c.files)
            .join(schema.transcriptions)
            .where(_T.c.transcription_id == ref.transcription_id)
        )
        with self._engine.connect() as connection:
            return connection.execute(query).scalar() == 1

    def give_up(self, record: TranscriptionRecord, problem: str) -> None:
        """Stop waiting for it: past its deadline, or gone at the service.

        What was given up before keeps its first reason, and *problem* is added to it.
        """
        if record.state is TranscriptionState.GIVEN_UP and not (record.problem or "").endswith(problem):
            with self._engine.begin() as connection:
                given_up = sa.and_(_key(record), _T.c.state == TranscriptionState.GIVEN_UP)
                connection.execute(_T.update().where(given_up).values(problem=f"{record.problem}; {problem}"))
            return
        with self._engine.begin() as connection:
            connection.execute(
                _T.update()
                .where(_key(record), _T.c.state.in_(UNFINISHED))
                .values(state=TranscriptionState.GIVEN_UP, problem=problem, ended_at=self._clock())
            )

    def settle(self, record: TranscriptionRecord) -> None:
        """Its outcomes are accounted for: the chunk's next attempt may come."""
        with self._engine.begin() as connection:
            connection.execute(
                _T.update().where(_key(record), _T.c.settled_at.is_(None)).values(settled_at=self._clock())
            )

    def of(self, placement: Placement) -> TranscriptionRecord | None:
        """The transcription of a placement's attempt, if there is one yet."""
        with self._engine.begin() as connection:
            return found_row(connection, placement)

    def of_shard(self, shard: Shard) -> dict[tuple[str, int], TranscriptionRecord]:
        """The transcriptions of a shard's placements, by chunk and attempt."""
        placed = schema.placements.c
        query = (
            sa.select(_T)
            .join(
                schema.placements,
                sa.and_(placed.chunk_id == _T.c.chunk_id, placed.attempt == _T.c.attempt),
            )
            .where(
                placed.plan_id == shard.plan_id,
                placed.round == shard.round,
                placed.shard == shard.index,
            )
        )
        with self._engine.connect() as connection:
            return {(row.chunk_id, row.attempt): made(row) for row in connection.execute(query)}

    def given_up_before(self, placement: Placement) -> list[TranscriptionRecord]:
        """Earlier attempts at the placement's chunk that were given up at their deadline: they may have ended since."""
        query = sa.select(_T).where(
            _T.c.chunk_id == placement.chunk.chunk_id,
            _T.c.attempt < placement.attempt,
            _T.c.state == TranscriptionState.GIVEN_UP,
            _T.c.transcription_id.is_not(None),
        )
        with self._engine.begin() as connection:
            return [made(row) for row in connection.execute(query.order_by(_T.c.attempt))]

    def take_late(self, placement: Placement, late: TranscriptionRecord) -> bool:
        """Let *placement* stand for *late*, an earlier attempt that succeeded after it was given up.

        False where the placement's own attempt is with the service already, or may be.
        """
        with self._engine.begin() as connection:
            plan = sa.select(schema.plans.c.plan_id).where(schema.plans.c.plan_id == placement.plan_id)
            connection.execute(locked(self._engine, plan))
            row = locked_row(connection, self._engine, standing(connection, placement))
            if row is not None and row.state != TranscriptionState.REFUSED:
                return False
            connection.execute(
                schema.placements.update().where(of_place(placement)).values(attempt=late.attempt)
            )
            return True

    def of_plan(self, plan_id: str) -> list[TranscriptionRecord]:
        """Every transcription that the plan's placements stand for, once, whoever submitted it."""
        query = (
            sa.select(_T)
            .join(
                schema.placements,
                sa.and_(
                    schema.placements.c.chunk_id == _T.c.chunk_id, schema.placements.c.attempt == _T.c.attempt
                ),
            )
            .where(schema.placements.c.plan_id == plan_id)
            .order_by(schema.placements.c.round, schema.placements.c.shard, schema.placements.c.ordinal)
        )
        with self._engine.begin() as connection:
            # A repair that takes a late success stands for the same attempt as the round before.
            return list(dict.fromkeys(made(row) for row in connection.execute(query)))

    def duplicates_of_plan(self, plan_id: str) -> list[Duplicate]:
        """Second transcriptions that were found of the plan's chunks."""
        table = schema.duplicates
        placed = sa.select(schema.placements.c.chunk_id).where(schema.placements.c.plan_id == plan_id)
        return self._duplicates(table.c.chunk_id.in_(placed))

    def duplicates_left(self) -> list[Duplicate]:
        """Second transcriptions, of any plan, that are not known to be deleted at the service."""
        return self._duplicates(schema.duplicates.c.deleted_at.is_(None))

    def _duplicates(self, which: sa.ColumnElement[bool]) -> list[Duplicate]:
        table = schema.duplicates
        query = sa.select(table.c.resource, table.c.transcription_id, table.c.billed_ms).where(which)
        with self._engine.begin() as connection:
            return [Duplicate(*row) for row in connection.execute(query.order_by(table.c.found_at))]

    def record_duplicate_deleted(self, transcription_id: str) -> None:
        """The service has it no more."""
        table = schema.duplicates
        with self._engine.begin() as connection:
            connection.execute(
                table.update()
                .where(table.c.transcription_id == transcription_id)
                .values(deleted_at=self._clock())
            )

    def record_duplicate_cost(self, transcription_id: str, billed_ms: int | None) -> None:
        """What a second transcription has cost, once it has ended."""
        table = schema.duplicates
        with self._engine.begin() as connection:
            connection.execute(
                table.update().where(table.c.transcription_id == transcription_id).values(billed_ms=billed_ms)
            )

    def duplicate_ms_of_plan(self, plan_id: str) -> int:
        """Audio that was paid a second time, as far as it is known."""
        table = schema.duplicates
        placed = sa.select(schema.placements.c.chunk_id).where(schema.placements.c.plan_id == plan_id)
        query = sa.select(sa.func.coalesce(sa.func.sum(table.c.billed_ms), 0)).where(
            table.c.chunk_id.in_(placed)
        )
        with self._engine.begin() as connection:
            return int(connection.execute(query).scalar_one())

    def orphans(self, resource: str, *, after_seconds: float) -> list[TranscriptionRecord]:
        """Intents that nobody will come back for, or has come back for, and that fill the window.

        Their lease has ended, and no open plan stands for them; or an open one does, and it has ended *after_seconds* ago.
        """
        wanted = (
            sa.select(schema.placements.c.chunk_id)
            .join(schema.plans)
            .where(
                schema.plans.c.state == PlanState.OPEN,
                schema.placements.c.chunk_id == _T.c.chunk_id,
                schema.placements.c.attempt == _T.c.attempt,
            )
        )
        now = self._clock()
        query = sa.select(_T).where(
            _T.c.resource == resource,
            _T.c.state == TranscriptionState.INTENDED,
            _T.c.lease_until <= now,
            sa.or_(_T.c.lease_until <= now - after_seconds, ~wanted.exists()),
        )
        with self._engine.begin() as connection:
            return [made(row) for row in connection.execute(query.order_by(_T.c.intent_at))]

    def release(self, record: TranscriptionRecord) -> None:
        """Give the lease back in doubt: whoever comes next may look for it at once. Nothing where it is not ours any more."""
        with suppress(LeaseLost):
            self._held(record, lease_owner=None, lease_until=self._clock())

    def take_over(
        self, record: TranscriptionRecord, *, owner: str, lease_seconds: float
    ) -> TranscriptionRecord:
        """Lease an intent that nobody holds. Raises LeaseLost if somebody was faster."""
        return self._held(record, lease_owner=owner, lease_until=self._clock() + lease_seconds)

    def unfinished(self, resource: str) -> list[TranscriptionRecord]:
        """Transcriptions of *resource* whose id is known and whose end is not."""
        query = sa.select(_T).where(_T.c.resource == resource, _T.c.state == TranscriptionState.SUBMITTED)
        with self._engine.begin() as connection:
            return [made(row) for row in connection.execute(query.order_by(_T.c.submitted_at))]

    def lingering(self, resource: str, *, seconds: float) -> list[TranscriptionRecord]:
        """Transcriptions of *resource* that were given up at their deadline within *seconds*, and have not been seen to end."""
        query = sa.select(_T).where(
            _T.c.resource == resource, lingering(now=self._clock(), linger_seconds=seconds)
        )
        with self._engine.begin() as connection:
            return [made(row) for row in connection.execute(query.order_by(_T.c.submitted_at))]

    # --- inside a transaction ---------------------------------------------------------------------

    def _held(self, record: TranscriptionRecord, **values: Any) -> TranscriptionRecord:
        """Write *values* only while the lease that *record* was read with is still ours."""
        with self._engine.begin() as connection:
            changed = connection.execute(
                _T.update()
                .where(
                    _key(record),
                    _T.c.state == TranscriptionState.INTENDED,
                    _T.c.lease_owner == record.lease_owner,
                    _T.c.lease_until == record.lease_until,
                )
                .values(**values)
            ).rowcount
            if not changed:
                raise LeaseLost(record.token)
            return made(connection.execute(sa.select(_T).where(_key(record))).one())


def _key(record: TranscriptionRecord) -> sa.ColumnElement[bool]:
    return sa.and_(_T.c.chunk_id == record.chunk_id, _T.c.attempt == record.attempt)
