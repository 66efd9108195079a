"""Shards that find no room stand in line: first come, first served, and nobody waits behind one that has gone."""

from __future__ import annotations

import pytest

from fakes.speech_service import FakeClock
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.line import LATE_SECONDS, Line
from speech_backfill.model import Shard


def shard(index: int, plan_id: str = "p1") -> Shard:
    return Shard(plan_id, "day", 0, index, 10, 100)


@pytest.fixture
def line(ledger: Ledger) -> Line:
    return Line(ledger)


def stand(line: Line, one: Shard, chunks: int, seconds: float = 60.0) -> int:
    return line.stand(one, chunks=chunks, pause=lambda _: seconds)[0]


def test_who_came_first_is_served_first(line: Line, clock: FakeClock) -> None:
    assert stand(line, shard(0), 5) == 0
    clock.now += 1
    assert stand(line, shard(1), 7) == 5
    clock.now += 1
    assert stand(line, shard(2), 1) == 12


def test_whoever_comes_back_keeps_its_place(line: Line, clock: FakeClock) -> None:
    stand(line, shard(0), 5)
    clock.now += 1
    stand(line, shard(1), 7)
    clock.now += 1
    assert stand(line, shard(0), 2) == 0
    assert stand(line, shard(1), 7) == 2


def test_two_that_come_at_once_stand_one_behind_the_other(line: Line) -> None:
    stand(line, shard(1), 5)
    stand(line, shard(0), 3)
    assert sorted([stand(line, shard(0), 3), stand(line, shard(1), 5)]) == [0, 3]


def test_nobody_stands_behind_one_that_has_left(line: Line, clock: FakeClock) -> None:
    stand(line, shard(0), 5)
    clock.now += 1
    line.leave(shard(0))
    assert stand(line, shard(1), 7) == 0


def test_a_place_ends_some_time_after_its_shard_should_have_been_back(line: Line, clock: FakeClock) -> None:
    """Cleared, or killed: a task that never comes back."""
    stand(line, shard(0), 5, seconds=60)
    clock.now += 60 + LATE_SECONDS
    assert stand(line, shard(1), 7, seconds=60) == 5
    clock.now += 1
    assert stand(line, shard(1), 7, seconds=60) == 0


def test_the_pause_may_depend_on_who_stands_before(line: Line, clock: FakeClock) -> None:
    stand(line, shard(0), 5)
    clock.now += 1
    assert line.stand(shard(1), chunks=2, pause=lambda ahead: ahead * 10.0) == (5, clock.now + 50)


def test_shards_of_different_plans_stand_in_one_line(line: Line, clock: FakeClock) -> None:
    stand(line, shard(0, "p1"), 5)
    clock.now += 1
    assert stand(line, shard(0, "p2"), 2) == 5
