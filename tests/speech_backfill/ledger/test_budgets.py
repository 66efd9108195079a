"""Budgets hold whatever runs at the same time, and are what the user said last."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import sqlalchemy as sa

from speech_backfill.ledger import schema
from speech_backfill.ledger.budgets import COMMAND, Budgets
from speech_backfill.ledger.engine import locked
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import (
    Budget,
    OverBudget,
    Placement,
    Reserved,
    SetAside,
    TranscriptionState,
    WindowFull,
)
from speech_backfill.ledger.reservations import Reservations
from speech_backfill.ledger.resources import Resources
from speech_backfill.ledger.restore import restore_chunk
from speech_backfill.ledger.submissions import Submissions
from speech_backfill.model import Status, TranscriptionRef
from tests.speech_backfill.ledger.records import chunk, committed


def reserve(ledger: Ledger, placement: Placement, owner: str = "w") -> object:
    return Reservations(ledger).reserve(placement, owner=owner, lease_seconds=60, resources=["east"])


@pytest.fixture(autouse=True)
def _room(ledger: Ledger) -> None:
    Resources(ledger).register("east", window=1000, region="eastus")


def test_four_partitions_never_spend_more_than_the_budget_they_share(ledger: Ledger) -> None:
    """Forty chunks of 100 ms want 4 s; the budget is 2 s; four workers reserve at once."""
    plans = {
        f"p{n}": committed(
            ledger, f"p{n}", *(chunk(f"p{n}c{c:02}", audio_ms=100) for c in range(10)),
            partition=f"day {n}", budget="shared", budget_ms=2000,
        )
        for n in range(4)
    }  # fmt: skip
    start = threading.Barrier(4)
    answers: list[object] = []

    def work(plan_id: str) -> None:
        start.wait(20)
        for placement in plans[plan_id]:
            answers.append(reserve(Ledger(ledger.engine, ledger.clock), placement, plan_id))

    threads = [threading.Thread(target=work, args=(one,)) for one in plans]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sum(isinstance(one, Reserved) for one in answers) == 20
    assert sum(isinstance(one, OverBudget) for one in answers) == 20
    state = Budgets(ledger).of("shared")
    assert state is not None
    assert (state.limit_ms, state.spent_ms) == (2000, 2000)


def test_what_does_not_fit_is_noted_and_goes_on_when_the_budget_is_raised(ledger: Ledger) -> None:
    one, two = committed(ledger, "p1", chunk("a", audio_ms=600), chunk("b", audio_ms=600), budget_ms=1000)
    assert isinstance(reserve(ledger, one), Reserved)
    assert reserve(ledger, two) == OverBudget("day", 1000, 600)
    assert [one.stopped for one in ledger.placements("p1", 0)] == [None, "budget"]
    Budgets(ledger).set(Budget("day", 1200))
    assert isinstance(reserve(ledger, two), Reserved)
    assert [one.stopped for one in ledger.placements("p1", 0)] == [None, None]


@pytest.mark.parametrize("why", ["its window is full", "it is set aside"])
def test_a_spent_budget_is_said_where_there_is_no_room_as_well(ledger: Ledger, why: str) -> None:
    """Nobody has to wait for room to learn that it may not be used; what fits waits."""
    (first,) = committed(ledger, "p1", chunk("a", audio_ms=600), partition="other")
    assert isinstance(reserve(ledger, first), Reserved)
    if why == "its window is full":
        Resources(ledger).register("east", window=1, region="eastus")
    else:
        Resources(ledger).set_aside("east", "it is throttling", seconds=60)
    fits, not_any_more = committed(
        ledger, "p2", chunk("b", audio_ms=600), chunk("c", audio_ms=1001), budget_ms=1000
    )
    assert isinstance(reserve(ledger, fits), WindowFull | SetAside)
    assert reserve(ledger, not_any_more) == OverBudget("day", 1000, 0)
    assert [one.stopped for one in ledger.placements("p2", 0)] == [None, "budget"]


def test_a_transcription_that_two_plans_share_counts_once(ledger: Ledger) -> None:
    (one,) = committed(ledger, "p1", chunk("a", audio_ms=600), budget="b", budget_ms=9000)
    answer = reserve(ledger, one)
    assert isinstance(answer, Reserved)
    Submissions(ledger).record_submitted(answer.record, "t1")
    committed(ledger, "p2", chunk("a", audio_ms=600), partition="other", budget="b", budget_ms=9000)
    state = Budgets(ledger).of("b")
    assert state is not None
    assert state.spent_ms == 600


def test_what_the_service_measured_counts_where_it_is_more(ledger: Ledger) -> None:
    one, two = committed(ledger, "p1", chunk("a", audio_ms=100), chunk("b", audio_ms=100), budget_ms=1000)
    answer = reserve(ledger, one)
    assert isinstance(answer, Reserved)
    Submissions(ledger).record_submitted(answer.record, "t1")
    ref = TranscriptionRef("east", "t1")
    Submissions(ledger).record_status(ref, Status.SUCCEEDED, ended_at=1.0, billed_ms=950)
    assert reserve(ledger, two) == OverBudget("day", 1000, 950)


def test_a_refused_submission_gives_its_share_back(ledger: Ledger) -> None:
    one, two = committed(ledger, "p1", chunk("a", audio_ms=600), chunk("b", audio_ms=600), budget_ms=1000)
    answer = reserve(ledger, one)
    assert isinstance(answer, Reserved)
    Submissions(ledger).record_refused(answer.record, "no")
    assert isinstance(reserve(ledger, two), Reserved)


def test_the_limit_is_what_was_said_last(ledger: Ledger) -> None:
    budgets = Budgets(ledger)
    committed(ledger, "p1", chunk("a"), budget_ms=1000, run_key="first")
    committed(ledger, "p2", chunk("b"), budget_ms=2000, run_key="second")
    state = budgets.of("day")
    assert state is not None
    assert (state.limit_ms, state.set_by) == (2000, "second")
    budgets.set(Budget("day", 5000))
    # The second run is planned again, with other files, and its form still says 2000: that is no new word.
    committed(ledger, "p3", chunk("c"), budget_ms=2000, run_key="second")
    state = budgets.of("day")
    assert state is not None
    assert (state.limit_ms, state.set_by) == (5000, COMMAND)
    committed(ledger, "p4", chunk("d"), budget_ms=3000, run_key="second")
    state = budgets.of("day")
    assert state is not None
    assert state.limit_ms == 3000


def test_the_next_run_of_a_backfill_does_not_set_back_what_was_typed_meanwhile(ledger: Ledger) -> None:
    """All runs of a backfill carry the same conf; a brake must hold while most of them are still queued."""
    budgets = Budgets(ledger)

    def planned(day: str) -> None:
        made = chunk(f"chunk {day}")
        committed(ledger, day, made, partition=day, run_key=day, budget="november", budget_ms=1000)

    planned("the first")
    for day, typed in (("the second", 0), ("the third", 9000)):
        budgets.set(Budget("november", typed))
        planned(day)
        state = budgets.of("november")
        assert state is not None
        assert (state.limit_ms, state.set_by) == (typed, COMMAND)


def test_a_budget_without_a_limit_stops_nothing(ledger: Ledger) -> None:
    (one,) = committed(ledger, "p1", chunk("a", audio_ms=10**9), budget_ms=1000)
    Budgets(ledger).set(Budget("day", None))
    assert isinstance(reserve(ledger, one), Reserved)
    assert [one.name for one in Budgets(ledger).all()] == ["day"]
    assert Budgets(ledger).of("none") is None


def test_what_was_reserved_stays_spent_when_its_plan_names_another_budget(ledger: Ledger) -> None:
    (one,) = committed(ledger, "p1", chunk("a", audio_ms=600), budget="first", budget_ms=600)
    assert isinstance(reserve(ledger, one), Reserved)
    committed(ledger, "p1", chunk("a", audio_ms=600), budget="second", budget_ms=600)
    assert {one.name: one.spent_ms for one in Budgets(ledger).all()} == {"first": 600, "second": 600}


def test_what_was_paid_twice_is_spent_twice(ledger: Ledger) -> None:
    one, two = committed(ledger, "p1", chunk("a", audio_ms=600), chunk("b", audio_ms=600), budget_ms=1700)
    answer = reserve(ledger, one)
    assert isinstance(answer, Reserved)
    submissions = Submissions(ledger)
    submissions.record_duplicate(submissions.record_submitted(answer.record, "t1"), "t2")
    submissions.record_duplicate_cost("t2", 600)
    assert reserve(ledger, two) == OverBudget("day", 1700, 1200)


def test_a_plan_is_committed_in_the_order_in_which_a_reservation_locks(
    ledger: Ledger, ledger_url: str
) -> None:
    """A worker has the plan and is about to take the budget: whoever commits the plan again must not have that one."""
    if ledger_url.startswith("sqlite"):
        pytest.skip("SQLite has one lock for all")
    committed(ledger, "p1", chunk("a"), budget_ms=1000)
    with ledger.engine.begin() as worker:
        worker.execute(sa.select(schema.plans).where(schema.plans.c.plan_id == "p1").with_for_update())
        again = threading.Thread(
            target=lambda: committed(Ledger(ledger.engine, ledger.clock), "p1", chunk("a"), budget_ms=2000)
        )
        again.start()
        waiting = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as other:
            while not other.execute(waiting).scalar():
                assert again.is_alive()
        worker.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
        worker.execute(sa.select(schema.budgets).where(schema.budgets.c.name == "day").with_for_update())
    again.join(20)
    state = Budgets(ledger).of("day")
    assert state is not None
    assert state.limit_ms == 2000


def test_a_chunk_that_is_being_reserved_does_not_stop_a_plan_that_refers_to_it(
    ledger: Ledger, ledger_url: str
) -> None:
    """The worker has the chunk and wants the budget; whoever commits a plan of that chunk has the budget: neither waits for ever."""
    if ledger_url.startswith("sqlite"):
        pytest.skip("SQLite has one lock for all")
    (one,) = committed(ledger, "p1", chunk("a"), budget="shared", budget_ms=1000)
    with ledger.engine.begin() as worker:
        worker.execute(locked(ledger.engine, sa.select(schema.chunks).where(schema.chunks.c.chunk_id == "a")))
        other = Ledger(ledger.engine, ledger.clock)
        again = threading.Thread(
            target=lambda: committed(
                other, "p2", chunk("a"), partition="other", budget="shared", budget_ms=2000
            )
        )
        again.start()
        again.join(20)
        assert not again.is_alive()
    assert isinstance(reserve(ledger, one), Reserved)


def test_what_was_refused_and_is_found_after_all_stays_in_its_budget(ledger: Ledger) -> None:
    """A rebuilt ledger learns of the transcription from the service, which does not know who asked for it."""
    (one,) = committed(ledger, "p1", chunk("a", audio_ms=600), budget="spring", budget_ms=1000)
    answer = reserve(ledger, one)
    assert isinstance(answer, Reserved)
    refused = Submissions(ledger).record_refused(answer.record, "not there")
    found = replace(
        refused,
        plan_id="",
        budget=None,
        transcription_id="t1",
        state=TranscriptionState.SUBMITTED,
        submitted_at=1.0,
    )
    assert restore_chunk(ledger, one.chunk, [found]) == 1
    committed(ledger, "p1", chunk("a", audio_ms=600), budget="summer", budget_ms=1000)
    state = Budgets(ledger).of("spring")
    assert state is not None
    assert state.spent_ms == 600
