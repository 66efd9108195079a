"""Which alternative counts, and what a channel's transcript is made of."""

import math

import pytest

from speech_backfill.results.model import NAN, Alternative, CombinedPhrase, Phrase, ResultFile
from speech_backfill.results.transcript import best_alternatives, channel_transcripts, main_locale


def phrase(ticks=10_000, *, channel=0, locale=None, confidences=(0.5,), text="x"):
    alternatives = [
        Alternative(confidence=one, display=f"{text}{index}") for index, one in enumerate(confidences)
    ]
    return Phrase(0.0, float(ticks), channel=channel, locale=locale, alternatives=alternatives)


def transcripts(phrases, combined=None):
    result = ResultFile(combined_phrases=combined, phrases=phrases)
    return channel_transcripts(result, phrases, best_alternatives(phrases))


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
    (best,) = best_alternatives([Phrase(0.0, 0.0, alternatives=alternatives)])
    assert best.display is None
    assert math.isnan(best.confidence)


def test_the_services_combined_text_is_the_transcript():
    (one,) = transcripts([phrase()], [CombinedPhrase(channel=0, display="Whole.", lexical="whole")])
    assert (one.display, one.lexical, one.itn) == ("Whole.", "whole", None)


def test_a_channel_without_combined_text_gets_its_phrases_text():
    rows = transcripts(
        [phrase(channel=1, text="a"), phrase(channel=0), phrase(channel=1, text="b")],
        [CombinedPhrase(0, "zero")],
    )
    assert [(row.channel, row.display) for row in rows] == [(0, "zero"), (1, "a0 b0")]


def test_a_channel_with_combined_text_only_has_a_transcript_without_confidence():
    (row,) = transcripts([], [CombinedPhrase(1, "")])
    assert (row.channel, row.display, row.phrase_count, row.speech_ms) == (1, "", 0, 0)
    assert math.isnan(row.confidence)


def test_channels_come_in_order_and_two_combined_texts_of_one_are_joined():
    rows = transcripts([], [CombinedPhrase(2, "c"), CombinedPhrase(0, "a"), CombinedPhrase(2, "d")])
    assert [(row.channel, row.display) for row in rows] == [(0, "a"), (2, "c d")]


@pytest.mark.parametrize(
    ("phrases", "mean"),
    [
        ([phrase(30_000, confidences=(0.9,)), phrase(10_000, confidences=(0.5,))], 0.8),
        ([phrase(30_000, confidences=(0.9,)), phrase(10_000, confidences=(NAN,))], 0.9),
        ([phrase(0, confidences=(0.9,)), phrase(NAN, confidences=(0.5,))], 0.7),
        (
            [
                phrase(-5, confidences=(0.9,)),
                phrase(1e30, confidences=(0.1,)),
                phrase(10, confidences=(0.5,)),
            ],
            0.5,
        ),
        ([phrase(-10_000, confidences=(0.9,)), phrase(10_000, confidences=(0.5,))], 0.5),
        ([phrase(0, confidences=(NAN,))], NAN),
    ],
)
def test_confidence_is_weighted_by_duration_and_leaves_out_what_is_unknown(phrases, mean):
    assert transcripts(phrases)[0].confidence == pytest.approx(mean, nan_ok=True)


def test_speech_time_leaves_out_durations_beyond_belief():
    assert transcripts([phrase(20_000), phrase(1e30), phrase(NAN), phrase(-10_000)])[0].speech_ms == 2


def test_the_locale_is_the_one_with_most_speech():
    phrases = [phrase(10, locale="de-DE"), phrase(30, locale="en-US"), phrase(15, locale="de-DE"), phrase(99)]
    assert main_locale(phrases) == "en-US"
    assert transcripts(phrases)[0].locale == "en-US"


def test_without_language_identification_there_is_no_locale():
    assert main_locale([phrase()]) is None
