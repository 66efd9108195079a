"""Reserve before the money moves: the intent, a place in a window and a share of the budget, in one transaction or not at all.

Two workers never hold one chunk: the intent row's lease is taken in the same transaction that checks it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from speech_backfill.ledger import schema
from speech_backfill.ledger.budgets import limit_ms, spent_ms
from speech_backfill.ledger.engine import locked
from speech_backfill.ledger.failures import failing
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.occupancy import lingering, occupying
from speech_backfill.ledger.records import (
    BUDGET,
    UNFINISHED,
    AtWork,
    HeldByAnother,
    Known,
    MustLookUp,
    NoneAllowed,
    OverBudget,
    Placement,
    PlanState,
    PlanSuperseded,
    Reservation,
    Reserved,
    SetAside,
    TranscriptionRecord,
    TranscriptionState,
    WindowFull,
)
from speech_backfill.ledger.resources import backlogs, regions
from speech_backfill.ledger.rows import locked_row, of_place, record, standing
from speech_backfill.ledger.speeds import Speed
from speech_backfill.model import TranscriptionRef

_T = schema.transcriptions

_UNSURE = 2.0
"""A region may work at half the speed that is assumed; of one that is slower still, nobody waits any longer for it."""


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Where a chunk is to go, and in how many seconds it should be done there at the latest."""

    resource: str
    seconds: float


def _pace(speed: Speed, assumed: float) -> float:
    """The speed that a deadline rests on, between half the *assumed* one and that: short files teach low speeds, and chance high ones."""
    slowest = assumed / _UNSURE
    return max(slowest, min(speed.factor, assumed)) if speed.ends else slowest


class Reservations:
    """Hands out chunks to whoever is to submit them now."""

    def __init__(self, ledger: Ledger) -> None:
        """Share *ledger*'s engine and clock."""
        self._engine = ledger.engine
        self._clock = ledger.clock

    def reserve(
        self,
        placement: Placement,
        *,
        owner: str,
        lease_seconds: float,
        resources: Sequence[str],
        tried: Collection[str] = (),
        assumed_speed: float = 5.0,
        linger_seconds: float = 0.0,
    ) -> Reservation:
        """Commit the intent to submit *placement* to one of *resources*, within window and budget, or say why not.

        Picks, among those whose residency the chunk allows, that are not set aside and have room, the resource that would
        have the chunk done first; the one that the placement is to keep away from only where no other can be had. A row
        whose answer is unknown is handed out again only when its lease has run out, and then to be looked up first.
        Where all are set aside, one in trouble is tried all the same unless it is among those *tried* already.
        *assumed_speed*, seconds of audio a second, stands for regions of which nothing is known yet. What was given up at
        its deadline keeps its place for *linger_seconds* more, unless it has been seen to end.
        """
        now = self._clock()
        with self._engine.begin() as connection:
            plan = connection.execute(
                locked(
                    self._engine,
                    sa.select(schema.plans).where(schema.plans.c.plan_id == placement.plan_id),
                )
            ).one()
            placement = standing(connection, placement)
            row = locked_row(connection, self._engine, placement)
            if row is not None and row.state != TranscriptionState.REFUSED:
                if row.state != TranscriptionState.INTENDED:
                    return Known(row)
                if row.lease_until > now and row.lease_owner != owner:
                    return HeldByAnother(row.lease_until)
                return MustLookUp(
                    self._update(connection, row, lease_owner=owner, lease_until=now + lease_seconds)
                )
            if plan.state != PlanState.OPEN:
                return PlanSuperseded(placement.plan_id)
            chosen = self._choose(
                connection,
                placement,
                resources,
                now=now,
                tried=tried,
                assumed_speed=assumed_speed,
                occupies=occupying(now=now, linger_seconds=linger_seconds),
                lingers=lingering(now=now, linger_seconds=linger_seconds),
            )
            if isinstance(chosen, NoneAllowed):
                return chosen
            # Room or not: who waits for room that the budget would not let it use keeps what is paid from being merged.
            # Here and not before, for whoever locks resources and a budget locks them in this order.
            over = None if plan.budget is None else self._over(connection, placement, plan.budget)
            if over is not None:
                self._stop(connection, placement, BUDGET)
                return over
            if not isinstance(chosen, _Chosen):
                return chosen
            self._stop(connection, placement, None)
            values = {
                "token": placement.token,
                "plan_id": placement.plan_id,
                "resource": chosen.resource,
                "expected_seconds": chosen.seconds,
                "state": TranscriptionState.INTENDED,
                "audio_ms": placement.chunk.audio_ms,
                "lease_owner": owner,
                "lease_until": now + lease_seconds,
                "problem": None,
                "budget": plan.budget,
            }
            if row is not None:
                # It may go elsewhere now, and was refused where it was before: nothing of that may lead a look-up astray.
                return Reserved(self._update(connection, row, **values, endpoint=None, last_post_at=None))
            connection.execute(
                _T.insert().values(
                    chunk_id=placement.chunk.chunk_id,
                    attempt=placement.attempt,
                    intent_at=now,
                    posts=0,
                    adopted=False,
                    **values,
                )
            )
            made = locked_row(connection, self._engine, placement)
            assert made is not None
            return Reserved(made)

    def stop(self, placement: Placement, why: str = BUDGET) -> None:
        """Note that *placement* is not submitted, and why."""
        with self._engine.begin() as connection:
            self._stop(connection, placement, why)

    def _over(self, connection: sa.Connection, placement: Placement, budget: str) -> OverBudget | None:
        """What of *budget* is spent, if the chunk does not fit into the rest; its row locked until the transaction ends."""
        limit = limit_ms(connection, self._engine, budget)
        if limit is None:
            return None
        spent = spent_ms(connection, budget)
        return OverBudget(budget, limit, spent) if spent + placement.chunk.audio_ms > limit else None

    def _choose(
        self,
        connection: sa.Connection,
        placement: Placement,
        resources: Sequence[str],
        *,
        now: float,
        tried: Collection[str],
        assumed_speed: float,
        occupies: sa.ColumnElement[bool],
        lingers: sa.ColumnElement[bool],
    ) -> _Chosen | WindowFull | AtWork | SetAside | NoneAllowed:
        """The resource for *placement*, its row locked; or why there is none."""
        table = schema.resources
        query = sa.select(table).where(table.c.resource.in_(resources)).order_by(table.c.resource)
        known = connection.execute(locked(self._engine, query)).all()
        residency = placement.chunk.residency
        allowed = [one for one in known if residency in {"", one.residency}]
        if not allowed:
            return NoneAllowed(residency)
        others = [one for one in allowed if one.resource != placement.away_from]
        usable = [one for one in others if one.aside_until <= now and one.resource not in tried]
        # Where the others are in trouble, so is not perhaps the one to keep away from.
        usable = usable or [one for one in allowed if one.aside_until <= now and one.resource not in tried]
        fails = {one.resource for one in allowed if one.problem and failing(connection, one.resource)}
        if len(fails) == len(allowed):
            fails.clear()  # there is nobody better to wait for
        # Nobody else to go to: the trouble may be over, and only a try can tell. One that throttles is left alone.
        usable = usable or [
            one for one in allowed if one.troubles and one.resource not in tried and one.resource not in fails
        ]
        at_work = self._at_work(connection, placement, lingers) if placement.attempt > 1 else {}
        if at_work:
            # A region that may be at work on these files still is not sent them again, nor one that is not well.
            busy = {
                name
                for names in regions(connection).values()
                if at_work.keys() & set(names)
                for name in names
            }
            usable = [one for one in usable if one.aside_until <= now and one.resource not in {*busy, *fails}]
            if not usable:
                return AtWork(tuple(at_work.values()))
        if not usable:
            aside = sorted(allowed, key=lambda one: one.aside_until)
            problems = "; ".join(f"{one.resource}: {one.problem}" for one in aside)
            return SetAside(float(aside[0].aside_until), problems)
        names = [one.resource for one in usable]
        alive = sa.func.sum(sa.case((_T.c.state.in_(UNFINISHED), 1), else_=0))
        counted = connection.execute(
            sa.select(_T.c.resource, sa.func.count().label("unfinished"), alive.label("alive"))
            .where(occupies, _T.c.resource.in_(names))
            .group_by(_T.c.resource)
        )
        # For one that is tried with one, what was given up tells nothing.
        unfinished = {one.resource: one.alive if one.resource in fails else one.unfinished for one in counted}
        # One that fails what it takes is tried with one, and gets no more until that has ended well.
        windows = {one.resource: 1 if one.resource in fails else one.window for one in usable}
        roomy = [name for name in names if unfinished.get(name, 0) < windows[name]]
        if not roomy:
            return WindowFull(self._unfinished(connection, names, occupies), tuple(names))
        found = backlogs(connection, regions(connection), assumed_speed=assumed_speed, occupies=occupies)
        done_in = {
            name: (one.audio_ms + placement.chunk.audio_ms) / 1000 / one.speed.factor
            for one in found
            for name in one.resources
        }
        # Of two resources of one region the less loaded, then in the order of the settings.
        best: str = min(
            roomy, key=lambda name: (done_in[name], unfinished.get(name, 0), resources.index(name))
        )
        (speed,) = (one.speed for one in found if best in one.resources)
        return _Chosen(best, done_in[best] * speed.factor / _pace(speed, assumed_speed))

    def _unfinished(
        self, connection: sa.Connection, resources: Sequence[str], occupies: sa.ColumnElement[bool]
    ) -> tuple[TranscriptionRef, ...]:
        query = sa.select(_T.c.resource, _T.c.transcription_id, _T.c.state).where(
            _T.c.resource.in_(resources), occupies, _T.c.transcription_id.is_not(None)
        )
        rows = connection.execute(query.order_by(_T.c.submitted_at)).all()
        # What was given up may never end: it is waited for only where nothing else is there.
        alive = [row for row in rows if row.state != TranscriptionState.GIVEN_UP]
        return tuple(TranscriptionRef(row.resource, row.transcription_id) for row in alive or rows)

    def _at_work(
        self, connection: sa.Connection, placement: Placement, lingers: sa.ColumnElement[bool]
    ) -> dict[str, TranscriptionRef]:
        """Earlier attempts at the chunk that were given up and may end yet, by resource."""
        query = sa.select(_T.c.resource, _T.c.transcription_id).where(
            _T.c.chunk_id == placement.chunk.chunk_id, _T.c.attempt < placement.attempt, lingers
        )
        return {
            row.resource: TranscriptionRef(row.resource, row.transcription_id)
            for row in connection.execute(query)
        }

    def _stop(self, connection: sa.Connection, placement: Placement, why: str | None) -> None:
        if placement.stopped != why:
            connection.execute(schema.placements.update().where(of_place(placement)).values(stopped=why))

    def _update(
        self, connection: sa.Connection, row: TranscriptionRecord, **values: Any
    ) -> TranscriptionRecord:
        key = sa.and_(_T.c.chunk_id == row.chunk_id, _T.c.attempt == row.attempt)
        connection.execute(_T.update().where(key).values(**values))
        return record(connection.execute(sa.select(_T).where(key)).one())
