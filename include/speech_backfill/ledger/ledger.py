"""The ledger: plans, chunks and the placements that tie them together.

Submissions live in ledger/submissions.py, which shares the engine. Every method is one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from speech_backfill.errors import UnknownPlan
from speech_backfill.ledger import schema
from speech_backfill.ledger.engine import open_engine
from speech_backfill.ledger.records import (
    ChunkRecord,
    PartitionRecord,
    Placement,
    PlanRecord,
    PlanState,
)
from speech_backfill.model import Clock, Shard, TranscriptionOptions

_EPOCH = "plans"


class PlansChanged(Exception):
    """Another plan was committed since this one began: what it skipped or adopted must be looked at again."""


@dataclass(frozen=True, slots=True)
class NewPlacement:
    """A chunk and where a plan puts it. A *chunk* the ledger knows already is met, not made again."""

    chunk: ChunkRecord
    shard: int
    ordinal: int
    attempt: int


class Ledger:
    """The door to plans and partitions. Share one in a process; it is safe in threads."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        """Use `Ledger.open`; *engine* must be migrated."""
        self.engine = engine
        self.clock = clock

    @classmethod
    def open(cls, url: str, clock: Clock) -> Ledger:
        """Connect to the SQLAlchemy *url*, migrating on the way. Raises LedgerUnavailable."""
        return cls(open_engine(url), clock)

    # --- planning ---------------------------------------------------------------------------------

    def epoch(self) -> int:
        """A number that moves with every committed plan."""
        with self.engine.begin() as connection:
            return _epoch(connection)

    def commit_plan(self, plan: PlanRecord, new: Sequence[NewPlacement], *, epoch: int) -> PlanRecord:
        """Write *plan* and its placements at once; open plans of the same partition are superseded.

        Meeting a plan of the same id again changes nothing but to open it again if it was superseded.
        Raises PlansChanged unless the ledger is still at *epoch*.
        """
        with self.engine.begin() as connection:
            if self.engine.dialect.name != "sqlite":
                connection.execute(sa.text("LOCK TABLE epochs IN EXCLUSIVE MODE"))
            if _epoch(connection) != epoch:
                raise PlansChanged
            self._supersede(connection, plan)
            known = connection.execute(
                sa.select(schema.plans).where(schema.plans.c.plan_id == plan.plan_id)
            ).one_or_none()
            if known is None:
                connection.execute(
                    schema.plans.insert().values(
                        plan_id=plan.plan_id,
                        partition=plan.partition,
                        run_key=plan.run_key,
                        state=plan.state,
                        created_at=plan.created_at,
                        files=plan.files,
                        budget_ms=plan.budget_ms,
                    )
                )
                self._place(connection, plan.plan_id, 0, new)
            else:
                # The budget is the user's latest word: raising it and planning again is how a stopped run goes on.
                state = PlanState.PUBLISHED if known.state == PlanState.PUBLISHED else PlanState.OPEN
                connection.execute(
                    schema.plans.update()
                    .where(schema.plans.c.plan_id == plan.plan_id)
                    .values(state=state, budget_ms=plan.budget_ms)
                )
            connection.execute(
                schema.epochs.update()
                .where(schema.epochs.c.name == _EPOCH)
                .values(value=schema.epochs.c.value + 1)
            )
        return self.plan(plan.plan_id)

    def _supersede(self, connection: sa.Connection, plan: PlanRecord) -> None:
        connection.execute(
            schema.plans.update()
            .where(
                schema.plans.c.partition == plan.partition,
                schema.plans.c.state == PlanState.OPEN,
                schema.plans.c.plan_id != plan.plan_id,
            )
            .values(state=PlanState.SUPERSEDED)
        )

    def _place(
        self, connection: sa.Connection, plan_id: str, round_: int, new: Sequence[NewPlacement]
    ) -> None:
        ids = {one.chunk.chunk_id for one in new}
        known: set[str] = set()
        for some in _slices(sorted(ids), 500):
            known.update(
                connection.execute(
                    sa.select(schema.chunks.c.chunk_id).where(schema.chunks.c.chunk_id.in_(some))
                ).scalars()
            )
        fresh = [
            {
                "chunk_id": one.chunk.chunk_id,
                "partition": one.chunk.partition,
                "options": one.chunk.options.to_json(),
                "files": one.chunk.files,
                "size_bytes": one.chunk.size_bytes,
                "audio_ms": one.chunk.audio_ms,
                "first_url": one.chunk.first_url,
                "last_url": one.chunk.last_url,
                "created_at": self.clock(),
            }
            for one in new
            if one.chunk.chunk_id not in known
        ]
        if fresh:
            connection.execute(schema.chunks.insert(), fresh)
        rows = [
            {
                "plan_id": plan_id,
                "round": round_,
                "chunk_id": one.chunk.chunk_id,
                "shard": one.shard,
                "ordinal": one.ordinal,
                "attempt": one.attempt,
            }
            for one in new
        ]
        if rows:
            connection.execute(schema.placements.insert(), rows)

    def add_round(self, plan_id: str, round_: int, new: Sequence[NewPlacement]) -> None:
        """Place repair chunks in round *round_*; chunks placed there before stay as they are."""
        with self.engine.begin() as connection:
            placed = set(
                connection.execute(
                    sa.select(schema.placements.c.chunk_id).where(
                        schema.placements.c.plan_id == plan_id, schema.placements.c.round == round_
                    )
                ).scalars()
            )
            self._place(connection, plan_id, round_, [one for one in new if one.chunk.chunk_id not in placed])

    # --- reading ----------------------------------------------------------------------------------

    def plan(self, plan_id: str) -> PlanRecord:
        """The plan. Raises UnknownPlan."""
        with self.engine.begin() as connection:
            row = connection.execute(
                sa.select(schema.plans).where(schema.plans.c.plan_id == plan_id)
            ).one_or_none()
        if row is None:
            raise UnknownPlan(plan_id)
        return _plan(row)

    def is_open(self, plan_id: str) -> bool:
        """Whether *plan_id* is a plan that may still be published."""
        with self.engine.begin() as connection:
            state = connection.execute(
                sa.select(schema.plans.c.state).where(schema.plans.c.plan_id == plan_id)
            ).scalar()
        return state == PlanState.OPEN

    def latest_plan(self, partition: str) -> PlanRecord | None:
        """The newest plan of *partition*, whatever its state."""
        query = (
            sa.select(schema.plans)
            .where(schema.plans.c.partition == partition)
            .order_by(schema.plans.c.created_at.desc(), schema.plans.c.plan_id)
            .limit(1)
        )
        with self.engine.begin() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _plan(row)

    def shards(self, plan_id: str, round_: int) -> list[Shard]:
        """The shards of a round, in order."""
        query = (
            sa.select(
                schema.placements.c.shard,
                sa.func.count().label("chunks"),
                sa.func.sum(schema.chunks.c.files).label("files"),
            )
            .join(schema.chunks)
            .where(schema.placements.c.plan_id == plan_id, schema.placements.c.round == round_)
            .group_by(schema.placements.c.shard)
            .order_by(schema.placements.c.shard)
        )
        partition = self.plan(plan_id).partition
        with self.engine.begin() as connection:
            rows = connection.execute(query).all()
        return [Shard(plan_id, partition, round_, row.shard, row.chunks, int(row.files)) for row in rows]

    def rounds(self, plan_id: str) -> int:
        """How many rounds of placements the plan has."""
        with self.engine.begin() as connection:
            last = connection.execute(
                sa.select(sa.func.max(schema.placements.c.round)).where(
                    schema.placements.c.plan_id == plan_id
                )
            ).scalar()
        return 0 if last is None else int(last) + 1

    def placements(self, plan_id: str, round_: int, shard: int | None = None) -> list[Placement]:
        """The chunks of a shard (or of the whole round), in order."""
        query = (
            sa.select(schema.placements, *(one for one in schema.chunks.c if one.name != "chunk_id"))
            .join(schema.chunks)
            .where(schema.placements.c.plan_id == plan_id, schema.placements.c.round == round_)
            .order_by(schema.placements.c.shard, schema.placements.c.ordinal)
        )
        if shard is not None:
            query = query.where(schema.placements.c.shard == shard)
        with self.engine.begin() as connection:
            rows = connection.execute(query).all()
        return [
            Placement(row.plan_id, row.round, row.shard, row.ordinal, row.attempt, _chunk(row))
            for row in rows
        ]

    def claimed_chunks(self, partition: str, *, only_run_key: str | None = None) -> list[ChunkRecord]:
        """Chunks whose files a new plan of *partition* must not cut again, oldest first.

        Those that were submitted and are not settled yet, whoever planned them, and those that open plans of other
        partitions still mean to submit. With *only_run_key* (a reprocessing run) only what that run itself planned.
        """
        unsettled = sa.select(schema.transcriptions.c.chunk_id).where(
            schema.transcriptions.c.settled_at.is_(None), schema.transcriptions.c.state != "refused"
        )
        planned = sa.select(schema.placements.c.chunk_id).join(schema.plans)
        query = sa.select(schema.chunks).order_by(schema.chunks.c.created_at, schema.chunks.c.chunk_id)
        if only_run_key is None:
            others = planned.where(
                schema.plans.c.state == PlanState.OPEN, schema.plans.c.partition != partition
            )
            query = query.where(
                sa.or_(schema.chunks.c.chunk_id.in_(unsettled), schema.chunks.c.chunk_id.in_(others))
            )
        else:
            own = planned.where(schema.plans.c.run_key == only_run_key, schema.plans.c.partition == partition)
            query = query.where(schema.chunks.c.chunk_id.in_(unsettled), schema.chunks.c.chunk_id.in_(own))
        with self.engine.begin() as connection:
            return [_chunk(row) for row in connection.execute(query)]

    def options_of_chunks(self, chunk_ids: Sequence[str]) -> dict[str, TranscriptionOptions]:
        """The options of each chunk that the ledger knows."""
        found: dict[str, TranscriptionOptions] = {}
        with self.engine.begin() as connection:
            for some in _slices(chunk_ids, 500):
                query = sa.select(schema.chunks.c.chunk_id, schema.chunks.c.options)
                for row in connection.execute(query.where(schema.chunks.c.chunk_id.in_(some))):
                    found[row.chunk_id] = TranscriptionOptions.from_json(row.options)
        return found

    def next_attempts(self, chunk_ids: Iterable[str]) -> dict[str, int]:
        """For each chunk the attempt a plan should stand for: the unsettled one, or one past the last settled."""
        wanted = list(chunk_ids)
        attempts = dict.fromkeys(wanted, 1)
        with self.engine.begin() as connection:
            for some in _slices(wanted, 500):
                rows = connection.execute(
                    sa.select(
                        schema.transcriptions.c.chunk_id,
                        schema.transcriptions.c.attempt,
                        schema.transcriptions.c.settled_at,
                    )
                    .where(schema.transcriptions.c.chunk_id.in_(some))
                    .order_by(schema.transcriptions.c.attempt)
                )
                for row in rows:
                    attempts[row.chunk_id] = row.attempt + (row.settled_at is not None)
        return attempts

    # --- publishing -------------------------------------------------------------------------------

    def partition(self, partition: str) -> PartitionRecord | None:
        """What is published of *partition*, or None."""
        query = sa.select(schema.partitions).where(schema.partitions.c.partition == partition)
        with self.engine.begin() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else PartitionRecord(**row._mapping)

    def partitions(self) -> list[PartitionRecord]:
        """Everything published, by partition."""
        with self.engine.begin() as connection:
            rows = connection.execute(
                sa.select(schema.partitions).order_by(schema.partitions.c.partition)
            ).all()
        return [PartitionRecord(**row._mapping) for row in rows]

    def record_published(self, published: PartitionRecord) -> None:
        """Note that a plan is published and its transcriptions are settled; saying it twice is the same as once."""
        values = {name: getattr(published, name) for name in PartitionRecord.__dataclass_fields__}
        with self.engine.begin() as connection:
            placed = sa.select(schema.placements.c.chunk_id).where(
                schema.placements.c.plan_id == published.plan_id
            )
            connection.execute(
                schema.transcriptions.update()
                .where(
                    schema.transcriptions.c.chunk_id.in_(placed),
                    schema.transcriptions.c.settled_at.is_(None),
                    schema.transcriptions.c.state.in_(["ended", "given_up"]),
                )
                .values(settled_at=published.published_at)
            )
            connection.execute(
                schema.plans.update()
                .where(schema.plans.c.plan_id == published.plan_id)
                .values(state=PlanState.PUBLISHED)
            )
            connection.execute(
                schema.partitions.delete().where(schema.partitions.c.partition == published.partition)
            )
            connection.execute(schema.partitions.insert().values(**values))


def _epoch(connection: sa.Connection) -> int:
    value = connection.execute(
        sa.select(schema.epochs.c.value).where(schema.epochs.c.name == _EPOCH)
    ).scalar()
    if value is None:
        connection.execute(schema.epochs.insert().values(name=_EPOCH, value=0))
        return 0
    return int(value)


def _plan(row: sa.Row[tuple[object, ...]]) -> PlanRecord:
    values = dict(row._mapping)
    return PlanRecord(**{**values, "state": PlanState(values["state"])})


def _chunk(row: sa.Row[tuple[object, ...]]) -> ChunkRecord:
    return ChunkRecord(
        chunk_id=row.chunk_id,
        partition=row.partition,
        options=TranscriptionOptions.from_json(row.options),
        files=row.files,
        size_bytes=row.size_bytes,
        audio_ms=row.audio_ms,
        first_url=row.first_url,
        last_url=row.last_url,
    )


def _slices(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
