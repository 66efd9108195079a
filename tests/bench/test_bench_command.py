"""The command over several parts: each in its own process, kept one by one, and one that breaks down costs itself only."""

import json
import sys
from dataclasses import asdict

import pytest

from bench import __main__ as command
from bench import record, scale
from bench.figures import at_most

GOOD, MISSED = at_most("peak", 256, 148, "MB"), at_most("peak", 256, 300, "MB")


@pytest.fixture
def kept(monkeypatch):
    """What would be written into the documents."""
    found = []
    monkeypatch.setattr(record, "keep", found.append)
    monkeypatch.setattr(record, "write_page", lambda _: found.append("page"))
    monkeypatch.setattr(scale, "write_page", lambda: found.append("scale"))
    return found


@pytest.fixture
def measuring(monkeypatch, tmp_path):
    """Let the parts' processes leave *figures* instead of measuring; those named *broken* end with 3."""

    def let(*figures, broken="none"):
        answer = tmp_path / "figures.json"
        answer.write_text(json.dumps([asdict(one) for one in figures]))
        program = tmp_path / "part"
        program.write_text(f'#!/bin/sh\necho at work\n[ "$6" = {broken} ] && exit 3\ncp {answer} "$5"\n')
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))

    return let


def test_named_parts_are_shown_and_not_written(measuring, kept, capsys):
    measuring(GOOD)
    assert command.main(["polling", "merge_memory"]) == 0
    said = capsys.readouterr().out
    assert "polling         | at work" in said
    assert '| merge_memory † | `make bench ARGS="polling merge_memory"` |' in said
    assert kept == []


def test_with_write_each_part_is_kept_and_the_pages_follow(measuring, kept):
    measuring(GOOD)
    assert command.main(["polling", "merge_memory", "--write"]) == 0
    polling, memory, *pages = kept
    assert (polling.part, memory.part, pages) == ("polling", "merge_memory", ["page", "scale"])
    assert polling.figures == (GOOD,)
    assert polling.command == 'make bench ARGS="polling merge_memory --write"'


def test_without_a_name_the_default_set_is_measured_and_written(measuring, kept):
    measuring(GOOD)
    assert command.main([]) == 0
    measured = [one for one in kept if isinstance(one, record.Measured)]
    assert {one.part for one in measured} == {one.name for one in command.PARTS if one.by_default}
    assert {(one.command, one.at) for one in measured} == {("make bench", measured[0].at)}


def test_a_part_that_breaks_down_costs_itself_only(measuring, kept, capsys):
    measuring(GOOD, broken="polling")
    assert command.main(["polling", "fetch", "--write"]) == 1
    assert [one.part for one in kept if isinstance(one, record.Measured)] == ["fetch"]
    assert "broke down   polling" in capsys.readouterr().out


def test_a_goal_that_is_missed_is_named_and_tells_by_the_status(measuring, capsys):
    measuring(MISSED)
    assert command.main(["fetch"]) == 1
    assert "missed       peak" in capsys.readouterr().out


def test_a_name_with_options_goes_to_the_measurement_itself(monkeypatch):
    given = []
    monkeypatch.setattr("bench.polling.main", lambda arguments: given.append(arguments) or 0)
    assert command.main(["polling", "--transcriptions", "10"]) == 0
    assert given == [["--transcriptions", "10"]]
