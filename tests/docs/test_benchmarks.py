"""The pages of benchmarks and scale show what was recorded, and tell of every part."""

import re

import pytest

from bench import scale
from bench.__main__ import measurements
from bench.parts import PARTS
from bench.record import BEGIN, END, rendered, with_tables
from bench.record import read as recorded
from tests.docs.documents import read

PAGE = "docs/BENCHMARKS.md"


def test_the_table_follows_from_what_is_recorded():
    page = read(PAGE)
    assert page == with_tables(page, rendered(recorded(), [one.name for one in PARTS]))


def test_the_page_of_scale_follows_from_what_is_recorded():
    page = read("docs/SCALE.md")
    assert page == with_tables(page, scale.rendered(recorded()))


def test_what_is_recorded_belongs_to_a_part():
    assert set(recorded()) <= {one.name for one in PARTS}


def test_the_page_explains_every_part_outside_the_table():
    page = read(PAGE)
    by_hand = page.partition(BEGIN)[0] + page.partition(END)[2]
    for one in PARTS:
        assert f"`{one.name}`" in by_hand, one.name


@pytest.mark.parametrize("page", [PAGE, "docs/SCALE.md"])
def test_every_measurement_that_a_command_names_exists(page):
    named = {
        word
        for words in re.findall(r'make bench ARGS="([^"]+)"', read(page))
        for word in re.findall(r"(?<![-\w])[a-z][a-z_]+\b", words)
    }
    assert named, "the page names no command"
    # Options have values in lower case, too: the one that has is known.
    assert named - {"repair"} <= set(measurements()) | {one.name for one in PARTS}
