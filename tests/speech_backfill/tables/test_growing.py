"""Columns that grow hold what was added, in order, whatever is absent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_backfill.tables.growing import GrowingBytes, RepeatingTexts, Texts, count_column, packed_counts

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@pytest.mark.parametrize("column", [Texts, RepeatingTexts])
@given(st.lists(st.lists(st.none() | text, max_size=5), max_size=4))
def test_texts_come_back_as_they_were_added(column, additions):
    growing = column()
    for values in additions:
        growing.add(values)
    assert growing.array().to_pylist() == [value for values in additions for value in values]


def test_a_repeating_text_is_kept_once():
    growing = RepeatingTexts()
    for values in (["a", "a"], ["b", None, "a"], [None]):
        growing.add(values)
    assert growing.array().dictionary.to_pylist() == ["a", "b"]


@given(st.lists(st.lists(st.none() | st.integers(0, 2**31 - 1), max_size=5), max_size=4))
def test_counts_come_back_as_they_were_added(additions):
    packed = GrowingBytes()
    for values in additions:
        packed += packed_counts(values)
    assert count_column(packed).to_pylist() == [value for values in additions for value in values]


@given(st.lists(st.binary(max_size=3 << 20), max_size=4))
def test_bytes_grow_beyond_their_first_room_and_stay_what_they_were(additions):
    growing = GrowingBytes()
    for more in additions:
        growing += more
    assert bytes(growing.view()) == b"".join(additions)
    assert len(growing) == sum(map(len, additions))


def test_bytes_that_are_seen_stay_where_they_are_while_more_come():
    growing = GrowingBytes()
    growing += b"seen"
    seen = growing.view()
    growing += b"." * (5 << 20)
    assert bytes(seen) == b"seen"
