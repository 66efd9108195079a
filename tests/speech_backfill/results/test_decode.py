"""What `decode_result` accepts, what it refuses, and that it never loses text or leaks a query."""

import json
import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_backfill.errors import SpeechBackfillError
from speech_backfill.results import decode as decode_module
from speech_backfill.results.decode import decode_result
from speech_backfill.results.errors import InvalidResultFile

GOOD = {
    "source": "https://acct.blob.core.windows.net/audio/call%201.wav?sv=2024&sig=secret%3D",
    "timestamp": "2026-11-01T10:00:05Z",
    "durationInTicks": 31_200_000,
    "durationMilliseconds": 3120,
    "duration": "PT3.12S",
    "combinedRecognizedPhrases": [
        {
            "channel": 0,
            "lexical": "good day",
            "itn": "good day",
            "maskedITN": "good day",
            "display": "Good day.",
        }
    ],
    "recognizedPhrases": [
        {
            "recognitionStatus": "Success",
            "channel": 0,
            "speaker": 1,
            "locale": "en-GB",
            "offset": "PT0.5S",
            "duration": "PT1.1S",
            "offsetInTicks": 5000000.0,
            "durationInTicks": 11000000.0,
            "nBest": [
                {
                    "confidence": 0.71,
                    "lexical": "good day",
                    "itn": "good day",
                    "maskedITN": "good day",
                    "display": "Good day.",
                    "words": [
                        {
                            "word": "good",
                            "offsetInTicks": 5000000.0,
                            "durationInTicks": 4000000.0,
                            "confidence": 0.8,
                        }
                    ],
                    "displayWords": [
                        {"displayText": "Good", "offsetInTicks": 5000000.0, "durationInTicks": 4000000.0}
                    ],
                }
            ],
        }
    ],
}


def raw(document=None, **changes) -> bytes:
    return json.dumps({**(GOOD if document is None else document), **changes}).encode()


def phrase_with(**changes) -> bytes:
    kept = {
        name: value for name, value in {**GOOD["recognizedPhrases"][0], **changes}.items() if value is not ...
    }
    return raw(recognizedPhrases=[kept])


def word_with(**changes) -> bytes:
    word = {"word": "good", "offsetInTicks": 1e7, "durationInTicks": 2e6, "confidence": 0.5, **changes}
    kept = {name: value for name, value in word.items() if value is not ...}
    return phrase_with(nBest=[{"confidence": 0.9, "lexical": "good", "words": [kept]}])


def test_a_result_file_of_the_contract_is_read_in_full():
    result = decode_result(raw())
    assert result.source == "https://acct.blob.core.windows.net/audio/call%201.wav"
    assert result.duration_ms == 3120
    assert result.combined_phrases[0].display == "Good day."
    phrase = result.phrases[0]
    assert (phrase.channel, phrase.speaker, phrase.locale, phrase.status) == (0, 1, "en-GB", "Success")
    assert (phrase.offset_ticks, phrase.duration_ticks) == (5_000_000, 11_000_000)
    best = phrase.alternatives[0]
    assert (best.confidence, best.lexical, best.masked_itn) == (0.71, "good day", "good day")
    assert (best.words[0].text, best.words[0].confidence) == ("good", 0.8)
    assert best.display_words[0].text == "Good"
    assert math.isnan(best.display_words[0].confidence)


def test_the_strict_and_the_lenient_reader_agree_on_what_both_read(monkeypatch):
    fast = decode_result(raw())
    refusing = decode_module.msgspec.json.Decoder(int)
    monkeypatch.setattr(decode_module, "_DECODER", refusing)
    slow = decode_result(raw())
    assert repr(slow) == repr(fast).replace("duration_milliseconds=3120.0", "duration_milliseconds=nan")


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b"\r\n  "])
def test_a_byte_order_mark_and_blank_space_before_the_json_do_not_matter(prefix):
    assert decode_result(prefix + raw()).duration_ms == 3120


def test_pretty_printed_json_with_crlf_is_read():
    pretty = json.dumps(GOOD, indent=4).replace("\n", "\r\n").encode()
    assert decode_result(pretty).phrases[0].alternatives[0].display == "Good day."


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (raw()[:-20], "not JSON"),
        (raw() + b"}", "not JSON"),
        (b"<html>gone</html>", "not JSON"),
        (b"[]", "a list instead of an object"),
        (b"null", "null instead of an object"),
        (b"3", "a number instead"),
        (b'"text"', "text instead"),
        (b"true", "a boolean instead"),
        (raw().replace(b"Good day.", b"Good \xff day."), "not UTF-8"),
        (b'{"error":{"code":"NotFound","message":"gone"}}', "no result file"),
        (b'{"details":[],"successfulTranscriptionsCount":0}', "no result file"),
        (raw(recognizedPhrases={}), "recognizedPhrases holds an object instead of a list"),
        (raw(recognizedPhrases=[3]), "recognizedPhrases lists a number"),
        (raw(recognizedPhrases=[None]), "recognizedPhrases lists null"),
        (phrase_with(nBest="no"), "nBest holds text"),
        (phrase_with(nBest=[{"display": 42}]), "display holds a number instead of text"),
        (word_with(word=["good"]), "word holds a list instead of text"),
        (b'{"recognizedPhrases":' + b"[" * 100_000 + b"}", "nested too deeply"),
    ],
)
def test_what_is_no_result_file_is_refused_with_a_reason(body, reason):
    with pytest.raises(InvalidResultFile, match=reason) as caught:
        decode_result(body)
    assert reason in caught.value.reason
    assert isinstance(caught.value, SpeechBackfillError)


def test_the_reason_never_quotes_the_file():
    with pytest.raises(InvalidResultFile) as caught:
        decode_result(raw(timestamp="sig=SECRET")[:-5])
    assert "SECRET" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_result_file_beyond_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr(decode_module, "MAX_RESULT_BYTES", 100)
    with pytest.raises(InvalidResultFile, match="more than the 100 allowed"):
        decode_result(raw())


@pytest.mark.parametrize(
    "name", ["combinedRecognizedPhrases", "recognizedPhrases", "source", "timestamp", "duration"]
)
def test_any_one_field_may_be_absent_or_null(name):
    absent = {key: value for key, value in GOOD.items() if key != name}
    assert decode_result(raw(absent)).duration_ms == 3120
    assert decode_result(raw(**{name: None})).duration_ms == 3120


def test_a_silent_file_has_no_phrases():
    result = decode_result(raw(combinedRecognizedPhrases=[], recognizedPhrases=[]))
    assert (result.phrases, result.combined_phrases) == ([], [])


@pytest.mark.parametrize("alternatives", [..., None, []])
def test_a_phrase_may_come_without_alternatives(alternatives):
    assert not decode_result(phrase_with(nBest=alternatives)).phrases[0].alternatives


@pytest.mark.parametrize(
    ("changes", "offset_ticks"),
    [
        ({"offsetInTicks": 7_600_000}, 7_600_000),
        ({"offsetInTicks": 7_600_000.0, "offsetMilliseconds": 1}, 7_600_000),
        ({"offsetInTicks": "7600000"}, 7_600_000),
        ({"offsetInTicks": ..., "offsetMilliseconds": 760}, 7_600_000),
        ({"offsetInTicks": ..., "offsetMilliseconds": 760.0}, 7_600_000),
        ({"offsetInTicks": None, "offsetMilliseconds": "760"}, 7_600_000),
        ({"offsetInTicks": "NaN", "offset": "PT0.76S"}, 7_600_000),
        ({"offsetInTicks": ..., "offset": "PT1H2M3.5S"}, 37_235_000_000),
        ({"offsetInTicks": ..., "offset": "P1DT1S"}, 864_010_000_000),
    ],
)
def test_times_come_from_ticks_then_milliseconds_then_the_iso_duration(changes, offset_ticks):
    assert decode_result(phrase_with(**changes)).phrases[0].offset_ticks == offset_ticks


@pytest.mark.parametrize("iso", ["", "P", "PT", "3s", 3, None, "PT٣S", "PT" + "9" * 400 + "S", ...])
def test_a_time_that_nothing_tells_is_unknown(iso):
    assert math.isnan(decode_result(phrase_with(offsetInTicks=..., offset=iso)).phrases[0].offset_ticks)


@pytest.mark.parametrize(
    ("top", "duration_ms"),
    [
        ({"durationInTicks": 74_800_000}, 7480),
        ({"durationTicks": 74_800_000}, 7480),
        ({"durationMilliseconds": 7480}, 7480),
        ({"durationMilliseconds": 41200.0}, 41200),
        ({"duration": "PT7.48S"}, 7480),
        ({"durationInTicks": "74800000"}, 7480),
        ({"durationInTicks": None, "durationMilliseconds": 7480}, 7480),
        ({"durationInTicks": int("9" * 31)}, None),
        ({"durationInTicks": 1e400}, None),
        ({}, None),
    ],
)
def test_the_audio_duration_is_found_in_every_version(top, duration_ms):
    body = json.dumps({"source": "https://x/y.wav", "recognizedPhrases": [], **top}).replace(
        "Infinity", "1e400"
    )
    assert decode_result(body.encode()).duration_ms == duration_ms


@pytest.mark.parametrize("confidence", [None, "no number", ..., {}, True])
def test_an_unusable_confidence_is_unknown(confidence):
    result = decode_result(word_with(confidence=confidence))
    assert math.isnan(result.phrases[0].alternatives[0].words[0].confidence)
    assert result.phrases[0].alternatives[0].words[0].text == "good"


def test_a_nan_literal_is_an_unknown_number():
    result = decode_result(raw().replace(b"0.71", b"NaN"))
    assert math.isnan(result.phrases[0].alternatives[0].confidence)


@pytest.mark.parametrize(
    ("given_speaker", "speaker"), [("2", 2), (3.0, 3), (-1, None), (10**31, None), ("x", None)]
)
def test_a_speaker_is_a_small_number_or_unknown(given_speaker, speaker):
    assert decode_result(phrase_with(speaker=given_speaker)).phrases[0].speaker == speaker


@pytest.mark.parametrize(
    ("given_channel", "channel"), [("1", 1), (1.0, 1), (None, 0), (-3, 0), (2**31, 0), (..., 0)]
)
def test_an_unusable_channel_is_channel_0(given_channel, channel):
    assert decode_result(phrase_with(channel=given_channel)).phrases[0].channel == channel


def test_half_a_surrogate_pair_costs_one_character_and_no_text():
    body = raw().replace(b'"Good day."', b'"Good \\ud800 day \\ud83d\\ude00."')
    assert decode_result(body).phrases[0].alternatives[0].display == "Good \ufffd day 😀."


def test_null_words_are_no_words():
    assert (
        decode_result(phrase_with(nBest=[{"confidence": 1, "words": None}])).phrases[0].alternatives[0].words
        is None
    )


def test_text_of_any_script_is_kept():
    said = "Grüß Gott, 你好, שלום, 👩‍👩‍👧‍👦 \u2028 \x00"
    assert decode_result(phrase_with(nBest=[{"display": said}])).phrases[0].alternatives[0].display == said


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_the_one_error(body):
    with suppress(InvalidResultFile):
        decode_result(body)


values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(GOOD)), values, st.sampled_from(sorted(GOOD["recognizedPhrases"][0])), values)
def test_any_value_in_any_field_is_read_or_refused_with_a_reason(top, top_value, inner, inner_value):
    phrase = {**GOOD["recognizedPhrases"][0], inner: inner_value}
    body = json.dumps({**GOOD, "recognizedPhrases": [phrase], top: top_value}).encode()
    with suppress(InvalidResultFile):
        decode_result(body)
