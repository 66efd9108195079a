"""The sensor defers at once, resumes from the event alone, and fails only when asked to."""

import time

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from azure_speech.events import MalformedEvent, SeenTranscription, TranscriptionsEvent
from azure_speech.sensors.transcriptions import TranscriptionsSensor
from azure_speech.triggers.transcriptions import TranscriptionsTrigger
from speech_backfill.errors import SettingsError
from speech_backfill.model import TranscriptionRef
from speech_backfill.watch.decide import Seen


def sensor(transcriptions, **changes):
    return TranscriptionsSensor(task_id="wait", transcriptions=transcriptions, **changes)


def event(*seen, overdue=()):
    refs = [TranscriptionRef("west", f"t{number}") for number in range(len(seen))]
    transcriptions = tuple(SeenTranscription(ref, one) for ref, one in zip(refs, seen, strict=True))
    return TranscriptionsEvent(transcriptions, tuple(refs[number] for number in overdue)).to_dict()


def deferred(task):
    with pytest.raises(TaskDeferred) as caught:
        task.execute({})
    return caught.value


def test_it_defers_at_once_with_ids_and_numbers():
    refs = [{"resource": "west", "transcription_id": "a"}, {"resource": "north", "transcription_id": "b"}]
    before = time.time()

    deferral = deferred(sensor(refs, deadline_hours=2, poll_interval_seconds=5, first_look_seconds=11))

    assert deferral.method_name == "resume"
    assert not deferral.kwargs
    trigger = deferral.trigger
    assert isinstance(trigger, TranscriptionsTrigger)
    assert trigger.transcriptions == {"west": ["a"], "north": ["b"]}
    assert before + 7200 <= trigger.deadline_at <= time.time() + 7200
    assert (trigger.poll_interval_seconds, trigger.first_look_seconds) == (5, 11)


def test_settings_fill_what_is_not_given(monkeypatch):
    monkeypatch.setenv("SPEECH_BACKFILL_POLL_INTERVAL_SECONDS", "7")

    trigger = deferred(sensor(["a"])).trigger

    assert trigger.poll_interval_seconds == 7
    assert trigger.first_look_seconds == 30
    assert trigger.deadline_at == pytest.approx(time.time() + 48 * 3600, abs=60)


def test_it_waits_until_the_last_is_due_where_that_is_later():
    soon, late = time.time() + 3600, time.time() + 100 * 3600
    refs = [{"transcription_id": "a", "due_at": late}, {"transcription_id": "b", "due_at": None}]

    assert deferred(sensor(refs)).trigger.deadline_at == late
    assert deferred(sensor([{"transcription_id": "a", "due_at": soon}])).trigger.deadline_at == pytest.approx(
        time.time() + 48 * 3600, abs=60
    )
    assert deferred(sensor(refs, deadline_hours=2)).trigger.deadline_at == pytest.approx(
        time.time() + 7200, abs=60
    )


def test_transcriptions_that_someone_else_submitted_are_named_by_id_or_address():
    address = "https://west.example/speechtotext/transcriptions/788a1f24?api-version=2024-11-15"

    trigger = deferred(
        sensor([address, "other", "788a1f24", {"transcription_id": "third"}], azure_speech_conn_id="west")
    ).trigger

    assert trigger.transcriptions == {"west": ["788a1f24", "other", "third"]}


def test_nothing_to_wait_for_is_not_waited_for():
    assert sensor([]).execute({}) == {"succeeded": 0, "failed": 0, "gone": 0, "overdue": []}


@pytest.mark.parametrize(
    "transcriptions", ["788a1f24", [1], [""], [None], [{"resource": "west"}], {"transcription_id": "a"}]
)
def test_what_names_no_transcription_is_refused(transcriptions):
    with pytest.raises(SettingsError):
        sensor(transcriptions).execute({})


def test_the_event_alone_tells_how_it_ended():
    payload = event(Seen.SUCCEEDED, Seen.FAILED, Seen.GONE, Seen.RUNNING, overdue=[3])

    summary = sensor(["unused"]).resume({}, payload)

    assert summary == {
        "succeeded": 1,
        "failed": 1,
        "gone": 1,
        "overdue": [{"resource": "west", "transcription_id": "t3"}],
    }


@pytest.mark.parametrize("seen", [Seen.FAILED, Seen.GONE])
def test_a_failed_transcription_fails_the_task_only_when_asked_to(seen):
    sensor(["a"]).resume({}, event(seen))

    with pytest.raises(AirflowFailException, match="1 of 1 transcriptions"):
        sensor(["a"], fail_on_failed=True).resume({}, event(seen))


def test_success_never_fails_the_task():
    assert sensor(["a"], fail_on_failed=True).resume({}, event(Seen.SUCCEEDED))["succeeded"] == 1


@pytest.mark.parametrize(
    "payload", [None, {"status": "success"}, {"kind": "room", "version": 1, "ended": []}]
)
def test_a_foreign_event_never_passes_for_success(payload):
    with pytest.raises(MalformedEvent):
        sensor(["a"]).resume({}, payload)


def test_it_resumes_as_airflow_resumes_it():
    task = sensor(["a"])

    summary = task.resume_execution("resume", {"event": event(Seen.SUCCEEDED)}, {})

    assert summary["succeeded"] == 1


@pytest.mark.parametrize(
    ("transcriptions", "label"),
    [
        (["a", {"resource": "north", "transcription_id": "b"}], "2 transcriptions · west, north"),
        (["a"], "1 transcription · west"),
        ([], "0 transcriptions · nowhere"),
        (None, "nothing that can be waited for"),
    ],
)
def test_a_mapped_task_says_what_it_waits_for(transcriptions, label):
    assert sensor(transcriptions, azure_speech_conn_id="west").label == label


def test_it_can_be_mapped_over_what_submit_returns():
    with DAG("mapped", schedule=None) as dag:
        TranscriptionsSensor.partial(task_id="wait", retries=2).expand(transcriptions=[["a"], ["b"]])

    assert dag.get_task("wait").is_mapped
