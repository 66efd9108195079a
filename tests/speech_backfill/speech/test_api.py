"""The wire format: bodies as the specification has them, answers with everything they may leave out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_backfill.model import Status, TranscriptionOptions
from speech_backfill.speech import api

TRANSCRIPTION = {
    "self": "https://eastus.api.cognitive.microsoft.com/speechtotext/transcriptions/788a1f24?api-version=2024-11-15",
    "displayName": "mine",
    "locale": "en-US",
    "createdDateTime": "2025-05-24T03:20:39Z",
    "lastActionDateTime": "2025-05-24T03:21:39Z",
    "links": {
        "files": "https://eastus.api.cognitive.microsoft.com/speechtotext/transcriptions/788a1f24/files?api-version=2024-11-15"
    },
    "properties": {"timeToLiveHours": 48},
    "status": "NotStarted",
}


def body(options=None, urls=("https://a.example/1.wav",), **changes):
    values = {"display_name": "token", "custom_properties": {}, "time_to_live_hours": 48} | changes
    return api.submit_body(options or TranscriptionOptions(), list(urls), **values)


def test_a_plain_submission_carries_what_the_service_requires():
    assert body() == {
        "displayName": "token",
        "locale": "en-US",
        "contentUrls": ["https://a.example/1.wav"],
        "properties": {
            "timeToLiveHours": 48,
            "wordLevelTimestampsEnabled": False,
            "displayFormWordLevelTimestampsEnabled": False,
            "profanityFilterMode": "Masked",
            "punctuationMode": "DictatedAndAutomatic",
        },
    }


def test_every_option_stands_where_the_specification_has_it():
    options = TranscriptionOptions(
        candidate_locales=("en-US", "de-DE"),
        max_speakers=4,
        channels=(0,),
        word_times=True,
        display_word_times=True,
        profanity="None",
        punctuation="Automatic",
        model="https://x.example/speechtotext/models/base/1",
    )

    made = body(options, custom_properties={"token": "t"})

    assert made["model"] == {"self": "https://x.example/speechtotext/models/base/1"}
    assert made["customProperties"] == {"token": "t"}
    assert made["properties"] == {
        "timeToLiveHours": 48,
        "wordLevelTimestampsEnabled": True,
        "displayFormWordLevelTimestampsEnabled": True,
        "profanityFilterMode": "None",
        "punctuationMode": "Automatic",
        "channels": [0],
        "diarization": {"enabled": True, "maxSpeakers": 4},
        "languageIdentification": {"candidateLocales": ["en-US", "de-DE"], "mode": "Continuous"},
    }


@pytest.mark.parametrize(
    "urls", [[], ["https://a.example/1"] * 2, [f"https://a.example/{n}" for n in range(1001)]]
)
def test_what_no_caller_may_send_is_refused_here(urls):
    with pytest.raises(ValueError, match="a transcription"):
        body(urls=urls)


def test_a_transcription_is_read_in_full():
    ended = TRANSCRIPTION | {
        "status": "Failed",
        "customProperties": {"token": "t"},
        "properties": {"durationMilliseconds": 4711, "error": {"code": "InvalidData", "message": "no audio"}},
    }

    one = api.parse_transcription(json.dumps(ended).encode())

    assert one.transcription_id == "788a1f24"
    assert one.status is Status.FAILED
    assert one.created_at == 1748056839
    assert one.last_action_at == 1748056899
    assert (one.duration_ms, one.error_code, one.error_message) == (4711, "InvalidData", "no audio")
    assert one.custom_properties == {"token": "t"}
    assert "?" not in one.url
    assert one.files_url is not None


@pytest.mark.parametrize("absent", ["displayName", "lastActionDateTime", "links", "properties"])
def test_what_the_service_may_leave_out_is_not_missed(absent):
    values = {key: value for key, value in TRANSCRIPTION.items() if key != absent}

    assert api.parse_transcription(values).transcription_id == "788a1f24"


@pytest.mark.parametrize("absent", ["self", "status", "createdDateTime"])
def test_what_we_can_not_do_without_is_missed(absent):
    values = {key: value for key, value in TRANSCRIPTION.items() if key != absent}

    with pytest.raises(api.Malformed):
        api.parse_transcription(values)


@pytest.mark.parametrize(
    "stamp",
    [
        "2025-05-24T03:20:39Z",
        "2025-05-24T03:20:39.1234567Z",
        "2025-05-24T03:20:39",
        "2025-05-24T05:20:39+02:00",
    ],
)
def test_times_are_utc_in_every_spelling(stamp):
    assert int(api.parse_transcription(TRANSCRIPTION | {"createdDateTime": stamp}).created_at) == 1748056839


@pytest.mark.parametrize(
    ("word", "status"),
    [("NotStarted", Status.NOT_STARTED), ("succeeded", Status.SUCCEEDED), ("Pausing", Status.RUNNING)],
)
def test_an_unknown_status_is_never_an_end(word, status):
    assert api.parse_transcription(TRANSCRIPTION | {"status": word}).status is status


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (b'{"code":"InvalidRequest","message":"a"}', "InvalidRequest", "a"),
        (
            b'{"code":"A","message":"a","innerError":{"code":"B","message":"b","innerError":{"code":"C"}}}',
            "C",
            "b",
        ),
        (b'{"error":{"code":"429","message":"slow"}}', "429", "slow"),
        (b'{"error":"invalid_client"}', "Http400", "invalid_client"),
        (b"<html>gateway</html>", "Http400", "<html>gateway</html>"),
        (b"", "Http400", "an empty answer"),
        (b"[1]", "Http400", "[1]"),
        (b"\xff\xfe", "Http400", "\ufffd\ufffd"),
        (b'{"code":null,"message":null,"innerError":null}', "Http400", "no message"),
    ],
)
def test_every_shape_of_error_body_is_read(answer, code, message):
    assert api.parse_refusal(answer, 400) == api.Refusal(code, message)


@given(st.binary(max_size=200))
def test_no_error_body_is_too_strange(answer):
    assert api.parse_refusal(answer, 500).code


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.text(), c),
    )
)
def test_no_answer_raises_anything_but_malformed(value):
    for parse in (api.parse_transcription, api.parse_transcriptions, api.parse_files):
        with pytest.raises(api.Malformed):
            parse(json.dumps(value).encode())


def test_a_file_does_not_show_its_sas():
    entry = api.ResultEntry("contenturl_0.json", "Transcription", "https://b.example/x?sig=secret", 3)

    assert "secret" not in repr(entry)


def test_filters_are_spelled_as_the_contract_has_them():
    assert api.list_filter() is None
    assert (
        api.list_filter(display_name="a'b", created_after=1748056839.7, status=Status.RUNNING)
        == "displayName eq 'a''b' and createdDateTime ge 2025-05-24T03:20:39Z and status eq 'Running'"
    )
