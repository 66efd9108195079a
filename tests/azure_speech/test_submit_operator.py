"""The operator hands the shard to the core and translates its answers; it decides nothing."""

from types import SimpleNamespace

import pytest
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from azure_speech.events import MalformedEvent, RoomEvent
from azure_speech.operators.submit import SubmitTranscriptionsOperator
from azure_speech.retry import is_final, retry_policy
from azure_speech.triggers.room import RoomTrigger
from speech_backfill.errors import (
    BudgetExhausted,
    LedgerUnavailable,
    NothingTaken,
    SettingsError,
    SupersededPlan,
    UnknownPlan,
)
from speech_backfill.model import Shard, TranscriptionRef
from speech_backfill.settings import Settings
from speech_backfill.speech.errors import (
    AnswerLost,
    NotSent,
    RequestRefused,
    ServiceUnavailable,
    Throttled,
    Unauthorized,
)
from speech_backfill.submit import NotYet, Submitted

SHARD = Shard(plan_id="p1", partition="2026-01-01", round=0, index=2, chunks=3, files=2500)
ONE = TranscriptionRef("west", "t1")
TWO = TranscriptionRef("north", "t2")

FINAL = [
    SettingsError("X", "it is wrong", "Correct it."),
    UnknownPlan("p1"),
    BudgetExhausted(
        partition="2026-01-01", budget="b", limit_hours=1, spent_hours=1, files_left=1, hours_left=1
    ),
    SupersededPlan("2026-01-01", "p1"),
    NothingTaken("a shard", hours=48, problems={"west": "it was not reached"}),
    RequestRefused(resource="west", action="submit", http_status=400, code="InvalidLocale", detail="no"),
    Unauthorized(resource="west", action="submit", http_status=401, detail="no"),
]
PASSING = [
    Throttled(resource="west", action="look", retry_after_seconds=None, detail="slow"),
    ServiceUnavailable(resource="west", action="look", detail="503"),
    NotSent(resource="west", action="look", detail="refused"),
    AnswerLost(resource="west", action="submit", detail="reset"),
    LedgerUnavailable("postgres", "down"),
]


class FakePipeline:
    """Answers as it is told, and remembers what it was asked."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = []
        self.settings = Settings()
        self.resources = (SimpleNamespace(name="west"), SimpleNamespace(name="north"))
        self.ledger = SimpleNamespace(clock=lambda: 1000.0)

    def submit(self, shard):
        self.asked.append(shard)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Operator(SubmitTranscriptionsOperator):
    """The operator with a core of the test's own."""

    core = None

    def pipeline(self):
        return self.core


def operator(*answers):
    task = Operator(task_id="submit", shard=SHARD.to_dict())
    task.core = FakePipeline(list(answers))
    return task


def test_a_submitted_shard_is_returned_as_references():
    task = operator(Submitted((ONE, TWO), due_at={ONE: 1000.0}))

    assert task.execute({}) == [
        {"resource": "west", "transcription_id": "t1", "due_at": 1000.0},
        {"resource": "north", "transcription_id": "t2", "due_at": None},
    ]
    assert task.core.asked == [SHARD]


def test_a_full_window_is_waited_out_without_a_worker():
    task = operator(NotYet(5000.0, "every window is full", (ONE, TWO, TranscriptionRef("west", "t3"))))

    with pytest.raises(TaskDeferred) as caught:
        task.execute({})

    trigger = caught.value.trigger
    assert isinstance(trigger, RoomTrigger)
    assert trigger.transcriptions == {"west": ["t1", "t3"], "north": ["t2"]}
    assert trigger.until == 5000.0
    assert (trigger.poll_interval_seconds, trigger.first_look_seconds) == (60, 30)
    assert caught.value.method_name == "resume"
    assert not caught.value.kwargs


def test_after_the_wait_the_core_is_asked_again():
    task = operator(NotYet(5000.0, "full", (ONE,)), Submitted((ONE,)))
    with pytest.raises(TaskDeferred):
        task.execute({})

    result = task.resume_execution("resume", {"event": RoomEvent((ONE,)).to_dict()}, {})

    assert result == [{"resource": "west", "transcription_id": "t1", "due_at": None}]
    assert task.core.asked == [SHARD, SHARD]


def test_a_foreign_event_submits_nothing():
    task = operator(Submitted((ONE,)))

    with pytest.raises(MalformedEvent):
        task.resume({}, {"status": "success"})

    assert task.core.asked == []


@pytest.mark.parametrize("error", FINAL, ids=lambda error: type(error).__name__)
def test_what_a_person_has_to_cure_is_not_tried_again(error):
    with pytest.raises(AirflowFailException) as caught:
        operator(error).execute({})

    assert str(caught.value) == str(error)


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_passing_trouble_is_tried_again_soon(error):
    with pytest.raises(type(error)):
        operator(error).execute({})

    decision = retry_policy().evaluate(error, 1, 3)
    assert decision.action is RetryAction.RETRY
    assert decision.retry_delay is None  # the task's own, which doubles: half an hour of outage is bridged
    assert not is_final(error)


def test_other_errors_follow_the_task_s_own_rules():
    assert retry_policy().evaluate(RuntimeError("?"), 1, 3).action is RetryAction.DEFAULT


def test_the_policy_survives_serialization():
    policy = retry_policy()
    again = type(policy).deserialize(policy.serialize())

    assert again.evaluate(FINAL[-1], 1, 3).action is RetryAction.FAIL


def test_a_mapped_task_carries_the_shard_s_label():
    task = operator()

    assert task.label == "2026-01-01 · shard 3 · 2500 files"
    assert task.map_index_template == "{{ task.label }}"
