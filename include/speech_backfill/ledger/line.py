"""The line of shards that wait for room: who stands before whom, and for how many chunks. First come, first served."""

from __future__ import annotations

from collections.abc import Callable

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

    def stand(self, shard: Shard, *, chunks: int, pause: Callable[[int], float]) -> tuple[int, float]:
        """Take a place, or keep the one there is; returns the chunks wanted before it, and when to come back at the latest.

        *pause* says for how many seconds to be away, given those chunks; it must not look into the ledger.
        """
        now = self._clock()
        with self._engine.begin() as connection:
            connection.execute(_L.delete().where(_L.c.back_at < now - LATE_SECONDS, ~_mine(shard)))
            since = connection.execute(sa.select(_L.c.since).where(_mine(shard))).scalar()
            since = now if since is None else float(since)
            before = sa.or_(
                _L.c.since < since,
                sa.and_(
                    _L.c.since == since,
                    sa.tuple_(_L.c.plan_id, _L.c.round, _L.c.shard)
                    < sa.tuple_(sa.literal(shard.plan_id), sa.literal(shard.round), sa.literal(shard.index)),
                ),
            )
            ahead = int(
                connection.execute(
                    sa.select(sa.func.coalesce(sa.func.sum(_L.c.chunks), 0)).where(before, ~_mine(shard))
                ).scalar_one()
            )
            back_at = now + pause(ahead)
            place = insert_into(self._engine, _L).values(
                plan_id=shard.plan_id,
                round=shard.round,
                shard=shard.index,
                since=since,
                chunks=chunks,
                back_at=back_at,
            )
            connection.execute(
                place.on_conflict_do_update(
                    index_elements=["plan_id", "round", "shard"],
                    set_={"chunks": chunks, "back_at": back_at},
                )
            )
        return ahead, back_at

    def leave(self, shard: Shard) -> None:
        """Give the place up."""
        with self._engine.begin() as connection:
            connection.execute(_L.delete().where(_mine(shard)))


def _mine(shard: Shard) -> sa.ColumnElement[bool]:
    return sa.and_(_L.c.plan_id == shard.plan_id, _L.c.round == shard.round, _L.c.shard == shard.index)
