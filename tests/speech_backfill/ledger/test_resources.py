"""Where a chunk goes: residency, health and the shortest expected backlog; and the allowance that all workers share."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from fakes.speech_service import FakeClock
from speech_backfill.ledger import schema
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import (
    NoneAllowed,
    Placement,
    Reserved,
    SetAside,
    WindowFull,
)
from speech_backfill.ledger.reservations import Reservations
from speech_backfill.ledger.resources import (
    ASIDE_SECONDS,
    BURST_REQUESTS,
    LONGEST_ASIDE_SECONDS,
    STEADY_REQUESTS_A_SECOND,
    Resources,
)
from speech_backfill.ledger.speeds import End, speed
from speech_backfill.ledger.submissions import Submissions
from speech_backfill.model import Status, TranscriptionRef
from tests.speech_backfill.ledger.records import chunk, committed

BOTH = ("east", "west")


@pytest.fixture
def resources(ledger: Ledger) -> Resources:
    made = Resources(ledger)
    made.register("west", window=4, region="westeurope", residency="eu")
    return made


def reserve(
    ledger: Ledger, placement: Placement, names: Sequence[str] = BOTH, *, tried: Sequence[str] = ()
) -> object:
    return Reservations(ledger).reserve(
        placement, owner="w", lease_seconds=60, resources=names, tried=tried, assumed_speed=5.0
    )


def taken(ledger: Ledger, placement: Placement, names: Sequence[str] = BOTH) -> str:
    answer = reserve(ledger, placement, names)
    assert isinstance(answer, Reserved), answer
    return answer.record.resource


# --- residency ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("resources")
def test_files_that_ask_for_a_residency_go_nowhere_else(ledger: Ledger) -> None:
    """Not even where the other resource has nothing to do and theirs is full."""
    placed = committed(ledger, "p1", *(chunk(f"eu{n}", residency="eu") for n in range(5)))
    assert [taken(ledger, one) for one in placed[:4]] == ["west"] * 4
    assert isinstance(reserve(ledger, placed[4]), WindowFull)


@pytest.mark.usefixtures("resources")
def test_a_residency_that_no_resource_has_is_said(ledger: Ledger) -> None:
    (one,) = committed(ledger, "p1", chunk("a", residency="ch"))
    assert reserve(ledger, one) == NoneAllowed("ch")


@pytest.mark.usefixtures("resources")
def test_a_repair_stays_within_its_residency_rather_than_keep_away(ledger: Ledger) -> None:
    (one,) = committed(ledger, "p1", chunk("a", residency="eu"))
    away = Placement(one.plan_id, one.round, one.shard, one.ordinal, one.attempt, one.chunk, away_from="west")
    assert taken(ledger, away) == "west"


# --- backlog --------------------------------------------------------------------------------------


def ended(
    ledger: Ledger, clock: FakeClock, plan_id: str, resource: str, *, seconds: float, count: int
) -> None:
    """So many chunks of a second of audio, each of which *resource* has worked on for *seconds*."""
    submissions = Submissions(ledger)
    placed = committed(ledger, plan_id, *(chunk(f"{plan_id}{n}") for n in range(count)), partition=plan_id)
    for number, one in enumerate(placed):
        answer = reserve(ledger, one, [resource])
        assert isinstance(answer, Reserved)
        submissions.record_submitted(answer.record, f"{plan_id}-{number}")
        clock.now += seconds
        ref = TranscriptionRef(resource, f"{plan_id}-{number}")
        submissions.record_status(ref, Status.SUCCEEDED, ended_at=clock.now, billed_ms=1000)


def test_a_chunk_goes_where_it_will_be_done_first_not_where_least_audio_waits(
    ledger: Ledger, resources: Resources, clock: FakeClock
) -> None:
    """West works ten times as fast: it is taken until its backlog is ten times as long."""
    ended(ledger, clock, "slow", "east", seconds=1.0, count=4)
    ended(ledger, clock, "fast", "west", seconds=0.1, count=4)
    resources.register("west", window=40, region="westeurope")
    resources.register("east", window=40, region="eastus")
    placed = committed(ledger, "p1", *(chunk(f"c{n}") for n in range(22)))
    where = [taken(ledger, one) for one in placed]
    assert (where.count("west"), where.count("east")) == (20, 2)


def test_two_resources_of_one_region_share_its_backlog(ledger: Ledger, resources: Resources) -> None:
    """More resources in a region add no throughput: the other region gets as much as both of them together."""
    resources.register("west", window=9, region="westeurope")
    resources.register("west-2", window=9, region="westeurope")
    resources.register("east", window=9, region="eastus")
    placed = committed(ledger, "p1", *(chunk(f"c{n}") for n in range(8)))
    where = [taken(ledger, one, ("west", "west-2", "east")) for one in placed]
    assert where.count("east") == 4
    assert where.count("west") == where.count("west-2") == 2


def test_a_speed_is_learnt_from_the_time_that_the_region_spent() -> None:
    """Three transcriptions of 100 s submitted together, done one after the other in 10 s each: ten times real time."""
    found = speed([End(0, 10, 100_000), End(0, 20, 100_000), End(0, 30, 100_000)], assumed=5.0)
    assert (found.factor, found.seconds_each, found.ends) == (10.0, 10.0, 3)


def test_idle_time_of_a_region_does_not_count() -> None:
    found = speed([End(0, 10, 100_000), End(5000, 5010, 100_000), End(9000, 9010, 100_000)], assumed=5.0)
    assert found.factor == 10.0


def test_too_few_ends_or_none_that_took_time_tell_nothing() -> None:
    assert speed([End(0, 10, 100_000)], assumed=5.0) == speed([], assumed=5.0)
    assert speed([End(10, 10, 1000)] * 9, assumed=5.0).factor == 5.0


@given(
    gaps=st.lists(st.floats(0, 100), min_size=3, max_size=30),
    work=st.lists(st.floats(0.5, 100), min_size=3, max_size=30),
    order=st.randoms(),
)
def test_the_speed_of_a_queue_is_that_of_its_worker_whenever_its_work_came(
    gaps: list[float], work: list[float], order: st.DataObject
) -> None:
    """Whatever the arrivals: one that works at 4 is seen to work at 4."""
    ends, at, free = [], 0.0, 0.0
    for gap, seconds in zip(gaps, work, strict=False):
        at += gap
        free = max(at, free) + seconds
        ends.append(End(at, free, int(seconds * 4000)))
    order.shuffle(ends)  # type: ignore[attr-defined]  # hypothesis' Random
    assert speed(ends, assumed=1.0).factor == pytest.approx(4.0, rel=0.01)


# --- health ---------------------------------------------------------------------------------------


def test_a_resource_in_trouble_is_left_alone_and_tried_again_later(
    ledger: Ledger, resources: Resources, clock: FakeClock
) -> None:
    placed = committed(ledger, "p1", *(chunk(f"c{n}") for n in range(4)))
    until = resources.set_aside("east", "503")
    assert until == clock.now + ASIDE_SECONDS
    assert taken(ledger, placed[0]) == taken(ledger, placed[1]) == "west"
    clock.now = until
    assert taken(ledger, placed[2]) == "east"


def test_it_is_left_alone_for_longer_each_time_but_once_for_one_trouble(
    resources: Resources, clock: FakeClock
) -> None:
    spans = []
    for _ in range(8):
        until = resources.set_aside("east", "503")
        assert resources.set_aside("east", "another worker has seen it too") == until
        spans.append(until - clock.now)
        clock.now = until
    assert spans[:3] == [ASIDE_SECONDS, 2 * ASIDE_SECONDS, 4 * ASIDE_SECONDS]
    assert spans[-1] == LONGEST_ASIDE_SECONDS
    resources.well("east")
    assert resources.set_aside("east", "503") - clock.now == ASIDE_SECONDS


def test_where_there_is_nobody_else_it_is_tried_all_the_same_once(
    ledger: Ledger, resources: Resources, clock: FakeClock
) -> None:
    """Whoever has mended a connection does not want to wait until a moment has passed."""
    (one,) = committed(ledger, "p1", chunk("a"))
    until = resources.set_aside("east", "401")
    assert reserve(ledger, one, ["east"], tried=["east"]) == SetAside(until, "east: 401")
    assert isinstance(reserve(ledger, one, ["east"]), Reserved)
    assert clock.now < until


def test_one_that_throttles_is_not_tried_before_its_time(
    ledger: Ledger, resources: Resources, clock: FakeClock
) -> None:
    (one,) = committed(ledger, "p1", chunk("a"))
    until = resources.set_aside("east", "it is throttling", seconds=7)
    assert reserve(ledger, one, ["east"]) == SetAside(until, "east: it is throttling")
    clock.now += 7
    assert isinstance(reserve(ledger, one, ["east"]), Reserved)


def test_registering_again_leaves_what_is_known_of_its_health(
    ledger: Ledger, resources: Resources, clock: FakeClock
) -> None:
    resources.set_aside("east", "503")
    resources.register("east", window=9, region="eastus", residency="us")
    with ledger.engine.connect() as connection:
        row = connection.execute(
            sa.select(schema.resources).where(schema.resources.c.resource == "east")
        ).one()
    assert (row.window, row.residency, row.problem) == (9, "us", "503")
    assert row.aside_until > clock.now


# --- requests -------------------------------------------------------------------------------------


@given(takes=st.lists(st.tuples(st.floats(0, 3), st.integers(1, 4)), max_size=120))
def test_no_ten_seconds_ever_see_more_than_ninety_requests(takes: list[tuple[float, int]]) -> None:
    """Whatever anybody asks and whenever: what was allowed within any ten seconds is under the service's hundred."""
    clock = FakeClock()
    ledger = Ledger.open("sqlite://", clock)
    resources = Resources(ledger)
    resources.register("east", window=4, region="")
    allowed: list[tuple[float, int]] = []
    for pause, requests in takes:
        clock.now += pause
        if resources.allow("east", requests) == 0:
            allowed.append((clock.now, requests))
    ledger.engine.dispose()
    for start, _ in allowed:
        within = sum(count for at, count in allowed if start <= at < start + 10)
        assert within <= BURST_REQUESTS + 10 * STEADY_REQUESTS_A_SECOND <= 90


def test_whoever_waits_as_long_as_is_said_is_allowed(resources: Resources, clock: FakeClock) -> None:
    waits = 0
    for _ in range(50):
        wait = resources.allow("east", 4)
        if wait:
            waits += 1
            clock.now += wait + 1e-6
            assert resources.allow("east", 4) == 0
    assert waits


def test_a_pause_holds_for_everybody(resources: Resources, clock: FakeClock) -> None:
    resources.pause("east", 30)
    wait = resources.allow("east", 1)
    assert 30 <= wait < 31
    clock.now += wait + 1e-6
    assert resources.allow("east", 1) == 0
    assert resources.allow("west", 1) == 0


def test_a_resource_that_was_never_registered_has_no_allowance_to_keep(resources: Resources) -> None:
    assert resources.allow("nobody", 1000) == 0


def test_eight_workers_share_one_allowance(ledger: Ledger, resources: Resources) -> None:
    allowed: list[int] = []
    start = threading.Barrier(8)

    def work() -> None:
        mine = Resources(Ledger(ledger.engine, ledger.clock))
        start.wait(20)
        for _ in range(10):
            if mine.allow("east", 1) == 0:
                allowed.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(allowed) == BURST_REQUESTS
    assert resources.allow("east", 1) > 0
