"""Plans in the ledger: committed whole and once, superseded, claimed, published."""

from __future__ import annotations

import threading

import pytest

from speech_backfill.errors import UnknownPlan
from speech_backfill.ledger.ledger import Ledger, NewPlacement, PlansChanged
from speech_backfill.ledger.records import PlanState, Reserved
from speech_backfill.ledger.reservations import Reservations
from speech_backfill.ledger.submissions import Submissions
from speech_backfill.model import Status, TranscriptionRef
from tests.speech_backfill.ledger.records import ALL, chunk, committed, plan, published


def _submitted(submissions: Submissions, placement: object, transcription_id: str) -> None:
    reserved = Reservations(submissions.ledger).reserve(
        placement, owner="w", lease_seconds=10, resources=["east"]
    )
    assert isinstance(reserved, Reserved)
    submissions.record_submitted(reserved.record, transcription_id)


def test_an_unknown_plan_is_named(ledger: Ledger) -> None:
    with pytest.raises(UnknownPlan, match="deadbeef"):
        ledger.plan("deadbeef")
    assert ledger.state("deadbeef") is None


def test_committing_a_plan_twice_changes_nothing(ledger: Ledger) -> None:
    once = committed(ledger, "p1", chunk("a"), chunk("b"))
    assert committed(ledger, "p1", chunk("a"), chunk("b")) == once
    assert [one.chunk.chunk_id for one in once] == ["a", "b"]
    assert [one.files for one in ledger.shards("p1", 0)] == [1, 1]


def test_committing_a_plan_again_takes_the_new_budget(ledger: Ledger) -> None:
    committed(ledger, "p1", chunk("a"), budget_ms=1)
    committed(ledger, "p1", chunk("a"), budget_ms=7)
    assert ledger.plan("p1").budget_ms == 7


def test_a_newer_plan_supersedes_the_open_ones_of_its_partition_only(ledger: Ledger) -> None:
    committed(ledger, "p1", chunk("a"))
    committed(ledger, "other", chunk("x"), partition="another day")
    committed(ledger, "p2", chunk("b"))
    assert ledger.state("p1") is PlanState.SUPERSEDED
    assert ledger.state("p2") is PlanState.OPEN
    assert ledger.state("other") is PlanState.OPEN


def test_a_superseded_plan_is_opened_again_and_a_published_one_stays_published(ledger: Ledger) -> None:
    committed(ledger, "p1", chunk("a"))
    committed(ledger, "p2", chunk("b"))
    committed(ledger, "p1", chunk("a"))
    assert (ledger.state("p1"), ledger.state("p2")) == (PlanState.OPEN, PlanState.SUPERSEDED)
    ledger.record_published(published("p1"))
    committed(ledger, "p1", chunk("a"))
    assert ledger.state("p1") is PlanState.PUBLISHED


def test_the_newest_plan_is_the_latest(ledger: Ledger) -> None:
    assert ledger.latest_plan("day") is None
    committed(ledger, "p1", chunk("a"), created_at=1.0)
    committed(ledger, "p2", chunk("b"), created_at=2.0)
    latest = ledger.latest_plan("day")
    assert latest is not None
    assert latest.plan_id == "p2"


def test_a_plan_that_looked_before_another_claimed_its_files_is_refused(ledger: Ledger) -> None:
    before = ledger.claims("day")
    committed(ledger, "other", chunk("a"), partition="another day")
    with pytest.raises(PlansChanged):
        ledger.commit_plan(plan("p1"), [NewPlacement(chunk("b"), 0, 0, 1)], claims=before, bounds=ALL)
    with pytest.raises(UnknownPlan):
        ledger.plan("p1")


def test_claims_on_files_far_away_do_not_disturb_a_plan(ledger: Ledger) -> None:
    before = ledger.claims("day")
    committed(ledger, "other", chunk("a", url="https://one.example/zzz"), partition="another day")
    bounds = ("https://one.example/a", "https://one.example/b")
    ledger.commit_plan(plan("p1"), [NewPlacement(chunk("b"), 0, 0, 1)], claims=before, bounds=bounds)
    assert ledger.state("p1") is PlanState.OPEN


def test_a_submission_between_look_and_commit_refuses_the_plan(
    ledger: Ledger, submissions: Submissions
) -> None:
    (old,) = committed(ledger, "p1", chunk("a"))
    before = ledger.claims("day")  # p1 is of the same partition and has submitted nothing: no claim yet
    assert before.chunks == ()
    _submitted(submissions, old, "t1")
    with pytest.raises(PlansChanged):
        ledger.commit_plan(plan("p2"), [NewPlacement(chunk("b"), 0, 0, 1)], claims=before, bounds=ALL)
    assert ledger.state("p1") is PlanState.OPEN


def test_a_publication_between_look_and_commit_refuses_the_plan(
    ledger: Ledger, submissions: Submissions
) -> None:
    (old,) = committed(ledger, "other", chunk("a"), partition="another day")
    _submitted(submissions, old, "t1")
    submissions.record_status(TranscriptionRef("east", "t1"), Status.SUCCEEDED, ended_at=1.0, billed_ms=1)
    before = ledger.claims("day")
    assert [one.chunk_id for one in before.chunks] == ["a"]
    ledger.record_published(published("other", partition="another day"))
    with pytest.raises(PlansChanged):
        ledger.commit_plan(plan("p2"), [NewPlacement(chunk("a"), 0, 0, 2)], claims=before, bounds=ALL)


def test_of_two_plans_that_looked_at_once_one_is_refused(ledger: Ledger) -> None:
    looked = threading.Barrier(2)
    answers: list[str] = []

    def commit(partition: str) -> None:
        before = ledger.claims(partition)
        looked.wait(10)
        try:
            ledger.commit_plan(
                plan(f"of {partition}", partition=partition),
                [NewPlacement(chunk(f"chunk of {partition}"), 0, 0, 1)],
                claims=before,
                bounds=ALL,
            )
            answers.append("committed")
        except PlansChanged:
            answers.append("refused")

    threads = [threading.Thread(target=commit, args=(name,)) for name in ("monday", "tuesday")]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(answers) == ["committed", "refused"]


def test_what_is_submitted_and_not_settled_is_claimed_and_what_was_refused_is_not(
    ledger: Ledger, submissions: Submissions
) -> None:
    first, second, _ = committed(ledger, "p1", chunk("a"), chunk("b"), chunk("c"))
    _submitted(submissions, first, "t1")
    reserved = Reservations(ledger).reserve(second, owner="w", lease_seconds=10, resources=["east"])
    assert isinstance(reserved, Reserved)
    assert [one.chunk_id for one in ledger.claims("day").chunks] == ["a", "b"]
    submissions.record_refused(reserved.record, "no")
    assert [one.chunk_id for one in ledger.claims("day").chunks] == ["a"]
    # Another partition sees what this one's open plan still means to submit, too.
    assert [one.chunk_id for one in ledger.claims("another day").chunks] == ["a", "b", "c"]


def test_a_reprocessing_run_claims_only_what_it_planned_itself(
    ledger: Ledger, submissions: Submissions
) -> None:
    (first,) = committed(ledger, "p1", chunk("a"), run_key="nightly")
    _submitted(submissions, first, "t1")
    (own,) = committed(ledger, "p2", chunk("b"), run_key="again", reprocess=True)
    _submitted(submissions, own, "t2")
    assert [one.chunk_id for one in ledger.claims("day", only_run_key="again").chunks] == ["b"]
    assert ledger.reprocessed_chunks("day", "again") == ["b"]
    assert ledger.reprocessed_chunks("day", "nightly") == []


def test_the_next_attempt_comes_after_settling_only(ledger: Ledger, submissions: Submissions) -> None:
    (first,) = committed(ledger, "p1", chunk("a"))
    assert ledger.next_attempts(["a", "unknown"]) == {"a": 1, "unknown": 1}
    _submitted(submissions, first, "t1")
    assert ledger.next_attempts(["a"]) == {"a": 1}
    submissions.record_status(TranscriptionRef("east", "t1"), Status.SUCCEEDED, ended_at=1.0, billed_ms=1)
    ledger.record_published(published("p1"))
    assert ledger.next_attempts(["a"]) == {"a": 2}


def test_publishing_settles_what_has_ended_and_nothing_else(ledger: Ledger, submissions: Submissions) -> None:
    first, second, third = committed(ledger, "p1", chunk("a"), chunk("b"), chunk("c"))
    for placement, name in ((first, "t1"), (second, "t2"), (third, "t3")):
        _submitted(submissions, placement, name)
    submissions.record_status(TranscriptionRef("east", "t1"), Status.SUCCEEDED, ended_at=1.0, billed_ms=1)
    record = submissions.of(second)
    assert record is not None
    submissions.give_up(record, "overdue")
    for _ in range(2):
        ledger.record_published(published("p1"))
        assert [one.settled_at for one in submissions.of_plan("p1")] == [50.0, 50.0, None]
    assert ledger.state("p1") is PlanState.PUBLISHED
    assert [one.version for one in ledger.partitions()] == [1]


def test_a_late_note_does_not_hide_a_newer_publication(ledger: Ledger) -> None:
    committed(ledger, "p1", chunk("a"))
    committed(ledger, "p2", chunk("b"))
    ledger.record_published(published("p2", version=2))
    ledger.record_published(published("p1", version=1))
    partition = ledger.partition("day")
    assert partition is not None
    assert (partition.version, partition.plan_id) == (2, "p2")
    ledger.record_published(published("p2", version=3))
    partition = ledger.partition("day")
    assert partition is not None
    assert partition.version == 3


def test_two_publishers_may_note_the_same_at_once(ledger: Ledger) -> None:
    committed(ledger, "p1", chunk("a"))
    _at_once(8, lambda _: ledger.record_published(published("p1")))
    assert [one.version for one in ledger.partitions()] == [1]


def test_of_workers_that_add_a_repair_at_once_one_does_and_the_others_look_again(ledger: Ledger) -> None:
    committed(ledger, "p1", chunk("a"))
    claims = ledger.claims("day")
    refused: list[int] = []

    def add(number: int) -> None:
        new = [NewPlacement(chunk(f"b{number}"), 0, 0, 1)]
        try:
            ledger.add_round("p1", 1, new, claims=claims, bounds=ALL, placed=[])
        except PlansChanged:
            refused.append(number)

    _at_once(8, add)
    assert len(ledger.placements("p1", 1)) == 1
    assert len(refused) == 7
    assert ledger.rounds("p1") == 2


def test_chunks_that_another_open_plan_has_adopted_are_known(ledger: Ledger) -> None:
    committed(ledger, "p1", chunk("a"), chunk("b"))
    assert ledger.wanted_by_others("p1") == set()
    committed(ledger, "other", chunk("a"), partition="another day")
    assert ledger.wanted_by_others("p1") == {"a"}
    ledger.record_published(published("other", partition="another day"))
    assert ledger.wanted_by_others("p1") == set()


def _at_once(threads: int, action: object) -> None:
    start = threading.Barrier(threads)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        start.wait(10)
        try:
            action(number)
        except BaseException as error:
            errors.append(error)

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    assert errors == []
