"""Which alternative counts, and what a channel's transcript is made of."""

import math

import pytest

from speech_backfill.results.model import NAN, Alternative, CombinedPhrase, Phrase, ResultFile
from speech_backfill.results.transcript import best_alternatives, channel_texts, main_locale


def phrase(ticks=10_000, *, channel=0, locale=None, confidences=(0.5,), text="x"):
    alternatives = [
        Alternative(confidence=one, display=f"{text}{index}") for index, one in enumerate(confidences)
    ]
    return Phrase(
        offset_ticks=0.0,
        duration_ticks=float(ticks),
        channel=channel,
        locale=locale,
        alternatives=alternatives,
    )


def combined_phrase(channel, display, lexical=None):
    return CombinedPhrase(channel=channel, display=display, lexical=lexical)


def transcripts(phrases, combined=None):
    result = ResultFile(combined_phrases=combined, phrases=phrases)
    return channel_texts(result, [one.channel for one in phrases], best_alternatives(phrases))


@pytest.mark.parametrize(
    ("confidences", "winner"),
    [
        ((0.5,), 0),
        ((0.1, 0.9, 0.3), 1),
        ((0.5, 0.5), 0),
        ((NAN, 0.1), 1),
        ((0.1, NAN), 0),
        ((NAN, NAN), 0),
        ((-1, 0), 1),
    ],
)
def test_the_alternative_with_the_highest_confidence_counts(confidences, winner):
    assert best_alternatives([phrase(confidences=confidences)])[0].display == f"x{winner}"


@pytest.mark.parametrize("alternatives", [None, []])
def test_a_phrase_without_alternatives_has_no_text_and_no_confidence(alternatives):
    (best,) = best_alternatives([Phrase(offset_ticks=0.0, duration_ticks=0.0, alternatives=alternatives)])
    assert best.display is None
    assert math.isnan(best.confidence)


def test_phrases_with_several_alternatives_do_not_change_the_others():
    best = best_alternatives([phrase(text="a"), phrase(confidences=(0.1, 0.9), text="b"), phrase(text="c")])
    assert [one.display for one in best] == ["a0", "b1", "c0"]


def test_the_services_combined_text_is_the_transcript():
    (one,) = transcripts([phrase()], [combined_phrase(0, "Whole.", "whole")])
    assert (one.display, one.lexical, one.itn) == ("Whole.", "whole", None)


def test_a_channel_without_combined_text_gets_its_phrases_text():
    rows = transcripts(
        [phrase(channel=1, text="a"), phrase(channel=0), phrase(channel=1, text="b")],
        [combined_phrase(0, "zero")],
    )
    assert [(row.channel, row.display) for row in rows] == [(0, "zero"), (1, "a0 b0")]


def test_a_channel_without_any_text_has_none_which_is_not_an_empty_one():
    (row,) = transcripts([phrase(confidences=())])
    assert (row.display, row.lexical) == (None, None)
    (row,) = transcripts([], [combined_phrase(1, "")])
    assert (row.channel, row.display, row.lexical) == (1, "", None)


def test_channels_come_in_order_and_two_combined_texts_of_one_are_joined():
    rows = transcripts([], [combined_phrase(2, "c"), combined_phrase(0, "a"), combined_phrase(2, "d")])
    assert [(row.channel, row.display) for row in rows] == [(0, "a"), (2, "c d")]


def test_the_locale_is_the_one_with_most_speech():
    phrases = [phrase(10, locale="de-DE"), phrase(30, locale="en-US"), phrase(15, locale="de-DE"), phrase(99)]
    assert main_locale(phrases) == "en-US"


def test_without_language_identification_there_is_no_locale():
    assert main_locale([phrase()]) is None
