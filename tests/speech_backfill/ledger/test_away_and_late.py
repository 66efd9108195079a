"""Placements that keep away from a resource, and those that take a late success, on both databases."""

from __future__ import annotations

from dataclasses import replace

from fakes.speech_service import FakeClock
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import Known, Placement, Reserved, WindowFull
from speech_backfill.ledger.reservations import Reservations
from speech_backfill.ledger.resources import Resources
from speech_backfill.ledger.submissions import Submissions
from speech_backfill.model import Status, TranscriptionRef
from tests.speech_backfill.ledger.records import chunk, committed

BOTH = ["east", "west"]


def reserve(submissions: Submissions, placement: Placement, resources: list[str]) -> object:
    return Reservations(submissions.ledger).reserve(
        placement, owner="w", lease_seconds=60, resources=resources
    )


def test_another_resource_is_taken_if_there_is_one_even_if_it_is_full(
    ledger: Ledger, submissions: Submissions
) -> None:
    Resources(ledger).register("west", window=1, region="westeurope")
    first, second, third = (
        replace(one, away_from="east") for one in committed(ledger, "p1", chunk("a"), chunk("b"), chunk("c"))
    )
    answer = reserve(submissions, first, BOTH)
    assert isinstance(answer, Reserved)
    assert answer.record.resource == "west"
    assert isinstance(reserve(submissions, second, BOTH), WindowFull)
    answer = reserve(submissions, third, ["east"])
    assert isinstance(answer, Reserved)
    assert answer.record.resource == "east"


def test_a_late_success_takes_the_place_of_the_next_attempt_unless_that_is_under_way(
    ledger: Ledger, submissions: Submissions, clock: FakeClock
) -> None:
    (placement,) = committed(ledger, "p1", chunk("a"))
    answer = reserve(submissions, placement, ["east"])
    assert isinstance(answer, Reserved)
    record = submissions.record_submitted(answer.record, "t1")
    submissions.give_up(record, "past its deadline")
    submissions.settle(record)
    (again,) = committed(ledger, "p2", chunk("a"), attempts=2)
    (late,) = submissions.given_up_before(again)
    submissions.record_status(TranscriptionRef("east", "t1"), Status.SUCCEEDED, ended_at=clock(), billed_ms=7)
    assert submissions.take_late(again, late)
    answer = reserve(submissions, again, ["east"])
    assert isinstance(answer, Known)
    assert (answer.record.transcription_id, answer.record.billed_ms) == ("t1", 7)
    (other,) = committed(ledger, "p3", chunk("a"), attempts=2)
    assert isinstance(reserve(submissions, other, ["east"]), Reserved)
    assert not submissions.take_late(other, late)
