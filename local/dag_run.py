"""Start a DAG run over Airflow's REST API and follow it to its end. The one place that knows the DAG's parameters."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from local.airflow import Api, ApiError
from local.errors import LocalStackError, indented

DAG_ID = "speech_backfill_manifest"
ENDED = {"success", "failed"}
FAILED_ONCE = "failed and to be tried again"
STATES = {
    "": "waiting",
    "success": "done",
    "deferred": "waiting for the service",
    "up_for_retry": FAILED_ONCE,
}
"""What Airflow's states mean here, where its own word does not say it."""

QUIET = {"waiting", "skipped"}
FIRST_ROUND = "transcribe."
"""The task group of the shards; without it, the line is short enough to read."""

STEPS = ("plan", "submit", "wait", "merge", "reconcile", "repair", "publish")


def configuration(source: str, partition: str) -> dict[str, Any]:
    """The form of the DAG as the demo fills it in; everything else stays at the form's defaults."""
    return {"source": source, "partition": partition, "locale": "en-US"}


class DagMissingError(LocalStackError):
    """Airflow has not loaded the DAG."""

    def __init__(self, *, waited_seconds: float, import_errors: Iterable[str]) -> None:
        errors = "\n".join(import_errors)
        said = (
            f"Its import errors are:\n\n{indented(errors)}\n" if errors else "It reports no import error.\n"
        )
        super().__init__(
            f"Airflow does not show the DAG {DAG_ID} after {waited_seconds:.0f} seconds. {said}"
            "Nothing was submitted. Look into .stack/logs/dag-processor.log."
        )


class RunTooSlowError(LocalStackError):
    """The run did not end in time."""

    def __init__(self, run_id: str, *, waited_seconds: float, progress: str) -> None:
        super().__init__(
            f"The run {run_id} has not ended after {waited_seconds:.0f} seconds; it is at: {progress}. What it has "
            "submitted is remembered and will not be paid for twice.\nRun the same command again, or give it longer: "
            "DEMO_TIMEOUT_SECONDS=3600 make demo"
        )


@dataclass(frozen=True)
class TaskState:
    """One task instance as the progress shows it."""

    task_id: str
    map_index: int
    state: str
    attempt: int = 1


@dataclass(frozen=True)
class EndedRun:
    """How a run ended."""

    run_id: str
    state: str
    seconds: float
    tasks: tuple[TaskState, ...]


def wait_for_dag(api: Api, *, timeout_seconds: float) -> None:
    """Return when Airflow has loaded the DAG, and let it run; raises DagMissingError."""
    began = time.monotonic()
    while True:
        try:
            api.get(f"/dags/{DAG_ID}")
            break
        except ApiError as error:
            if error.status != 404:
                raise
        if time.monotonic() - began > timeout_seconds:
            found = api.get("/importErrors")["import_errors"]
            texts = [f"{one['filename']}: {one['stack_trace']}" for one in found]
            raise DagMissingError(waited_seconds=timeout_seconds, import_errors=texts)
        time.sleep(1)
    api.patch(f"/dags/{DAG_ID}", {"is_paused": False})


def start(api: Api, conf: Mapping[str, Any]) -> str:
    """Start a run with *conf* and return its id. Raises ApiError."""
    run: dict[str, Any] = api.post(f"/dags/{DAG_ID}/dagRuns", {"logical_date": None, "conf": dict(conf)})
    return str(run["dag_run_id"])


def follow(
    api: Api,
    run_id: str,
    say: Callable[[str], None],
    *,
    also: Callable[[], str],
    timeout_seconds: float,
    every_seconds: float = 2.0,
) -> EndedRun:
    """Say what the tasks do, and what *also* returns, whenever that changes, until the run has ended.

    Airflow is asked *every_seconds*, which costs its API server time.

    Raises RunTooSlowError.
    """
    began = time.monotonic()
    said = ""
    told: set[TaskState] = set()
    where = f"/dags/{DAG_ID}/dagRuns/{quote(run_id, safe='')}"
    while True:
        state = str(api.get(where)["state"])
        tasks = task_states(api.get(f"{where}/taskInstances?limit=1000")["task_instances"])
        seconds = time.monotonic() - began
        progress = f"{described(tasks)} | {also()}"
        if progress != said:
            say(f"run      {seconds:>4.0f} s  {progress}")
            said = progress
        for task in tasks:
            if task.state == FAILED_ONCE and task not in told:
                told.add(task)
                say(indented(f"{task.task_id}, attempt {task.attempt}:\n{log_tail(api, run_id, task)}"))
        if state in ENDED:
            return EndedRun(run_id, state, seconds, tasks)
        if seconds > timeout_seconds:
            raise RunTooSlowError(run_id, waited_seconds=timeout_seconds, progress=progress)
        time.sleep(every_seconds)


def task_states(instances: Iterable[Mapping[str, Any]]) -> tuple[TaskState, ...]:
    """What the API says of the task instances; one without a state yet waits for those before it."""
    return tuple(
        TaskState(
            task_id=str(one["task_id"]),
            map_index=int(one["map_index"]),
            state=STATES.get(one["state"] or "", one["state"]),
            attempt=int(one.get("try_number") or 1),
        )
        for one in instances
    )


def described(tasks: Iterable[TaskState]) -> str:
    """The tasks in one line: by task, in the order of the graph, how many are in which state."""
    states: dict[str, Counter[str]] = {}
    for task in tasks:
        states.setdefault(task.task_id, Counter())[task.state] += 1
    parts = []
    for task_id in sorted(states, key=graph_order):
        # What waits for others, or was left out, says nothing of the run's progress.
        counts = {state: number for state, number in states[task_id].items() if state not in QUIET}
        several = states[task_id].total() > 1
        listed = ", ".join(
            f"{number} {state}" if several else state for state, number in sorted(counts.items())
        )
        if listed:
            parts.append(f"{task_id.removeprefix(FIRST_ROUND)} {listed}")
    return " | ".join(parts) or "waiting for the scheduler"


def graph_order(task_id: str) -> tuple[bool, int, str]:
    """Where a task stands in the graph: the repair's steps after the first round's."""
    group, _, step = task_id.rpartition(".")
    position = STEPS.index(step) if step in STEPS else len(STEPS)
    if "repair" in group:
        return (False, STEPS.index("repair"), f"{position}{task_id}")
    return (False, position, task_id) if step in STEPS else (True, position, task_id)


def failed_task_logs(api: Api, run: EndedRun, *, dag_id: str = DAG_ID) -> str:
    """The end of the log of each task that failed, for the message."""
    failed = [task for task in run.tasks if task.state == "failed"]
    return "\n".join(
        f"{task.task_id}[{task.map_index}] failed:\n{indented(log_tail(api, run.run_id, task, dag_id=dag_id))}"
        for task in failed
    )


def log_tail(api: Api, run_id: str, task: TaskState, lines: int = 12, *, dag_id: str = DAG_ID) -> str:
    """The last *lines* that one attempt of a task has logged; a log that cannot be read must not hide the failure."""
    where = (
        f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task.task_id}/logs/{task.attempt}"
    )
    try:
        content = api.get(f"{where}?map_index={task.map_index}&full_content=true")["content"]
        said = [line for entry in content if not (line := _log_line(entry)).startswith("::")]
    except (ApiError, OSError, KeyError, TypeError, ValueError):
        return "(its log cannot be read; it is below .stack/airflow/logs)"
    return "\n".join(said[-lines:])


def _log_line(entry: Any) -> str:
    if not isinstance(entry, Mapping):
        return str(entry)
    detail = entry.get("error_detail") or []
    errors = [f"{one.get('exc_type')}: {one.get('exc_value')}" for one in detail if isinstance(one, Mapping)]
    return " ".join([str(entry.get("event", "")), *errors])
