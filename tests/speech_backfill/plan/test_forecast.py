"""When a plan will be done: shared out so that the regions end together, within what residency allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_backfill.errors import SettingsError
from speech_backfill.ledger.resources import Backlog
from speech_backfill.ledger.speeds import Speed
from speech_backfill.plan.forecast import forecast, regions_of
from speech_backfill.speech.resource import SpeechKey, SpeechResource


def resource(name: str, region: str, residency: str = "") -> SpeechResource:
    return SpeechResource(name, f"https://{name}.example", SpeechKey("k"), region=region, residency=residency)


def backlog(region: str, hours: float = 0.0, speed: float = 5.0, ends: int = 0) -> Backlog:
    return Backlog(region, (), 0, int(hours * 3_600_000), Speed(speed, None, ends))


def test_two_equal_regions_take_half_each() -> None:
    found = forecast(
        [resource("a", "east"), resource("b", "west")], [backlog("east"), backlog("west")], {"": 100.0}
    )
    assert [(one.hours, one.done_in_hours) for one in found] == [(50.0, 10.0), (50.0, 10.0)]


def test_a_region_with_a_backlog_takes_less_and_all_end_together() -> None:
    found = forecast(
        [resource("a", "east"), resource("b", "west")],
        [backlog("east", 20.0), backlog("west", speed=10.0)],
        {"": 100.0},
    )
    assert [round(one.hours, 6) for one in found] == [20.0, 80.0]
    assert {round(one.done_in_hours, 6) for one in found} == {8.0}


def test_a_region_that_is_busy_for_longer_takes_nothing() -> None:
    found = forecast(
        [resource("a", "east"), resource("b", "west")],
        [backlog("east", 1000.0), backlog("west")],
        {"": 10.0},
    )
    assert [one.hours for one in found] == [0.0, 10.0]


def test_what_must_stay_in_one_region_stays_there() -> None:
    found = forecast(
        [resource("a", "east"), resource("b", "west", "eu")],
        [backlog("east"), backlog("west")],
        {"eu": 60.0, "": 40.0},
    )
    assert [one.hours for one in found] == [40.0, 60.0]


def test_a_residency_that_no_resource_has_is_said() -> None:
    with pytest.raises(SettingsError, match="'moon'"):
        forecast([resource("a", "east")], [backlog("east")], {"moon": 1.0})


def test_resources_of_one_region_are_one_region() -> None:
    made = [resource("a", "east"), resource("b", "east"), resource("c", "")]
    assert regions_of(made) == {"east": ["a", "b"], "the region of c": ["c"]}


def test_what_others_have_planned_goes_first() -> None:
    (found,) = forecast([resource("a", "east")], [backlog("east", 6.0)], {"": 12.0}, others_hours={"": 102.0})
    assert (found.backlog_hours, found.hours, found.done_in_hours) == (108.0, 12.0, 24.0)
    assert "108.00 hours before it" in found.text


def test_of_what_others_have_planned_those_with_less_choice_come_first_too() -> None:
    """60 hours must go to the west; the others' 40 go east before the own 20 look where there is less to do."""
    found = forecast(
        [resource("a", "east"), resource("b", "west", "eu")],
        [backlog("east"), backlog("west")],
        {"": 20.0},
        others_hours={"": 40.0, "eu": 60.0},
    )
    assert [(one.backlog_hours, one.hours) for one in found] == [(40.0, 20.0), (60.0, 0.0)]


def test_others_files_that_may_go_nowhere_are_in_nobodys_way() -> None:
    (found,) = forecast([resource("a", "east")], [backlog("east")], {"": 10.0}, others_hours={"moon": 5.0})
    assert (found.backlog_hours, found.done_in_hours) == (0.0, 2.0)


def test_the_line_for_people_says_what_the_speed_rests_on() -> None:
    (found,) = forecast([resource("a", "east")], [backlog("east", 2.0, ends=40)], {"": 10.0})
    assert (
        found.text
        == "east: 10.00 hours done in 2.40 (5.0 times real time, as in the last 40, 2.00 hours before it)"
    )
    (found,) = forecast([resource("a", "east")], [backlog("east")], {"": 10.0})
    assert "assumed" in found.text


@given(
    regions=st.lists(st.tuples(st.floats(0, 100), st.floats(0.5, 20)), min_size=1, max_size=6),
    hours=st.floats(0.1, 1000),
    others=st.floats(0, 1000),
)
def test_all_hours_are_shared_out_and_nobody_who_gets_some_ends_later_than_another(
    regions: list[tuple[float, float]], hours: float, others: float
) -> None:
    resources = [resource(f"r{n}", f"region {n}") for n in range(len(regions))]
    backlogs = [backlog(f"region {n}", load, speed) for n, (load, speed) in enumerate(regions)]
    found = forecast(resources, backlogs, {"": hours}, others_hours={"": others})
    before = others + sum(load for load, _ in regions)
    assert sum(one.backlog_hours for one in found) == pytest.approx(before, rel=1e-6, abs=1e-6)
    assert sum(one.hours for one in found) == pytest.approx(hours, rel=1e-6)
    used = [one.done_in_hours for one in found if one.hours > 1e-9]
    assert max(used) == pytest.approx(min(used), rel=1e-3, abs=1e-3)
    assert all(one.hours >= -1e-9 for one in found)
