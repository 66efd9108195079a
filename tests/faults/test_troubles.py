"""What the service can do to its client, one trouble at a time, by real HTTP against the emulator."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from faults.matrix import FILES, Calm, World
from faults.troubles import TROUBLES, Trouble, play, play_source_expired, world


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("troubles")) as opened:
        yield opened


@pytest.fixture(scope="module")
def calm(quiet: World) -> Calm:
    return quiet.calm()


def test_a_calm_run_transcribes_everything_in_three_transcriptions(calm: Calm) -> None:
    assert calm.state["accepted"] == 3
    assert {one for one, _ in calm.outcome["outcomes"].values()} == {"transcribed"}
    assert len(set(calm.outcome["content"].values())) == len(FILES)


ALWAYS = (
    "result truncated, once",
    "result truncated, ever",
    "result not_json, once",
    "result not_json, ever",
)
SOME = [
    one
    for number, one in enumerate(TROUBLES)
    if number % 5 == 0 or one.name in ALWAYS or os.environ.get("FAULTS") == "all"
]
"""`make faults` plays all of them; so does FAULTS=all here."""


@pytest.mark.parametrize("trouble", SOME, ids=lambda one: one.name)
def test_every_file_gets_its_outcome_and_is_paid_once_in_spite_of(
    trouble: Trouble, quiet: World, calm: Calm
) -> None:
    verdict = play(quiet, trouble, calm)
    assert verdict.good, "\n".join(verdict.problems) or verdict


def test_a_source_sas_that_ends_in_the_queue_is_cured_by_a_fresh_one(tmp_path: Path) -> None:
    verdict = play_source_expired(tmp_path)
    assert verdict.good, "\n".join(verdict.problems) or verdict


def test_a_trouble_that_is_expected_to_cost_nothing_and_does_is_seen(quiet: World, calm: Calm) -> None:
    (endless,) = (one for one in TROUBLES if one.name == "one never ends")
    verdict = play(quiet, replace(endless, extra=0), calm)
    assert verdict.duplicates == 1
    careless = replace(quiet, sabotage="no look-up")
    (lost,) = (one for one in TROUBLES if one.name == "answer lost: reset")
    assert play(careless, lost, calm).duplicates >= 1
