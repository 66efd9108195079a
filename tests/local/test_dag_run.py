"""The demo starts the DAG over the REST API, shows how far it is, and says why a task failed."""

import pytest

from local import dag_run
from local.airflow import ApiError
from local.dag_run import (
    DagMissingError,
    EndedRun,
    RunTooSlowError,
    TaskState,
    described,
    graph_order,
    task_states,
)


class FakeApi:
    """Answers from a script: a list of answers is used up one by one, the last one stays."""

    def __init__(self, answers):
        self.answers = answers
        self.sent = []

    def get(self, path):
        answers = self.answers[path.partition("?")[0]]
        answer = answers.pop(0) if isinstance(answers, list) and len(answers) > 1 else answers
        answer = answer[0] if isinstance(answer, list) else answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    def post(self, path, body):
        self.sent.append((path, body))
        return {"dag_run_id": "manual__1"}

    def patch(self, path, body):
        self.sent.append((path, body))


DAG = f"/dags/{dag_run.DAG_ID}"
RUN = f"{DAG}/dagRuns/manual__1"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(dag_run.time, "sleep", lambda _: None)


def instance(task_id, state, map_index=-1):
    return {"task_id": task_id, "state": state, "map_index": map_index}


def test_a_run_is_started_with_the_form_as_the_demo_fills_it_in():
    api = FakeApi({})

    run_id = dag_run.start(api, dag_run.configuration("az://recordings/calls/", "demo"))

    assert run_id == "manual__1"
    ((path, body),) = api.sent
    assert path == f"{DAG}/dagRuns"
    assert body["logical_date"] is None
    assert body["conf"] == {"source": "az://recordings/calls/", "partition": "demo", "locale": "en-US"}


def test_the_dag_is_waited_for_and_then_let_run():
    api = FakeApi(
        {DAG: [ApiError("GET", DAG, 404, ""), ApiError("GET", DAG, 404, ""), {"dag_id": dag_run.DAG_ID}]}
    )

    dag_run.wait_for_dag(api, timeout_seconds=60)

    assert api.sent == [(DAG, {"is_paused": False})]


def test_a_dag_that_cannot_be_imported_is_reported_with_the_reason():
    broken = {
        "filename": "speech_backfill_manifest.py",
        "stack_trace": "ModuleNotFoundError: speech_backfill",
    }
    api = FakeApi({DAG: ApiError("GET", DAG, 404, ""), "/importErrors": {"import_errors": [broken]}})

    with pytest.raises(DagMissingError, match="ModuleNotFoundError"):
        dag_run.wait_for_dag(api, timeout_seconds=-1)


def test_any_other_answer_is_not_waited_for():
    with pytest.raises(ApiError, match="403"):
        dag_run.wait_for_dag(FakeApi({DAG: ApiError("GET", DAG, 403, "no")}), timeout_seconds=60)


def test_a_run_is_followed_to_its_end_and_said_only_when_it_changes():
    said = []
    running, ended = [instance("plan", "running")], [instance("plan", "success")]
    api = FakeApi({
        RUN: [{"state": "queued"}, {"state": "running"}, {"state": "running"}, {"state": "success"}],
        f"{RUN}/taskInstances": [{"task_instances": found} for found in ([], running, running, ended)],
    })  # fmt: skip

    run = dag_run.follow(api, "manual__1", said.append, also=lambda: "1 s heard", timeout_seconds=60)

    assert run.state == "success"
    assert run.tasks == (TaskState("plan", -1, "done"),)
    assert [line.partition("s  ")[2] for line in said] == [
        "waiting for the scheduler | 1 s heard",
        "plan running | 1 s heard",
        "plan done | 1 s heard",
    ]


def test_a_run_that_does_not_end_is_reported_with_its_progress():
    api = FakeApi(
        {RUN: {"state": "running"}, f"{RUN}/taskInstances": {"task_instances": [instance("plan", "running")]}}
    )

    with pytest.raises(RunTooSlowError, match="it is at: plan running"):
        dag_run.follow(api, "manual__1", lambda _: None, also=str, timeout_seconds=-1)


def test_mapped_tasks_are_counted_and_shown_in_the_order_of_the_graph():
    tasks = task_states([
        instance("publish", None),
        instance("transcribe.merge", "success", 0),
        instance("transcribe.submit", "success", 0),
        instance("transcribe.submit", "success", 1),
        instance("transcribe.wait", "deferred", 1),
        instance("transcribe.wait", "success", 0),
        instance("plan", "success"),
    ])  # fmt: skip

    assert described(tasks) == (
        "plan done | submit 2 done | wait 1 done, 1 waiting for the service | merge done"
    )


def test_the_repairs_steps_stand_after_reconcile():
    tasks = ["publish", "repair.submit", "reconcile", "other", "transcribe.merge", "repair.merge", "plan"]

    assert sorted(tasks, key=graph_order) == [
        "plan", "transcribe.merge", "reconcile", "repair.submit", "repair.merge", "publish", "other",
    ]  # fmt: skip


LOG = {
    "content": [
        {"event": "::group::Pre Execute"},
        {"event": "Submitting"},
        {
            "event": "Task failed",
            "error_detail": [{"exc_type": "SourceNotFound", "exc_value": "no such container"}],
        },
    ]
}
FAILED = TaskState("plan", -1, "failed", attempt=2)


def test_the_end_of_a_failed_tasks_log_is_shown():
    api = FakeApi({f"{RUN}/taskInstances/plan/logs/2": LOG})
    run = EndedRun("manual__1", "failed", 3.0, (FAILED, TaskState("publish", -1, "waiting")))

    shown = dag_run.failed_task_logs(api, run)

    assert "plan[-1] failed" in shown
    assert "Task failed SourceNotFound: no such container" in shown
    assert "publish" not in shown
    assert "::group" not in shown


def test_a_log_that_cannot_be_read_does_not_hide_the_failure():
    api = FakeApi({f"{RUN}/taskInstances/plan/logs/2": ApiError("GET", "", 500, "")})

    assert "plan[-1] failed" in dag_run.failed_task_logs(api, EndedRun("manual__1", "failed", 3.0, (FAILED,)))


def test_a_failure_that_is_tried_again_is_told_once_and_at_once():
    said = []
    retrying = [instance("plan", "up_for_retry")]
    api = FakeApi({
        RUN: [{"state": "running"}, {"state": "running"}, {"state": "success"}],
        f"{RUN}/taskInstances": {"task_instances": retrying},
        f"{RUN}/taskInstances/plan/logs/1": LOG,
    })  # fmt: skip

    dag_run.follow(api, "manual__1", said.append, also=str, timeout_seconds=60)

    assert len([line for line in said if "no such container" in line]) == 1
    assert "plan failed and to be tried again" in said[0]
