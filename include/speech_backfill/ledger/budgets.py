"""Budgets: how much audio may be submitted for all plans that name one, whatever runs at the same time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from speech_backfill.ledger import schema
from speech_backfill.ledger.engine import insert_into, locked
from speech_backfill.ledger.records import Budget, TranscriptionState

if TYPE_CHECKING:
    from speech_backfill.ledger.ledger import Ledger

COMMAND = "the command line"
"""Who has set a limit that no run has set."""


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget and what of it is spent, in milliseconds of audio."""

    name: str
    limit_ms: int | None
    spent_ms: int
    set_by: str
    set_at: float


class Budgets:
    """The ledger's budgets."""

    def __init__(self, ledger: Ledger) -> None:
        """Share *ledger*'s engine and clock."""
        self._engine = ledger.engine
        self._clock = ledger.clock

    def set(self, budget: Budget, *, by: str = COMMAND) -> None:
        """Make *budget* the limit of its name."""
        with self._engine.begin() as connection:
            write_limit(connection, self._engine, budget, by=by, now=self._clock())

    def of(self, name: str) -> BudgetState | None:
        """The budget *name*, if there is one."""
        return next(iter(self._states(schema.budgets.c.name == name)), None)

    def all(self) -> list[BudgetState]:
        """Every budget, by name."""
        return self._states(sa.true())

    def of_published(self, partition: str) -> str | None:
        """The name of the budget that *partition*'s published plan has; None where it has none, or is not known."""
        query = (
            sa.select(schema.plans.c.budget)
            .join(schema.partitions, schema.partitions.c.plan_id == schema.plans.c.plan_id)
            .where(schema.partitions.c.partition == partition)
        )
        with self._engine.connect() as connection:
            return connection.execute(query).scalar()

    def _states(self, which: sa.ColumnElement[bool]) -> list[BudgetState]:
        table = schema.budgets
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(table).where(which).order_by(table.c.name)).all()
            return [
                BudgetState(row.name, row.limit_ms, spent_ms(connection, row.name), row.set_by, row.set_at)
                for row in rows
            ]


def write_limit(connection: sa.Connection, engine: sa.Engine, budget: Budget, *, by: str, now: float) -> None:
    """The user's latest word on *budget*."""
    word = {"limit_ms": budget.limit_ms, "set_by": by, "set_at": now}
    insert = insert_into(engine, schema.budgets).values(name=budget.name, **word)
    connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=word))


def write_limit_of_run(
    connection: sa.Connection, engine: sa.Engine, budget: Budget, *, run_key: str, now: float
) -> None:
    """What a run asks for, before its plan is written. Saying the same again is no new word: it may have been changed since.

    It is the same when this run said it before, or when the last run that gave the name a limit did: the runs of one backfill
    all say it, a month of them after somebody had braked or raised it by hand.
    """
    plans = schema.plans.c
    words = sa.select(plans.budget_ms).where(plans.budget == budget.name, plans.budget_ms.is_not(None))
    own = connection.execute(
        words.where(plans.run_key == run_key, plans.budget_ms == budget.limit_ms).limit(1)
    ).first()
    last = connection.execute(words.order_by(plans.created_at.desc()).limit(1)).scalar()
    if own is None and last != budget.limit_ms:
        write_limit(connection, engine, budget, by=run_key, now=now)


def limit_ms(connection: sa.Connection, engine: sa.Engine, name: str) -> int | None:
    """The limit of budget *name*, its row locked until the transaction ends; None: no limit."""
    table = schema.budgets
    row = connection.execute(locked(engine, sa.select(table.c.limit_ms).where(table.c.name == name))).first()
    return None if row is None else row.limit_ms


def spent_ms(connection: sa.Connection, name: str) -> int:
    """Audio of all that was ever reserved from budget *name*, or that its plans stand for; each transcription once.

    What was billed a second time for one of them is spent as well.
    """
    made, placed, twice = schema.transcriptions.c, schema.placements.c, schema.duplicates.c
    reserved = sa.select(made.chunk_id, made.attempt).where(made.budget == name)
    # Taken over from others' plans; what a plan that names another budget by now has reserved stays spent all the same.
    taken = sa.select(placed.chunk_id, placed.attempt).join(schema.plans).where(schema.plans.c.budget == name)
    ours = reserved.union(taken).subquery()
    # What the service measured, once it is known, where that is more than what was assumed.
    longer = sa.case((made.billed_ms > made.audio_ms, made.billed_ms), else_=made.audio_ms)
    once = (
        sa.select(sa.func.coalesce(sa.func.sum(longer), 0))
        .select_from(schema.transcriptions)
        .join(ours, sa.and_(ours.c.chunk_id == made.chunk_id, ours.c.attempt == made.attempt))
        .where(made.state != TranscriptionState.REFUSED)
    )
    again = (
        sa.select(sa.func.coalesce(sa.func.sum(twice.billed_ms), 0))
        .select_from(schema.duplicates)
        .join(ours, sa.and_(ours.c.chunk_id == twice.chunk_id, ours.c.attempt == twice.attempt))
    )
    return int(connection.execute(once).scalar_one()) + int(connection.execute(again).scalar_one())
