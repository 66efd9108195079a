"""Events are written and read in one place, and nothing else passes for one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azure_speech.events import MalformedEvent, RoomEvent, SeenTranscription, TranscriptionsEvent
from speech_backfill.model import TranscriptionRef
from speech_backfill.watch.decide import Seen

refs = st.builds(TranscriptionRef, st.text(), st.text())
events = st.builds(
    TranscriptionsEvent,
    st.lists(st.builds(SeenTranscription, refs, st.none() | st.sampled_from(list(Seen)))).map(tuple),
    st.lists(refs).map(tuple),
)


@given(events)
def test_a_transcriptions_event_survives_json(event):
    assert TranscriptionsEvent.read(json.loads(json.dumps(event.to_dict()))) == event


@given(st.builds(RoomEvent, st.lists(refs).map(tuple)))
def test_a_room_event_survives_json(event):
    assert RoomEvent.read(json.loads(json.dumps(event.to_dict()))) == event


@pytest.mark.parametrize(
    "payload",
    [
        None,
        "success",
        [],
        {},
        {"status": "success"},
        {"kind": "room", "version": 1, "ended": []},
        {"kind": "transcriptions", "version": 2, "transcriptions": [], "overdue": []},
        {"kind": "transcriptions", "version": 1, "transcriptions": []},
        {"kind": "transcriptions", "version": 1, "transcriptions": None, "overdue": []},
        {"kind": "transcriptions", "version": 1, "transcriptions": ["x"], "overdue": []},
        {
            "kind": "transcriptions",
            "version": 1,
            "transcriptions": [{"resource": "r", "transcription_id": 1, "status": None}],
            "overdue": [],
        },
        {
            "kind": "transcriptions",
            "version": 1,
            "transcriptions": [{"resource": "r", "transcription_id": "t", "status": "Great"}],
            "overdue": [],
        },
    ],
)
def test_what_is_no_transcriptions_event_is_refused(payload):
    with pytest.raises(MalformedEvent, match="Clear this task"):
        TranscriptionsEvent.read(payload)


@pytest.mark.parametrize(
    "payload", [None, {}, {"kind": "room", "version": 1}, {"kind": "room", "version": 1, "ended": [1]}]
)
def test_what_is_no_room_event_is_refused(payload):
    with pytest.raises(MalformedEvent):
        RoomEvent.read(payload)
