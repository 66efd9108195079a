"""What a look means, without clock and network."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_backfill.watch.decide import Ended, Overdue, Seen, Wait, decide, interval


def verdict(seen, *, wanted=("a", "b"), now=100.0, until="all"):
    return decide(wanted, seen, now=now, deadline_at=1000.0, interval_seconds=60.0, until=until)


@pytest.mark.parametrize("end", [Seen.SUCCEEDED, Seen.FAILED, Seen.GONE])
def test_all_ended_is_an_end_whatever_the_ends_are(end):
    assert verdict({"a": end, "b": Seen.SUCCEEDED}) == Ended({"a": end, "b": Seen.SUCCEEDED})


@pytest.mark.parametrize("seen", [{}, {"a": Seen.SUCCEEDED}, {"a": Seen.SUCCEEDED, "b": Seen.RUNNING}])
def test_what_has_not_ended_is_waited_for(seen):
    assert verdict(seen) == Wait(60.0)


def test_an_end_beats_the_deadline():
    seen = {"a": Seen.SUCCEEDED, "b": Seen.FAILED}

    assert verdict(seen, now=2000.0) == Ended(seen)


def test_the_overdue_are_named_and_the_ended_kept():
    seen = {"a": Seen.SUCCEEDED, "b": Seen.RUNNING}

    assert verdict(seen, now=1000.0, wanted=("a", "b", "never-seen")) == Overdue(seen, ("b", "never-seen"))


def test_no_wait_goes_past_the_deadline():
    assert verdict({}, now=990.0) == Wait(10.0)


def test_one_end_is_enough_for_whoever_waits_for_room():
    assert verdict({"b": Seen.SUCCEEDED}, until="any") == Ended({"b": Seen.SUCCEEDED})
    assert verdict({"b": Seen.RUNNING}, until="any") == Wait(60.0)


def test_waiting_for_nobody_is_waiting_for_the_moment():
    assert verdict({}, wanted=(), until="all") == Ended({})
    assert verdict({}, wanted=(), until="any") == Wait(60.0)
    assert verdict({}, wanted=(), until="any", now=1000.0) == Overdue({}, ())


@given(
    st.sets(st.sampled_from("abcdef")),
    st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(list(Seen))),
    st.floats(0, 2000),
    st.sampled_from(["all", "any"]),
)
def test_a_verdict_names_every_wanted_id_and_no_other(wanted, seen, now, until):
    made = verdict(seen, wanted=wanted, now=now, until=until)

    match made:
        case Ended(seen=known):
            assert set(known) <= wanted
        case Overdue(seen=known, overdue=overdue):
            assert {one for one, what in known.items() if what.over} | set(overdue) == wanted
        case Wait(seconds=seconds):
            assert 0 < seconds <= 60


@given(st.floats(1, 600), st.floats(-100, 1e6), st.integers(0, 100), st.floats(0, 1), st.floats(0, 1e5))
def test_the_service_is_never_asked_more_often_than_it_likes(poll, age, failed, draw, advised):
    seconds = interval(
        poll_interval_seconds=poll,
        youngest_age_seconds=age,
        failed_looks=failed,
        draw=draw,
        advised_seconds=advised,
    )

    assert poll <= seconds <= poll * 11.001


def test_old_work_is_looked_at_more_rarely():
    def after(age):
        return interval(poll_interval_seconds=60, youngest_age_seconds=age, failed_looks=0, draw=0)

    assert [after(0), after(3600), after(7200), after(86_400)] == [60, 180, 360, 600]
