"""What a part measured last is kept with its source, and the page shows it as it is kept."""

import dataclasses

import pytest

from bench.figures import at_most, told
from bench.record import BEGIN, END, EVERYTHING, Measured, keep, read, rendered, with_tables

ORDER = ["memory", "count"]
MEMORY = Measured(
    part="memory",
    command=EVERYTHING,
    at="2026-11-25 01:00",
    seconds=90.0,
    load=0.5,
    versions="Python 3.11",
    machine="2 cores",
    figures=(at_most("peak memory", 256, 148, "MB"),),
)
COUNT = dataclasses.replace(
    MEMORY,
    part="count",
    command='make bench ARGS="count --write"',
    at="2026-11-20 09:00",
    figures=(told("files", 1e6, ""),),
)


def test_a_part_that_is_measured_again_replaces_its_figures_and_no_others(tmp_path):
    path = tmp_path / "benchmarks.json"
    keep(COUNT, path)
    keep(MEMORY, path)
    newer = dataclasses.replace(MEMORY, at="2026-11-26 01:00")
    keep(newer, path)
    assert read(path) == {"count": COUNT, "memory": newer}


def test_nothing_is_kept_where_nothing_was_measured(tmp_path):
    assert read(tmp_path / "benchmarks.json") == {}


def test_the_tables_name_date_and_command_and_mark_what_another_run_measured():
    assert rendered({"count": COUNT, "memory": MEMORY}, ORDER).splitlines() == [
        "Last `make bench`: 2026-11-25 01:00 UTC. †: carried over from a command of its own, as the second table says.",
        "",
        "| what | goal | measured | on |",
        "|---|---:|---:|---|",
        "| peak memory | ≤ 256 | 148 MB | 2026-11-25 |",
        "| files | | 1,000,000 | 2026-11-20 † |",
        "",
        "| part | command | begun (UTC) | took | load | measured with |",
        "|---|---|---|---:|---:|---:|",
        "| memory | `make bench` | 2026-11-25 01:00 | 1.5 min | 0.5 | 1 |",
        '| count † | `make bench ARGS="count --write"` | 2026-11-20 09:00 | 1.5 min | 0.5 | 1 |',
        "",
        "1. Python 3.11; 2 cores.",
    ]


def test_a_part_that_broke_down_in_the_last_run_is_marked_too():
    older = dataclasses.replace(MEMORY, part="count", at="2026-11-20 01:00")
    assert "| peak memory | ≤ 256 | 148 MB | 2026-11-20 † |" in rendered(
        {"memory": MEMORY, "count": older}, ORDER
    )


def test_other_machines_and_versions_are_told_apart():
    elsewhere = dataclasses.replace(COUNT, machine="64 cores")
    tables = rendered({"memory": MEMORY, "count": elsewhere}, ORDER)
    assert tables.endswith("1. Python 3.11; 2 cores.\n2. Python 3.11; 64 cores.")


def test_only_what_is_between_the_marks_is_written():
    page = f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n"
    assert with_tables(page, "new") == f"before\n\n{BEGIN}\n\nnew\n\n{END}\n\nafter\n"
    with pytest.raises(ValueError, match="lacks the marks"):
        with_tables("no marks", "new")
