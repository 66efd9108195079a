"""The line of shards that wait for room: who stands before whom, and for how many chunks. Who came first is woken first.

It keeps nobody from room that is there: a shard that looks early takes it, so that no region idles for one that was killed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import sqlalchemy as sa

from speech_backfill.ledger import schema
from speech_backfill.ledger.engine import insert_into
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.model import Shard

LATE_SECONDS = 300.0
"""How long a place outlives the moment at which its shard wanted to be back: it may have been cleared or killed."""

_L = schema.line


class Line:
    """Places of shards; a place is held from the first time that a shard finds no room until all of it is submitted."""

    def __init__(self, ledger: Ledger) -> None:
        """Share *ledger*'s engine and clock."""
        self._engine = ledger.engine
        self._clock = ledger.clock

    def stand(
        self, shard: Shard, *, chunks: int, pause: Callable[[int], float], residency: str = ""
    ) -> tuple[int, float]:
        """Take a place, or keep the one there is; returns the chunks wanted before it, and when to come back at the latest.

        Those before it are those that ask for the same *residency*. *pause* says for how many seconds to be away, given
        those chunks; it must not look into the ledger.
        """
        now = self._clock()
        place = sa.tuple_(_L.c.plan_id, _L.c.round, _L.c.shard)
        mine = sa.and_(_mine(shard), _L.c.residency == residency)
        with self._engine.begin() as connection:
            # The own place first, and of others' only what nobody holds: so no two workers wait for each other.
            insert = insert_into(self._engine, _L).values(
                plan_id=shard.plan_id,
                round=shard.round,
                shard=shard.index,
                residency=residency,
                since=now,
                chunks=chunks,
                back_at=now,
            )
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["plan_id", "round", "shard", "residency"], set_={"chunks": chunks}
                )
            )
            self._forget_late(connection, now=now, but=_mine(shard))
            since = float(connection.execute(sa.select(_L.c.since).where(mine)).scalar_one())
            before = sa.or_(
                _L.c.since < since,
                sa.and_(
                    _L.c.since == since,
                    place
                    < sa.tuple_(sa.literal(shard.plan_id), sa.literal(shard.round), sa.literal(shard.index)),
                ),
            )
            ahead = int(
                connection.execute(
                    sa.select(sa.func.coalesce(sa.func.sum(_L.c.chunks), 0)).where(
                        before, _L.c.residency == residency, ~_mine(shard)
                    )
                ).scalar_one()
            )
            back_at = now + pause(ahead)
            connection.execute(_L.update().where(mine).values(back_at=back_at))
        return ahead, back_at

    def leave(self, shard: Shard, *, but: Collection[str] = ()) -> None:
        """Give the shard's places up, but for those in the lines of these residencies."""
        with self._engine.begin() as connection:
            connection.execute(_L.delete().where(_mine(shard), _L.c.residency.not_in(but)))

    def _forget_late(self, connection: sa.Connection, *, now: float, but: sa.ColumnElement[bool]) -> None:
        late = sa.and_(_L.c.back_at < now - LATE_SECONDS, ~but)
        if self._engine.dialect.name == "sqlite":
            connection.execute(_L.delete().where(late))
            return
        key = (_L.c.plan_id, _L.c.round, _L.c.shard, _L.c.residency)
        free = sa.select(*key).where(late).with_for_update(skip_locked=True)
        connection.execute(_L.delete().where(sa.tuple_(*key).in_(free)))


def _mine(shard: Shard) -> sa.ColumnElement[bool]:
    return sa.and_(_L.c.plan_id == shard.plan_id, _L.c.round == shard.round, _L.c.shard == shard.index)
