"""Columns that grow hold what was added, in order, whatever is absent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_backfill.tables.growing import RepeatingTexts, Texts, count_column, packed_counts

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
    packed = bytearray()
    for values in additions:
        packed += packed_counts(values)
    assert count_column(packed).to_pylist() == [value for values in additions for value in values]
