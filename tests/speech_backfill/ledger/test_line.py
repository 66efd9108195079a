"""Shards that find no room stand in line: first come, first served, and nobody waits behind one that has gone."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

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


def test_those_who_ask_for_another_residency_stand_in_a_line_of_their_own(
    line: Line, clock: FakeClock
) -> None:
    line.stand(shard(0), chunks=5, pause=lambda _: 60.0, residency="us")
    clock.now += 1
    assert line.stand(shard(1), chunks=7, pause=lambda _: 60.0, residency="eu")[0] == 0
    assert line.stand(shard(2), chunks=1, pause=lambda _: 60.0, residency="us")[0] == 5


def test_a_shard_leaves_the_lines_in_which_it_wants_nothing_any_more(line: Line, clock: FakeClock) -> None:
    for residency in ("us", "eu"):
        line.stand(shard(0), chunks=5, pause=lambda _: 60.0, residency=residency)
    clock.now += 1
    line.leave(shard(0), but=["eu"])
    assert line.stand(shard(1), chunks=7, pause=lambda _: 60.0, residency="us")[0] == 0
    assert line.stand(shard(1), chunks=7, pause=lambda _: 60.0, residency="eu")[0] == 5


def test_nobody_waits_for_somebody_who_removes_late_places(
    line: Line, ledger: Ledger, ledger_url: str, clock: FakeClock
) -> None:
    """Two that remove the same places, each in its own order, would wait for each other."""
    if ledger_url.startswith("sqlite"):
        pytest.skip("SQLite has one lock for all")
    stand(line, shard(0), 5, seconds=1)
    stand(line, shard(1), 5, seconds=1)
    clock.now += 2 * LATE_SECONDS
    with ledger.engine.begin() as another:
        another.execute(sa.text("SELECT * FROM line WHERE shard = 1 FOR UPDATE"))
        answers: list[int] = []
        worker = threading.Thread(target=lambda: answers.append(stand(line, shard(2), 1)))
        worker.start()
        worker.join(20)
        assert answers == [5]
    assert stand(line, shard(3), 1) == 1
