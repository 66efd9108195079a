"""The ledger: plans, chunks and the placements that tie them together.

Submissions live in ledger/submissions.py, which shares the engine. Every method is one transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from speech_backfill.errors import UnknownPlan
from speech_backfill.ledger import schema
from speech_backfill.ledger.budgets import write_limit_of_run
from speech_backfill.ledger.engine import insert_into, open_engine
from speech_backfill.ledger.records import (
    Budget,
    ChunkRecord,
    PartitionRecord,
    Placement,
    PlanRecord,
    PlanState,
    TranscriptionState,
)
from speech_backfill.model import Clock, Shard, Status, TranscriptionOptions

_COMMIT_LOCK = 7_305_510_230
"""Any number that no other use of the database takes: plans are committed one at a time on PostgreSQL."""


class PlansChanged(Exception):
    """Claims on a plan's files have come or gone since it looked: what it skipped, adopted or cut must be looked at again."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Chunks whose files a plan of *partition* must not cut again, as they stood when it looked.

    Those that were submitted and are not settled yet, whoever planned them, and those that open plans of other
    partitions still mean to submit. With *only_run_key* (a reprocessing run) only what that run itself planned.
    """

    partition: str
    only_run_key: str | None
    chunks: tuple[ChunkRecord, ...]
    """Oldest first."""

    def within(self, first_url: str, last_url: str) -> list[ChunkRecord]:
        """Those that may hold a file between the two URLs, compared letter by letter (a database may sort otherwise)."""
        return [one for one in self.chunks if one.last_url >= first_url and one.first_url <= last_url]


@dataclass(frozen=True, slots=True)
class NewPlacement:
    """A chunk and where a plan puts it. A *chunk* the ledger knows already is met, not made again."""

    chunk: ChunkRecord
    shard: int
    ordinal: int
    attempt: int
    away_from: str | None = None


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

    def claims(self, partition: str, *, only_run_key: str | None = None) -> Claims:
        """What a new plan of *partition* must not cut again, as of now. Look before reading what is published."""
        with self.engine.begin() as connection:
            return _claims(connection, partition, only_run_key)

    def commit_plan(
        self,
        plan: PlanRecord,
        new: Sequence[NewPlacement],
        *,
        claims: Claims,
        bounds: tuple[str, str] | None,
    ) -> PlanRecord:
        """Write *plan* and its placements at once; open plans of the same partition are superseded.

        Meeting a plan of the same id again changes nothing but its budget, and opens it again if it was superseded.
        Raises PlansChanged unless *claims* still stand as they were between the smallest and the largest URL that the
        plan submits (*bounds*; None where it submits nothing). Superseding comes first: a run of an older plan that
        submits at this moment has either left its claim for us to see, or finds its plan superseded.
        """
        with self.engine.begin() as connection:
            self._one_at_a_time(connection)
            self._supersede(connection, plan)
            known = connection.execute(
                sa.select(schema.plans)
                .where(schema.plans.c.plan_id == plan.plan_id)
                .with_for_update(key_share=True)
            ).one_or_none()
            # After the plans' rows: a reservation locks plan and budget in this order.
            if plan.budget is not None and plan.budget_ms is not None:
                budget = Budget(plan.budget, plan.budget_ms)
                write_limit_of_run(connection, self.engine, budget, run_key=plan.run_key, now=self.clock())
            if bounds is not None:
                _unmoved(connection, claims, bounds)
            if known is None:
                connection.execute(
                    schema.plans.insert().values(
                        plan_id=plan.plan_id,
                        partition=plan.partition,
                        run_key=plan.run_key,
                        reprocess=plan.reprocess,
                        state=plan.state,
                        created_at=plan.created_at,
                        files=plan.files,
                        budget_ms=plan.budget_ms,
                        budget=plan.budget,
                    )
                )
                self._place(connection, plan.plan_id, 0, new)
            else:
                # The budget is the user's latest word: another one, or none, and planning again is how a stopped run goes on.
                state = PlanState.PUBLISHED if known.state == PlanState.PUBLISHED else PlanState.OPEN
                connection.execute(
                    schema.plans.update()
                    .where(schema.plans.c.plan_id == plan.plan_id)
                    .values(state=state, budget_ms=plan.budget_ms, budget=plan.budget)
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
        chunks = [
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
                "residency": one.chunk.residency,
            }
            for one in new
        ]
        # Two workers may place the same repair at once: the second finds all of it there.
        if chunks:
            connection.execute(insert_into(self.engine, schema.chunks).on_conflict_do_nothing(), chunks)
        rows = [
            {
                "plan_id": plan_id,
                "round": round_,
                "chunk_id": one.chunk.chunk_id,
                "shard": one.shard,
                "ordinal": one.ordinal,
                "attempt": one.attempt,
                "away_from": one.away_from,
            }
            for one in new
        ]
        if rows:
            connection.execute(insert_into(self.engine, schema.placements).on_conflict_do_nothing(), rows)

    def add_round(
        self,
        plan_id: str,
        round_: int,
        new: Sequence[NewPlacement],
        *,
        claims: Claims,
        bounds: tuple[str, str],
        placed: Collection[str],
    ) -> None:
        """Place repair chunks in round *round_*; chunks placed there before stay as they are.

        Raises PlansChanged unless *claims* stand as they were within *bounds*, and the round still holds just *placed*:
        another repair, of this plan or another, may have cut the same files meanwhile.
        """
        with self.engine.begin() as connection:
            self._one_at_a_time(connection)
            there = connection.execute(
                sa.select(schema.placements.c.chunk_id).where(
                    schema.placements.c.plan_id == plan_id, schema.placements.c.round == round_
                )
            )
            if set(there.scalars()) != set(placed):
                raise PlansChanged
            _unmoved(connection, claims, bounds)
            self._place(connection, plan_id, round_, new)

    def _one_at_a_time(self, connection: sa.Connection) -> None:
        """Plans and repairs are committed one after the other; SQLite's transaction holds the only write lock already."""
        if self.engine.dialect.name != "sqlite":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _COMMIT_LOCK})

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

    def state(self, plan_id: str) -> PlanState | None:
        """The state of *plan_id*; None where the ledger does not know it."""
        with self.engine.begin() as connection:
            state = connection.execute(
                sa.select(schema.plans.c.state).where(schema.plans.c.plan_id == plan_id)
            ).scalar()
        return None if state is None else PlanState(state)

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
            Placement(
                row.plan_id,
                row.round,
                row.shard,
                row.ordinal,
                row.attempt,
                _chunk(row),
                row.away_from,
                row.stopped,
            )
            for row in rows
        ]

    def shard_placements(self, shard: Shard) -> list[Placement]:
        """The chunks of *shard*. Raises UnknownPlan where this ledger has none: it is another one, or was restored."""
        found = self.placements(shard.plan_id, shard.round, shard.index)
        if not found:
            raise UnknownPlan(shard.plan_id)
        return found

    def reprocessed_chunks(self, partition: str, run_key: str) -> list[str]:
        """Chunks that the reprocessing run *run_key* has planned of *partition*: what it has paid, or means to."""
        query = (
            sa.select(schema.placements.c.chunk_id)
            .join(schema.plans)
            .where(
                schema.plans.c.partition == partition,
                schema.plans.c.run_key == run_key,
                schema.plans.c.reprocess,
            )
            .distinct()
        )
        with self.engine.begin() as connection:
            return sorted(connection.execute(query).scalars())

    def wanted_by_others(self, plan_id: str) -> set[str]:
        """Chunks of *plan_id* that another plan, open still, has adopted and may not have merged yet."""
        mine = sa.select(schema.placements.c.chunk_id).where(schema.placements.c.plan_id == plan_id)
        query = (
            sa.select(schema.placements.c.chunk_id)
            .join(schema.plans)
            .where(
                schema.plans.c.state == PlanState.OPEN,
                schema.plans.c.plan_id != plan_id,
                schema.placements.c.chunk_id.in_(mine),
            )
        )
        with self.engine.begin() as connection:
            return set(connection.execute(query).scalars())

    def options_of_chunks(self, chunk_ids: Sequence[str]) -> dict[str, TranscriptionOptions]:
        """The options of each chunk that the ledger knows."""
        found: dict[str, TranscriptionOptions] = {}
        with self.engine.begin() as connection:
            for some in _slices(chunk_ids, 500):
                query = sa.select(schema.chunks.c.chunk_id, schema.chunks.c.options)
                for row in connection.execute(query.where(schema.chunks.c.chunk_id.in_(some))):
                    found[row.chunk_id] = TranscriptionOptions.from_json(row.options)
        return found

    def residencies_of_chunks(self, chunk_ids: Sequence[str]) -> dict[str, str]:
        """The residency of each chunk that the ledger knows."""
        found: dict[str, str] = {}
        with self.engine.begin() as connection:
            for some in _slices(chunk_ids, 500):
                query = sa.select(schema.chunks.c.chunk_id, schema.chunks.c.residency)
                for row in connection.execute(query.where(schema.chunks.c.chunk_id.in_(some))):
                    found[row.chunk_id] = row.residency
        return found

    def failed_as_a_whole(self, chunk_ids: Sequence[str]) -> set[tuple[str, int]]:
        """(chunk id, attempt) of those transcriptions of *chunk_ids* that held several files and that the service failed."""
        found: set[tuple[str, int]] = set()
        table = schema.transcriptions
        with self.engine.begin() as connection:
            for some in _slices(chunk_ids, 500):
                query = (
                    sa.select(table.c.chunk_id, table.c.attempt)
                    .join(schema.chunks)
                    .where(
                        table.c.chunk_id.in_(some), table.c.status == Status.FAILED, schema.chunks.c.files > 1
                    )
                )
                found.update((row.chunk_id, row.attempt) for row in connection.execute(query))
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
            # The plan's row first, as a reservation does, so that the two never wait for one another.
            connection.execute(
                schema.plans.update()
                .where(schema.plans.c.plan_id == published.plan_id)
                .values(state=PlanState.PUBLISHED)
            )
            connection.execute(
                schema.transcriptions.update()
                .where(
                    _placed_in(published.plan_id),
                    sa.not_(_placed_in_open_plan()),
                    schema.transcriptions.c.settled_at.is_(None),
                    schema.transcriptions.c.state.in_(["ended", "given_up"]),
                )
                .values(settled_at=published.published_at)
            )
            # A publisher that was held up between its commit and this note must not hide a newer version.
            insert = insert_into(self.engine, schema.partitions).values(**values)
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["partition"],
                    set_={name: value for name, value in values.items() if name != "partition"},
                    where=schema.partitions.c.version <= published.version,
                )
            )


def _placed_in(plan_id: str) -> sa.ColumnElement[bool]:
    """Whether a transcription is the attempt that *plan_id* stands for."""
    placed, made = schema.placements.c, schema.transcriptions.c
    same = sa.and_(placed.chunk_id == made.chunk_id, placed.attempt == made.attempt)
    return sa.exists().where(same, placed.plan_id == plan_id)


def _placed_in_open_plan() -> sa.ColumnElement[bool]:
    """Whether a plan that is still open stands for a transcription too: then its files are not all accounted for."""
    placed, made = schema.placements.c, schema.transcriptions.c
    same = sa.and_(placed.chunk_id == made.chunk_id, placed.attempt == made.attempt)
    return sa.exists().where(
        same, placed.plan_id == schema.plans.c.plan_id, schema.plans.c.state == PlanState.OPEN
    )


def _unmoved(connection: sa.Connection, claims: Claims, bounds: tuple[str, str]) -> None:
    now = _claims(connection, claims.partition, claims.only_run_key)
    if {one.chunk_id for one in now.within(*bounds)} != {one.chunk_id for one in claims.within(*bounds)}:
        raise PlansChanged


def _claims(connection: sa.Connection, partition: str, only_run_key: str | None) -> Claims:
    unsettled = sa.select(schema.transcriptions.c.chunk_id).where(
        schema.transcriptions.c.settled_at.is_(None),
        schema.transcriptions.c.state != TranscriptionState.REFUSED,
    )
    planned = sa.select(schema.placements.c.chunk_id).join(schema.plans)
    query = sa.select(schema.chunks).order_by(schema.chunks.c.created_at, schema.chunks.c.chunk_id)
    if only_run_key is None:
        others = planned.where(schema.plans.c.state == PlanState.OPEN, schema.plans.c.partition != partition)
        query = query.where(
            sa.or_(schema.chunks.c.chunk_id.in_(unsettled), schema.chunks.c.chunk_id.in_(others))
        )
    else:
        own = planned.where(schema.plans.c.run_key == only_run_key, schema.plans.c.partition == partition)
        query = query.where(schema.chunks.c.chunk_id.in_(unsettled), schema.chunks.c.chunk_id.in_(own))
    return Claims(partition, only_run_key, tuple(_chunk(row) for row in connection.execute(query)))


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
        residency=row.residency,
    )


def _slices(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
