import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_emulator.config import Guesses
from speech_emulator.recognisers.model import Phrase, Recognised, Word
from speech_emulator.result_files import Shape, iso_duration, report, result
from speech_emulator.store import AudioFile
from speech_emulator.text_forms import filtered, lexical, punctuated

WORDS = (
    Word("That's", 0, 400, 0.9),
    Word("damn", 400, 600, 0.8),
    Word("good,", 600, 900, 0.99),
    Word("Bob.", 900, 1300, 1),
)
HEARD = Recognised(4120, (0, 1), (Phrase(1, 0, 1300, 0.8, "That's damn good, Bob.", WORDS),))
GUESSES = Guesses()
PROPERTIES = {
    "wordLevelTimestampsEnabled": False,
    "displayFormWordLevelTimestampsEnabled": False,
    "profanityFilterMode": "Masked",
    "punctuationMode": "DictatedAndAutomatic",
}


def shown(guesses=GUESSES, heard=HEARD, **properties):
    return result(
        heard, "https://a.test/x.wav", 0.0, Shape.of({**PROPERTIES, **properties}, "en-US"), guesses
    )


def best(**properties):
    return shown(**properties)["recognizedPhrases"][0]["nBest"][0]


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "PT0S"),
        (40, "PT0.04S"),
        (2180, "PT2.18S"),
        (60_000, "PT1M"),
        (65_001, "PT1M5.001S"),
        (3_600_000, "PT1H"),
        (3_723_000, "PT1H2M3S"),
        (-100, "-PT0.1S"),
    ],
)
def test_durations_are_written_as_the_service_does(ms, text):
    assert iso_duration(ms) == text


def test_every_duration_of_a_minute_is_written_in_full_and_without_an_exponent():
    for ms in range(60_000):
        assert iso_duration(ms) == f"PT{ms // 1000}.{ms % 1000:03}".rstrip("0").rstrip(".") + "S"


def test_forms_differ_by_punctuation_case_and_profanity():
    forms = best()
    assert forms["lexical"] == forms["itn"] == "that's damn good bob"
    assert forms["maskedITN"] == "that's d*** good bob"
    assert forms["display"] == "That's d*** good, Bob."


@pytest.mark.parametrize(
    ("mode", "display", "masked"),
    [
        ("None", "That's damn good, Bob.", "that's damn good bob"),
        ("Removed", "That's good, Bob.", "that's good bob"),
        (
            "Tags",
            "That's <profanity>damn</profanity> good, Bob.",
            "that's <profanity>damn</profanity> good bob",
        ),
        ("Masked", "That's d*** good, Bob.", "that's d*** good bob"),
    ],
)
def test_profanity_is_filtered_as_asked(mode, display, masked):
    forms = best(profanityFilterMode=mode)
    assert (forms["display"], forms["maskedITN"]) == (display, masked)
    assert forms["lexical"] == "that's damn good bob"


def test_punctuation_can_be_switched_off():
    assert best(punctuationMode="None")["display"] == "That's d*** good Bob"


def test_words_come_only_when_asked_for():
    assert not {"words", "displayWords"} & set(best())
    forms = best(wordLevelTimestampsEnabled=True, displayFormWordLevelTimestampsEnabled=True)
    assert [word["word"] for word in forms["words"]] == ["that's", "damn", "good", "bob"]
    assert [word["displayText"] for word in forms["displayWords"]] == ["That's", "d***", "good,", "Bob."]
    assert forms["words"][1]["offsetInTicks"] == 4_000_000.0


def test_ticks_are_floats_in_json_and_milliseconds_can_be_left_out():
    text = json.dumps(shown())
    assert '"offsetInTicks": 0.0' in text
    assert '"durationInTicks": 41200000,' in text
    assert "Milliseconds" not in json.dumps(shown(guesses=Guesses(result_milliseconds=False)))


def test_speakers_and_locales_come_only_with_their_feature():
    phrase = shown()["recognizedPhrases"][0]
    assert not {"speaker", "locale"} & set(phrase)
    phrase = shown(diarization={"enabled": True}, languageIdentification={})["recognizedPhrases"][0]
    assert (phrase["speaker"], phrase["locale"]) == (1, "en-US")


def test_silence_gives_no_phrases_or_an_empty_text():
    silent = Recognised(1000, (0,), ())
    assert shown(heard=silent)["combinedRecognizedPhrases"] == []
    (combined,) = shown(heard=silent, guesses=Guesses(silent_channels="empty_text"))[
        "combinedRecognizedPhrases"
    ]
    assert combined == {"channel": 0, "lexical": "", "itn": "", "maskedITN": "", "display": ""}


def test_a_report_counts_what_it_lists():
    files = [
        AudioFile(position=0, url="https://a.test/0", name="n", outcome="succeeded"),
        AudioFile(
            position=1, url="https://a.test/1", name="n", outcome="failed", error_kind="K", error_message="M"
        ),
        AudioFile(position=2, url="https://a.test/2", name="n", outcome="lost"),
    ]
    made = report(files, Guesses(report_counts="strings"), from_container=False)
    assert (made["successfulTranscriptionsCount"], made["failedTranscriptionsCount"]) == ("1", "1")
    assert len(made["details"]) == 2


@given(st.text())
def test_lexical_text_is_stable_and_lower_case(text):
    assert lexical(lexical(text)) == lexical(text)
    assert lexical(text) == lexical(text).strip()


@given(
    st.lists(st.sampled_from(["damn", "Shit!", "hello", "Bob.", "don't"])),
    st.sampled_from(["None", "Masked", "Tags"]),
)
def test_filtering_keeps_the_number_of_words(words, mode):
    assert len(filtered(words, mode)) == len(words)
    assert len(punctuated(words, "None")) == len(words)


def test_masking_keeps_the_first_letter_and_the_marks():
    assert filtered(["Shit!"], "Masked") == ["S***!"]
