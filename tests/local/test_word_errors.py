"""The word error rate counts words, not capitals, punctuation or spelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.word_errors import WordErrors, compare, plain, total

WORDS = st.lists(
    st.sampled_from(["good", "morning", "the", "cat", "has", "an", "egg"]), min_size=1, max_size=12
)


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("Good morning, Anna.", "good morning anna"),
        ("My neighbor has a gray cat.", "My neighbour has a grey cat"),
        ("I can not come.", "I cannot come."),
        ("It doesn't matter.", "It doesn’t matter"),  # noqa: RUF001  the typographic one is meant
    ],
)
def test_the_same_words_are_no_error(said, heard):
    assert compare(said, heard).errors == 0


@pytest.mark.parametrize(
    ("heard", "errors"),
    [
        ("the black cat", 1),
        ("the cat sleeps", 1),
        ("a black cat sleeps", 1),
        ("the big black cat sleeps", 1),
        ("", 4),
    ],
)
def test_missing_wrong_and_additional_words_are_errors(heard, errors):
    assert compare("The black cat sleeps.", heard) == WordErrors(errors, 4)


def test_words_heard_in_silence_are_errors():
    assert compare("", "Thank you.") == WordErrors(2, 0)
    assert compare("", "Thank you.").rate == 1
    assert compare("", " ").rate == 0


def test_a_long_text_weighs_more_than_a_short_one():
    assert total([WordErrors(1, 2), WordErrors(0, 98)]).rate == 0.01


def test_nothing_together_is_nothing():
    assert total([]) == WordErrors(0, 0)


@given(WORDS)
def test_a_text_agrees_with_itself(words):
    assert compare(" ".join(words), " ".join(words)) == WordErrors(0, len(plain(" ".join(words)).split()))


@given(WORDS, WORDS)
def test_there_are_never_fewer_errors_than_the_lengths_differ_by(said, heard):
    assert compare(" ".join(said), " ".join(heard)).errors >= abs(len(said) - len(heard))
