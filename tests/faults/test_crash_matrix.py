"""Processes killed with SIGKILL at the points where they act on the world, and started again. `make faults` plays all points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from faults.matrix import Calm, Case, World, every_point, frozen, is_the_hole, pairs
from faults.points import AFTER, BEFORE, DURING, Kill

SEED = 3


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World.opened(tmp_path_factory.mktemp("crashes")) as opened:
        yield opened


@pytest.fixture(scope="module")
def calm(world: World) -> Calm:
    return world.calm()


def played(world: World, calm: Calm, cases: list[Case]) -> int:
    verdicts = [world.tell(case, calm) for case in cases]
    assert [one for one in verdicts if not one.good] == []
    return sum(one.lives for one in verdicts)


def test_two_calm_runs_are_alike_whatever_runs_them(world: World, calm: Calm) -> None:
    assert world.calm().outcome["tables"] == calm.outcome["tables"]
    tasks = world.calm("tasks")
    assert tasks.outcome["tables"] == calm.outcome["tables"]
    assert tasks.state["accepted"] == calm.state["accepted"] == 4
    assert calm.outcome["partition"] == [12, 11, 1, 0]


def test_a_run_acts_on_the_world_where_the_matrix_can_see_it(calm: Calm) -> None:
    labels = [label.split(" ")[0] for _, label in calm.points]
    assert {"commit", "create", "put", "upload", "copy", "POST", "GET", "DELETE"} <= set(labels)
    assert {kill.side for kill, _ in calm.points} == {BEFORE, DURING, AFTER}
    assert sum(label.startswith("POST") for _, label in calm.points) == 3 * 4


@pytest.mark.parametrize("mode", ["command", "tasks"])
def test_a_kill_around_a_submission_pays_for_nothing_twice(world: World, calm: Calm, mode: str) -> None:
    cases = every_point(calm, mode, at_once=mode == "tasks")
    near = [one for number, one in enumerate(cases) if _near_a_submission(cases, number)]
    some = near[:: 4 if mode == "command" else 6]
    assert played(world, calm, some) == 2 * len(some)


def _near_a_submission(cases: list[Case], number: int) -> bool:
    return any(one.label.startswith("POST") for one in cases[max(0, number - 3) : number + 4])


def test_a_kill_around_publication_leaves_one_version_or_the_other(world: World, calm: Calm) -> None:
    cases = every_point(calm, "command", sides=(DURING, AFTER))
    first = next(number for number, one in enumerate(cases) if one.label.startswith("copy tables/"))
    last = max(
        number for number, one in enumerate(cases) if one.label.startswith("create tables/_partitions")
    )
    played(world, calm, cases[first : last + 3 : 3])


def test_two_kills_anywhere_pay_for_nothing_twice_and_lose_nothing(world: World, calm: Calm) -> None:
    assert played(world, calm, pairs(calm, "command", count=4, seed=SEED)) > 4


def test_a_worker_that_wakes_up_after_another_has_done_its_work_changes_nothing(
    world: World, calm: Calm
) -> None:
    cases = [one for one in frozen(calm) if not is_the_hole(one) and "POST" in one.label][:1]
    cases += [one for one in frozen(calm) if "_partitions" in one.label]
    played(world, calm, cases)


def test_the_named_hole_costs_one_duplicate_and_no_wrong_row(world: World, calm: Calm) -> None:
    hole = next(one for one in frozen(calm) if is_the_hole(one))
    verdict = world.tell(hole, calm)
    assert (verdict.duplicates, verdict.lost, verdict.wrong_rows) == (1, 0, 0)


def test_the_matrix_sees_a_client_that_does_not_look_before_it_submits_again(
    world: World, calm: Calm
) -> None:
    careless = replace(world, sabotage="no look-up")
    after_post = next(kill for kill, label in calm.points if label.startswith("POST") and kill.side == AFTER)
    verdict = careless.tell(Case((after_post,)), calm)
    assert verdict.duplicates == 1
    assert not verdict.good


@pytest.mark.postgres
def test_kills_at_a_ledger_on_postgres(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str
) -> None:
    from contextlib import ExitStack

    from postgres import fresh_database

    with ExitStack() as databases, World.opened(tmp_path_factory.mktemp("postgres")) as world:
        numbers = iter(range(1000))
        world.ledger_urls = lambda: databases.enter_context(
            fresh_database(postgres_server, f"crash_{next(numbers)}")
        )
        calm = world.calm()
        commits = [one for one in every_point(calm, "command") if "commit" in one.label]
        posts = [one for one in every_point(calm, "command", sides=(DURING, AFTER)) if "POST" in one.label]
        played(world, calm, [*commits[::12], *posts[:2]])


def test_a_case_is_named_so_that_it_can_be_replayed() -> None:
    case = Case((Kill(3, AFTER), Kill(17, DURING)), "tasks", at_once=True)
    assert Case.parse(case.name) == case
