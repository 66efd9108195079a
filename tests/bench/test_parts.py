"""Every part can be measured as it is described, and the default set keeps within its time."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

from bench.__main__ import AT_A_TIME, main
from bench.parts import PARTS, part

BENCH = Path(__file__).resolve().parents[2] / "bench"
MOST_MINUTES = 40


@pytest.mark.parametrize("one", PARTS, ids=lambda one: one.name)
def test_a_part_is_a_measurement_that_takes_its_options(one):
    rows = importlib.import_module(f"bench.{one.module or one.name}").rows
    inspect.signature(rows).bind(**one.options)


def test_no_two_parts_share_a_name():
    assert len({one.name for one in PARTS}) == len(PARTS)
    assert part("makespan_outage").module == "makespan"


def test_the_default_set_takes_less_than_it_may():
    chosen = [one for one in PARTS if one.by_default]
    one_by_one = sum(one.minutes for one in chosen if one.alone)
    free_at = [one_by_one] * AT_A_TIME
    for one in sorted((one for one in chosen if not one.alone), key=lambda one: -one.minutes):
        free_at[free_at.index(min(free_at))] += one.minutes
    assert max(free_at) < MOST_MINUTES


def test_every_measurement_with_goals_is_a_part():
    """Whoever adds a module with `rows` gets it into the table."""
    with_rows = {
        path.stem
        for path in BENCH.glob("*.py")
        for one in ast.parse(path.read_text()).body
        if isinstance(one, ast.FunctionDef) and one.name == "rows"
    }
    assert with_rows <= {one.module or one.name for one in PARTS}


def test_an_unknown_name_is_refused_and_the_list_names_all(capsys):
    assert main(["no_such_measurement"]) == 2
    assert "unknown: no_such_measurement" in capsys.readouterr().err
