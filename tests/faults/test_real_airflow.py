"""A real Airflow, harmed in the middle of a run, ends with the tables of a calm run and pays for nothing twice.

Here a few short stories; `make faults` plays all of them, and the first with fifty chunks.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faults.airflow_stories import STORIES, Story, calm_run
from faults.airflow_world import AirflowWorld, Ended

pytestmark = [pytest.mark.airflow, pytest.mark.azurite, pytest.mark.postgres]

CHUNKS = 8


@pytest.fixture(scope="module")
def world() -> Iterator[AirflowWorld]:
    with AirflowWorld.opened() as opened:
        yield opened


@pytest.fixture(scope="module")
def calm(world: AirflowWorld) -> Ended:
    return calm_run(world, CHUNKS)


@pytest.mark.parametrize("story", [one for one in STORIES if one.quick], ids=lambda one: one.name)
def test_a_harmed_run_ends_as_a_calm_one(world: AirflowWorld, calm: Ended, story: Story) -> None:
    verdict = story.told(world, CHUNKS, calm)
    assert verdict.good, verdict


def test_nothing_that_all_this_has_written_holds_a_secret(world: AirflowWorld, calm: Ended) -> None:
    """Both databases row by row, logs, store, tables and pages: no token, no key, no SAS."""
    assert calm.state == "success"
    assert world.leaks() == []
