"""Reservations and leases: window and budget hold, one chunk has one holder, and a sleeper's words count for nothing."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.speech_service import FakeClock
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import (
    Duplicate,
    HeldByAnother,
    Known,
    MustLookUp,
    OverBudget,
    PlanSuperseded,
    Reserved,
    TranscriptionState,
    WindowFull,
)
from speech_backfill.ledger.reservations import Reservations
from speech_backfill.ledger.resources import Resources
from speech_backfill.ledger.submissions import LeaseLost, Submissions
from speech_backfill.model import Status, TranscriptionRef
from tests.speech_backfill.ledger.records import chunk, committed

LEASE = 100.0


def _reserve(ledger: Ledger, placement: object, owner: str = "w", resources: tuple[str, ...] = ("east",)):
    return Reservations(ledger).reserve(placement, owner=owner, lease_seconds=LEASE, resources=resources)


def test_the_intent_is_committed_with_its_token(ledger: Ledger) -> None:
    (one,) = committed(ledger, "p1", chunk("a"))
    answer = _reserve(ledger, one)
    assert isinstance(answer, Reserved)
    again = Ledger(ledger.engine, ledger.clock)
    record = Submissions(again).of(one)
    assert record is not None
    assert record.token == "speech-backfill-a-1"
    assert (record.state, record.posts, record.last_post_at) == (TranscriptionState.INTENDED, 0, None)


def test_another_worker_is_kept_off_until_the_lease_ends_and_must_look_first_then(
    ledger: Ledger, clock: FakeClock
) -> None:
    (one,) = committed(ledger, "p1", chunk("a"))
    assert isinstance(_reserve(ledger, one, "first"), Reserved)
    clock.now += LEASE - 1
    held = _reserve(ledger, one, "second")
    assert held == HeldByAnother(clock.now + 1)
    clock.now += 1
    taken = _reserve(ledger, one, "second")
    assert isinstance(taken, MustLookUp)
    assert taken.record.lease_owner == "second"
    assert taken.record.lease_until == clock.now + LEASE


def test_whoever_slept_past_the_lease_can_write_nothing(
    ledger: Ledger, submissions: Submissions, clock: FakeClock
) -> None:
    (one,) = committed(ledger, "p1", chunk("a"))
    sleeper = _reserve(ledger, one, "sleeper")
    assert isinstance(sleeper, Reserved)
    clock.now += LEASE
    taken = _reserve(ledger, one, "second")
    assert isinstance(taken, MustLookUp)
    for word in (
        lambda: submissions.about_to_post(sleeper.record, lease_seconds=LEASE),
        lambda: submissions.record_submitted(sleeper.record, "t1"),
        lambda: submissions.record_refused(sleeper.record, "no"),
    ):
        with pytest.raises(LeaseLost):
            word()
    submissions.record_submitted(taken.record, "t2")
    record = submissions.of(one)
    assert record is not None
    assert record.transcription_id == "t2"


def test_a_sleeper_whom_nobody_replaced_may_go_on(
    ledger: Ledger, submissions: Submissions, clock: FakeClock
) -> None:
    (one,) = committed(ledger, "p1", chunk("a"))
    answer = _reserve(ledger, one)
    assert isinstance(answer, Reserved)
    clock.now += 10 * LEASE
    assert submissions.record_submitted(answer.record, "t1").state is TranscriptionState.SUBMITTED


def test_putting_on_the_wire_renews_the_lease_and_is_noted(
    ledger: Ledger, submissions: Submissions, clock: FakeClock
) -> None:
    (one,) = committed(ledger, "p1", chunk("a"))
    answer = _reserve(ledger, one)
    assert isinstance(answer, Reserved)
    clock.now += 10
    posted = submissions.about_to_post(answer.record, lease_seconds=LEASE)
    assert (posted.posts, posted.last_post_at, posted.lease_until) == (1, clock.now, clock.now + LEASE)
    assert posted.intent_at == clock.now - 10


def test_what_is_submitted_ended_or_given_up_is_known(ledger: Ledger, submissions: Submissions) -> None:
    one, two = committed(ledger, "p1", chunk("a"), chunk("b"))
    for placement, name in ((one, "t1"), (two, "t2")):
        answer = _reserve(ledger, placement)
        assert isinstance(answer, Reserved)
        submissions.record_submitted(answer.record, name)
        assert isinstance(_reserve(ledger, placement), Known)
    submissions.record_status(TranscriptionRef("east", "t1"), Status.FAILED, ended_at=5.0, billed_ms=0)
    record = submissions.of(two)
    assert record is not None
    submissions.give_up(record, "overdue")
    for placement, state in ((one, TranscriptionState.ENDED), (two, TranscriptionState.GIVEN_UP)):
        answer = _reserve(ledger, placement)
        assert isinstance(answer, Known)
        assert answer.record.state is state


def test_a_refused_row_is_free_again(ledger: Ledger, submissions: Submissions) -> None:
    Resources(ledger).register("east", window=1, region="eastus")
    one, two = committed(ledger, "p1", chunk("a"), chunk("b"), budget_ms=1000)
    first = _reserve(ledger, one)
    assert isinstance(first, Reserved)
    assert isinstance(_reserve(ledger, two), OverBudget)
    submissions.record_refused(first.record, "throttled")
    second = _reserve(ledger, two)
    assert isinstance(second, Reserved)  # neither window nor budget is taken any more
    submissions.record_refused(second.record, "throttled")
    again = _reserve(ledger, one, "another")
    assert isinstance(again, Reserved)
    assert (again.record.attempt, again.record.problem) == (1, None)


def test_a_superseded_plan_submits_nothing_more_and_finds_what_it_submitted(
    ledger: Ledger, submissions: Submissions
) -> None:
    one, two = committed(ledger, "p1", chunk("a"), chunk("b"))
    answer = _reserve(ledger, one)
    assert isinstance(answer, Reserved)
    submissions.record_submitted(answer.record, "t1")
    committed(ledger, "p2", chunk("c"))
    assert isinstance(_reserve(ledger, one), Known)
    assert _reserve(ledger, two) == PlanSuperseded("p1")


def test_the_resource_with_the_least_unfinished_audio_is_taken(
    ledger: Ledger,
) -> None:
    Resources(ledger).register("west", window=4, region="westus")
    placed = committed(
        ledger, "p1", *(chunk(name, audio_ms=size) for name, size in zip("abcd", (9, 1, 1, 1), strict=True))
    )
    taken = [_reserve(ledger, one, resources=("east", "west")).record.resource for one in placed]
    assert taken == ["east", "west", "west", "west"]


def test_a_full_window_names_what_to_wait_for(ledger: Ledger, submissions: Submissions) -> None:
    Resources(ledger).register("east", window=1, region="eastus")
    one, two = committed(ledger, "p1", chunk("a"), chunk("b"))
    answer = _reserve(ledger, one)
    assert isinstance(answer, Reserved)
    assert _reserve(ledger, two) == WindowFull((), ("east",))
    submissions.record_submitted(answer.record, "t1")
    assert _reserve(ledger, two) == WindowFull((TranscriptionRef("east", "t1"),), ("east",))
    submissions.record_status(TranscriptionRef("east", "t1"), Status.RUNNING, ended_at=None, billed_ms=None)
    assert isinstance(_reserve(ledger, two), WindowFull)
    submissions.record_status(TranscriptionRef("east", "t1"), Status.SUCCEEDED, ended_at=1.0, billed_ms=9)
    assert isinstance(_reserve(ledger, two), Reserved)


def test_an_end_is_final(ledger: Ledger, submissions: Submissions) -> None:
    (one,) = committed(ledger, "p1", chunk("a"))
    answer = _reserve(ledger, one)
    assert isinstance(answer, Reserved)
    submissions.record_submitted(answer.record, "t1")
    ref = TranscriptionRef("east", "t1")
    submissions.record_status(ref, Status.SUCCEEDED, ended_at=1.0, billed_ms=9)
    submissions.record_status(ref, Status.RUNNING, ended_at=None, billed_ms=None)
    submissions.record_status(ref, Status.FAILED, ended_at=2.0, billed_ms=0)
    record = submissions.of(one)
    assert record is not None
    submissions.give_up(record, "too late")
    record = submissions.of(one)
    assert record is not None
    assert (record.state, record.status, record.ended_at, record.billed_ms) == ("ended", "Succeeded", 1.0, 9)


def test_the_budget_counts_what_the_plan_took_over(ledger: Ledger, submissions: Submissions) -> None:
    (one,) = committed(ledger, "p1", chunk("a", audio_ms=600))
    answer = _reserve(ledger, one)
    assert isinstance(answer, Reserved)
    submissions.record_submitted(answer.record, "t1")
    _, two = committed(ledger, "p2", chunk("a", audio_ms=600), chunk("b", audio_ms=600), budget_ms=1000)
    assert _reserve(ledger, two) == OverBudget("day", 1000, 600)


def test_a_duplicate_is_noted_once(ledger: Ledger, submissions: Submissions) -> None:
    (one,) = committed(ledger, "p1", chunk("a"))
    answer = _reserve(ledger, one)
    assert isinstance(answer, Reserved)
    for _ in range(2):
        submissions.record_duplicate(answer.record, "t9")
    assert submissions.duplicates_of_plan("p1") == [Duplicate("east", "t9", None)]
    assert submissions.duplicates_of_plan("p2") == []


def test_eight_workers_never_overspend_window_or_budget_and_never_share_a_chunk(
    ledger: Ledger,
) -> None:
    Resources(ledger).register("east", window=3, region="eastus")
    Resources(ledger).register("west", window=2, region="westus")
    placed = committed(ledger, "p1", *(chunk(f"c{n:02}", audio_ms=100) for n in range(14)), budget_ms=1000)
    start = threading.Barrier(8)
    held: Counter[str] = Counter()
    submitted: Counter[str] = Counter()
    problems: list[object] = []
    guard = threading.Lock()

    def work(worker: int) -> None:
        mine, theirs = Submissions(ledger), Reservations(Ledger(ledger.engine, ledger.clock))
        start.wait(20)
        try:
            for turn in range(3):
                for placement in placed[worker:] + placed[:worker]:
                    answer = theirs.reserve(
                        placement,
                        owner=f"{worker}.{turn}.{placement.ordinal}",
                        lease_seconds=LEASE,
                        resources=("east", "west"),
                    )
                    if not isinstance(answer, Reserved):
                        assert not isinstance(answer, MustLookUp), (
                            "the clock stands still: no lease has ended"
                        )
                        continue
                    with guard:
                        held[placement.chunk.chunk_id] += 1
                        if held[placement.chunk.chunk_id] > 1:
                            problems.append(f"two holders of {placement.chunk.chunk_id}")
                    _check_limits(mine, problems)
                    record = mine.about_to_post(answer.record, lease_seconds=LEASE)
                    name = f"t-{placement.chunk.chunk_id}-{worker}-{turn}"
                    with guard:
                        held[placement.chunk.chunk_id] -= 1
                    if (placement.ordinal + worker) % 4 == 0:
                        mine.record_refused(record, "throttled")
                        continue
                    mine.record_submitted(record, name)
                    with guard:
                        submitted[placement.chunk.chunk_id] += 1
                    mine.record_status(
                        TranscriptionRef(record.resource, name), Status.SUCCEEDED, ended_at=1.0, billed_ms=100
                    )
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert problems == []
    assert max(submitted.values()) == 1
    assert 1 <= sum(submitted.values()) <= 10  # 1000 ms of budget, 100 ms each


def _check_limits(submissions: Submissions, problems: list[object]) -> None:
    records = submissions.of_plan("p1")
    counted = [one for one in records if one.state is not TranscriptionState.REFUSED]
    if sum(one.audio_ms for one in counted) > 1000:
        problems.append("over budget")
    for resource, window in (("east", 3), ("west", 2)):
        open_there = [
            one for one in counted if one.resource == resource and one.state in {"intended", "submitted"}
        ]
        if len(open_there) > window:
            problems.append(f"{len(open_there)} unfinished at {resource}, the window is {window}")


@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(["reserve", "submit", "refuse", "end", "give up", "wait", "post"]),
        ),
        max_size=40,
    ),
    window=st.integers(1, 3),
    budget=st.integers(0, 5),
)
@settings(max_examples=40, deadline=None)
def test_any_order_of_steps_keeps_window_and_budget(
    steps: list[tuple[int, str]], window: int, budget: int
) -> None:
    clock = FakeClock()
    ledger = Ledger.open("sqlite://", clock)
    try:
        submissions = Submissions(ledger)
        Resources(ledger).register("east", window=window, region="")
        placed = committed(ledger, "p1", *(chunk(name, audio_ms=1) for name in "abcd"), budget_ms=budget)
        leases: dict[int, object] = {}
        for number, (which, step) in enumerate(steps):
            record = submissions.of(placed[which])
            try:
                if step == "reserve":
                    answer = _reserve(ledger, placed[which], f"w{number}")
                    if isinstance(answer, Reserved | MustLookUp):
                        leases[which] = answer.record
                elif step == "wait":
                    clock.now += LEASE / 2
                elif step == "post" and which in leases:
                    leases[which] = submissions.about_to_post(leases[which], lease_seconds=LEASE)
                elif step == "submit" and which in leases:
                    submissions.record_submitted(leases.pop(which), f"t{number}")
                elif step == "refuse" and which in leases:
                    submissions.record_refused(leases.pop(which), "no")
                elif step == "end" and record is not None and record.ref is not None:
                    submissions.record_status(record.ref, Status.SUCCEEDED, ended_at=1.0, billed_ms=1)
                elif step == "give up" and record is not None:
                    submissions.give_up(record, "overdue")
            except LeaseLost:
                leases.pop(which, None)
            records = submissions.of_plan("p1")
            assert sum(one.state in {"intended", "submitted"} for one in records) <= window
            assert sum(one.state != "refused" for one in records) <= budget
    finally:
        ledger.engine.dispose()
