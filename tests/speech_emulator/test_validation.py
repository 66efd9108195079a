import pytest

from speech_emulator.config import from_mapping
from speech_emulator.errors import ServiceError
from speech_emulator.validation import api_version, json_object, submission

SETTINGS = from_mapping({})
GOOD = {
    "displayName": "d",
    "locale": "en-US",
    "contentUrls": ["https://a.test/x.wav"],
    "properties": {"timeToLiveHours": 48},
}


def check(body, version="2025-10-15", settings=SETTINGS):
    return submission(body, settings, version)


def refusal(body, **more):
    with pytest.raises(ServiceError) as refused:
        check(body, **more)
    assert refused.value.status == 400
    return refused.value.inner


def test_defaults_are_filled_in():
    assert check(GOOD).properties == {
        "wordLevelTimestampsEnabled": False,
        "displayFormWordLevelTimestampsEnabled": False,
        "channels": [0, 1],
        "punctuationMode": "DictatedAndAutomatic",
        "profanityFilterMode": "Masked",
        "timeToLiveHours": 48,
    }


def test_every_property_that_was_given_is_kept():
    properties = {
        "wordLevelTimestampsEnabled": True,
        "displayFormWordLevelTimestampsEnabled": True,
        "channels": [0],
        "punctuationMode": "None",
        "profanityFilterMode": "Tags",
        "timeToLiveHours": 744,
        "diarization": {"enabled": True, "maxSpeakers": 35},
        "languageIdentification": {"candidateLocales": ["en-US", "de-DE"], "mode": "Continuous"},
    }
    assert check({**GOOD, "properties": properties}).properties == properties


@pytest.mark.parametrize("name", ["displayName", "locale", "properties"])
def test_required_properties_are_required(name):
    assert refusal({key: value for key, value in GOOD.items() if key != name}) == "InvalidPayload"


@pytest.mark.parametrize(
    "source",
    [
        {},
        {"contentUrls": ["https://a.test/x"], "contentContainerUrl": "https://a.test/c?s"},
        {"contentUrls": ["https://a.test/x"], "dataset": {"self": "https://a.test/d"}},
    ],
)
def test_exactly_one_source_is_taken(source):
    body = {key: value for key, value in GOOD.items() if key != "contentUrls"}
    assert refusal({**body, **source}) == "OnlyOneOfUrlsOrContainerOrDataset"


@pytest.mark.parametrize("hours", [None, 5, 745, "48", 48.5, True])
def test_the_time_to_live_lies_between_6_hours_and_31_days(hours):
    assert refusal({**GOOD, "properties": {"timeToLiveHours": hours}}) == "InvalidPayload"


@pytest.mark.parametrize(
    ("properties", "inner"),
    [
        ({"diarization": {"enabled": True, "maxSpeakers": 1}}, "InvalidPayload"),
        ({"diarization": {"enabled": True, "maxSpeakers": 36}}, "InvalidPayload"),
        ({"diarization": "yes"}, "InvalidPayload"),
        ({"languageIdentification": {}}, "InvalidPayload"),
        ({"languageIdentification": {"candidateLocales": ["en-US"]}}, "InvalidPayload"),
        ({"languageIdentification": {"candidateLocales": ["de-DE", "fr-FR"]}}, "InvalidPayload"),
        ({"languageIdentification": {"candidateLocales": ["en-US", "xx"]}}, "InvalidLocale"),
        ({"channels": []}, "InvalidChannels"),
        ({"channels": [0, 0]}, "InvalidChannels"),
        ({"channels": [-1]}, "InvalidChannels"),
        ({"punctuationMode": "automatic"}, "InvalidPayload"),
        ({"profanityFilterMode": "Loud"}, "InvalidPayload"),
        ({"wordLevelTimestampsEnabled": "yes"}, "InvalidPayload"),
        ({"destinationContainerUrl": "https://a.test/c"}, "InvalidPayload"),
        ({"destinationContainerUrl": "c?sig=x"}, "InvalidPayload"),
    ],
)
def test_properties_out_of_range_are_refused(properties, inner):
    assert refusal({**GOOD, "properties": {"timeToLiveHours": 48, **properties}}) == inner


@pytest.mark.parametrize(
    ("change", "inner"),
    [
        ({"contentUrls": []}, "InvalidRecordingsUri"),
        ({"contentUrls": ["audio/x.wav"]}, "InvalidRecordingsUri"),
        ({"contentUrls": ["ftp://a.test/x.wav"]}, "InvalidRecordingsUri"),
        ({"contentUrls": [None]}, "InvalidRecordingsUri"),
        ({"contentUrls": ["https://a.test/x"] * 1001}, "ExceededNumberOfRecordingsUris"),
        ({"locale": "english"}, "InvalidLocale"),
        ({"displayName": ""}, "InvalidPayload"),
        ({"displayName": 7}, "InvalidPayload"),
        ({"model": {"self": "base"}}, "InvalidModelUri"),
        ({"model": "base"}, "InvalidModelUri"),
        ({"customProperties": {str(n): "" for n in range(11)}}, "InvalidPayload"),
        ({"customProperties": {"k" * 65: ""}}, "InvalidPayload"),
        ({"customProperties": {"k": "v" * 257}}, "InvalidPayload"),
        ({"customProperties": {"k": 1}}, "InvalidPayload"),
    ],
)
def test_wrong_bodies_are_refused_with_their_reason(change, inner):
    assert refusal({**GOOD, **change}) == inner


def test_the_limits_themselves_are_allowed():
    body = {**GOOD, "contentUrls": ["https://a.test/x"] * 1000, "customProperties": {"k" * 64: "v" * 256}}
    assert len(check(body).content_urls) == 1000
    for hours in (6, 744):
        check({**GOOD, "properties": {"timeToLiveHours": hours}})


def test_several_reasons_are_told_at_once():
    with pytest.raises(ServiceError) as refused:
        check({**GOOD, "properties": {"timeToLiveHours": 1, "punctuationMode": "x"}})
    assert " OR " in refused.value.message


def test_duplicates_are_kept_unless_switched_off():
    body = {**GOOD, "contentUrls": ["https://a.test/x", "https://a.test/x"]}
    assert len(check(body).content_urls) == 2
    dropping = from_mapping({"guesses": {"duplicate_urls": "drop"}})
    assert len(check(body, settings=dropping).content_urls) == 1


def test_a_project_belongs_to_the_newer_version_only():
    body = {**GOOD, "project": {"self": "https://a.test/projects/1"}}
    assert check(body).project == "https://a.test/projects/1"
    assert check(body, version="2024-11-15").project is None


@pytest.mark.parametrize("query", [{}, {"api-version": "v3.1"}, {"api-version": ""}])
def test_a_missing_or_unknown_version_is_refused(query):
    with pytest.raises(ServiceError) as refused:
        api_version(query)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("body", "inner"),
    [
        (b"", "EmptyRequest"),
        (b"{", "InvalidRequestBodyFormat"),
        (b"[]", "InvalidRequestBodyFormat"),
        (b"\xef\xbb\xbf{}", "InvalidRequestBodyFormat"),
        (b"\xff", "InvalidRequestBodyFormat"),
        (b"[" * 100_000, "InvalidRequestBodyFormat"),
    ],
)
def test_bodies_that_are_no_json_object_are_refused(body, inner):
    with pytest.raises(ServiceError) as refused:
        json_object(body)
    assert refused.value.inner == inner
