"""A resource that takes whatever it is given and fails it: seen by how its transcriptions end, and left alone as in other trouble."""

from __future__ import annotations

import pytest

from fakes.speech_service import FakeClock
from speech_backfill.ledger.failures import FAILURES
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import Placement, Reserved, WindowFull
from speech_backfill.ledger.reservations import Reservations
from speech_backfill.ledger.resources import ASIDE_SECONDS, Resources
from speech_backfill.ledger.submissions import Submissions
from speech_backfill.model import Status, TranscriptionRef
from tests.speech_backfill.ledger.records import chunk, committed

BOTH = ("east", "west")


@pytest.fixture
def resources(ledger: Ledger) -> Resources:
    made = Resources(ledger)
    made.register("west", window=4, region="westeurope")
    return made


def reserve(ledger: Ledger, placement: Placement, names: tuple[str, ...] = BOTH) -> object:
    return Reservations(ledger).reserve(placement, owner="w", lease_seconds=60, resources=names)


def submitted(ledger: Ledger, placement: Placement, names: tuple[str, ...] = BOTH) -> TranscriptionRef:
    answer = reserve(ledger, placement, names)
    assert isinstance(answer, Reserved), answer
    name = answer.record.resource
    Submissions(ledger).record_submitted(answer.record, placement.token)
    Resources(ledger).well(name)  # it was taken
    return TranscriptionRef(name, placement.token)


def end(ledger: Ledger, clock: FakeClock, ref: TranscriptionRef, *, problem: str | None = None) -> str | None:
    """It ends a second later: well, or with *problem*, or with "" for its audio's own fault."""
    clock.now += 1
    Submissions(ledger).record_status(
        ref,
        Status.SUCCEEDED if problem is None else Status.FAILED,
        ended_at=clock.now,
        billed_ms=None,
        problem=problem or None,
    )
    return Resources(ledger).heed_end(ref.resource)


def failed(ledger: Ledger, clock: FakeClock, plan_id: str, count: int, problem: str = "Internal: no") -> None:
    """So many fail at the east, one after the other."""
    placed = committed(ledger, plan_id, *(chunk(f"{plan_id}{n}") for n in range(count)), partition=plan_id)
    for one in placed:
        end(ledger, clock, submitted(ledger, one, ("east",)), problem=problem)


@pytest.mark.usefixtures("resources")
def test_a_few_failures_in_a_row_set_it_aside_although_it_takes_more(
    ledger: Ledger, clock: FakeClock
) -> None:
    failed(ledger, clock, "f", FAILURES)
    more = committed(ledger, "p1", *(chunk(f"c{n}") for n in range(4)))
    assert {submitted(ledger, one).resource for one in more} == {"west"}


@pytest.mark.usefixtures("resources")
def test_fewer_or_such_as_are_the_audio_s_own_fault_do_not(ledger: Ledger, clock: FakeClock) -> None:
    failed(ledger, clock, "few", FAILURES - 1)
    failed(ledger, clock, "audio", 1, problem="")
    failed(ledger, clock, "again", FAILURES - 1)
    (one,) = committed(ledger, "p1", chunk("c"))
    assert submitted(ledger, one).resource == "east"


def test_it_is_tried_again_with_one_and_left_alone_for_longer_when_that_fails(
    ledger: Ledger, resources: Resources, clock: FakeClock
) -> None:
    failed(ledger, clock, "f", FAILURES)
    clock.now += ASIDE_SECONDS
    placed = committed(ledger, "p1", *(chunk(f"c{n}") for n in range(6)))
    refs = [submitted(ledger, one) for one in placed[:5]]
    assert [one.resource for one in refs].count("east") == 1
    assert isinstance(reserve(ledger, placed[5]), WindowFull)  # west's is, and the east gets no second one

    (tried,) = (one for one in refs if one.resource == "east")
    assert end(ledger, clock, tried, problem="Internal: still no") is not None
    assert resources.set_aside("east", "seen by another worker") == clock.now + 2 * ASIDE_SECONDS


def test_one_that_ends_well_takes_it_back(ledger: Ledger, resources: Resources, clock: FakeClock) -> None:
    failed(ledger, clock, "f", FAILURES)
    clock.now += ASIDE_SECONDS
    placed = committed(ledger, "p1", *(chunk(f"c{n}") for n in range(9)))
    first = submitted(ledger, placed[0])
    assert first.resource == "east"
    assert end(ledger, clock, first) is None
    assert [submitted(ledger, one).resource for one in placed[1:]].count("east") == 4
    assert resources.set_aside("east", "503") == clock.now + ASIDE_SECONDS  # it begins anew


def test_an_end_takes_nothing_back_that_is_in_other_trouble(
    ledger: Ledger, resources: Resources, clock: FakeClock
) -> None:
    """A region that takes no submissions any more goes on with what it has."""
    placed = committed(ledger, "p1", chunk("a"), chunk("b"))
    ref = submitted(ledger, placed[0], ("east",))
    resources.set_aside("east", "503")
    end(ledger, clock, ref)
    assert submitted(ledger, placed[1]).resource == "west"


@pytest.mark.usefixtures("resources")
def test_where_there_is_nobody_better_it_gets_all_as_before(ledger: Ledger, clock: FakeClock) -> None:
    failed(ledger, clock, "f", FAILURES)
    placed = committed(ledger, "p1", *(chunk(f"c{n}") for n in range(4)))
    assert {submitted(ledger, one, ("east",)).resource for one in placed} == {"east"}


def test_what_failed_says_nothing_of_a_region_s_speed(
    ledger: Ledger, resources: Resources, clock: FakeClock
) -> None:
    failed(ledger, clock, "quick", 9, problem="")
    (east, _) = sorted(resources.backlogs(assumed_speed=5.0), key=lambda one: one.region)
    assert (east.speed.factor, east.speed.ends) == (5.0, 0)
