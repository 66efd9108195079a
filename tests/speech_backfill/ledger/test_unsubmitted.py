"""What others have still to submit: each chunk once, and nothing that is with the service, stopped or nobody's any more."""

from __future__ import annotations

import pytest

from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import Placement, Reserved, TranscriptionRecord
from speech_backfill.ledger.reservations import Reservations
from speech_backfill.ledger.submissions import Submissions
from speech_backfill.ledger.unsubmitted import unsubmitted_ms
from speech_backfill.model import Status, TranscriptionRef
from tests.speech_backfill.ledger.records import chunk, committed, published


def reserved(ledger: Ledger, placement: Placement) -> TranscriptionRecord:
    answer = Reservations(ledger).reserve(placement, owner="w", lease_seconds=60, resources=["east"])
    assert isinstance(answer, Reserved)
    return answer.record


def wanted(ledger: Ledger, *, beside: str = "tonight", but: tuple[str, ...] = ()) -> dict[str, int]:
    return unsubmitted_ms(ledger, beside=beside, but=but)


def test_what_open_plans_of_other_partitions_have_to_submit_counts_by_residency(ledger: Ledger) -> None:
    committed(ledger, "p1", chunk("a", audio_ms=1), chunk("b", audio_ms=2, residency="eu"), partition="mon")
    committed(ledger, "p2", chunk("c", audio_ms=4), chunk("d", audio_ms=8, residency="eu"), partition="tue")
    committed(ledger, "p3", chunk("e", audio_ms=16), partition="tonight")
    assert wanted(ledger) == {"": 5, "eu": 10}
    assert wanted(ledger, but=("a", "d")) == {"": 4, "eu": 2}


def test_a_chunk_of_several_plans_and_rounds_counts_once(ledger: Ledger) -> None:
    committed(ledger, "p1", chunk("a", audio_ms=1), partition="mon")
    committed(ledger, "p2", chunk("a", audio_ms=1), chunk("b", audio_ms=1), partition="tue")
    committed(ledger, "p3", chunk("a", audio_ms=1), partition="wed", attempts=2)
    assert wanted(ledger) == {"": 2}


def test_plans_that_are_superseded_or_published_have_nothing_to_submit(ledger: Ledger) -> None:
    committed(ledger, "p1", chunk("a"), partition="mon")
    committed(ledger, "p2", chunk("b", audio_ms=7), partition="mon")
    assert wanted(ledger) == {"": 7}
    ledger.record_published(published("p2", partition="mon"))
    assert wanted(ledger) == {}


@pytest.mark.parametrize("state", ["intended", "submitted", "ended", "given up"])
def test_what_was_submitted_counts_no_more(ledger: Ledger, submissions: Submissions, state: str) -> None:
    (placement,) = committed(ledger, "p1", chunk("a"), partition="mon")
    assert wanted(ledger) == {"": 1000}
    record = reserved(ledger, placement)
    if state == "given up":
        submissions.give_up(record, "gone")
    elif state != "intended":
        submissions.record_submitted(record, "id")
    if state == "ended":
        submissions.record_status(
            TranscriptionRef("east", "id"), Status.SUCCEEDED, ended_at=1.0, billed_ms=1000
        )
    assert wanted(ledger) == {}
    # The next attempt, of a repair, is to be submitted again.
    committed(ledger, "p2", chunk("a"), partition="tue", attempts=2)
    assert wanted(ledger) == {"": 1000}


def test_what_was_refused_is_to_be_submitted_again(ledger: Ledger, submissions: Submissions) -> None:
    (placement,) = committed(ledger, "p1", chunk("a"), partition="mon")
    submissions.record_refused(reserved(ledger, placement), "no")
    assert wanted(ledger) == {"": 1000}


def test_what_a_budget_has_stopped_is_not_waited_for(ledger: Ledger) -> None:
    one, _ = committed(ledger, "p1", chunk("a"), chunk("b", audio_ms=3), partition="mon")
    Reservations(ledger).stop(one)
    assert wanted(ledger) == {"": 3}
    # … unless another plan stands for it whose budget has not.
    committed(ledger, "p2", chunk("a"), partition="tue")
    assert wanted(ledger) == {"": 1003}
