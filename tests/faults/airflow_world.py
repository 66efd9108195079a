"""A real Airflow to be harmed: scheduler, two triggerers, DAG processor and API server on PostgreSQL, and ways to hurt each of them.

The synthetic recogniser stands in for listening, and every transcription takes a moment. Everything is begun anew for each
story: ledger, store and emulator forget, so that two stories of the same files must end with the same tables.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil
import sqlalchemy as sa

from azurite import KEY
from end_to_end.deployment import Deployment, until
from end_to_end.leaks import everything, leaks
from fakes.identity import Identity, managed_identity
from local import azurite
from local.airflow import ApiError
from local.ports import SPEECH_VARIABLE, free_port
from local.processes import Record
from local.scratch import running
from local.stack import RECORDINGS_CONTAINER, STORE_CONTAINER
from postgres import fresh_database, postgres_running

DAG = "speech_backfill_manifest"
DAILY = "speech_backfill_daily"
PARTITION = "harmed"
DAY = "2026-11-01"
FILES_PER_CHUNK = 4

SETTINGS = {
    "SPEECH_RECOGNISER": "synthetic",
    "SPEECH_BACKFILL_FILES_PER_TRANSCRIPTION": str(FILES_PER_CHUNK),
    "SPEECH_BACKFILL_POLL_INTERVAL_SECONDS": "2",
    "SPEECH_BACKFILL_FIRST_LOOK_SECONDS": "10",
    "SPEECH_BACKFILL_MAX_SHARDS": "10",
    "SPEECH_BACKFILL_SUBMIT_TIMEOUT_SECONDS": "8",
    "SPEECH_BACKFILL_LEASE_SECONDS": "12",
    "SPEECH_BACKFILL_LOOKUP_GRACE_SECONDS": "5",
    "SPEECH_BACKFILL_DAILY_SOURCE": "az://recordings/harmed-days/{date:%Y/%m/%d}/",
}

AIRFLOW_SETTINGS = {
    # What is dead is noticed within seconds rather than minutes.
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
}

OWN = frozenset({"transcription_id", "merged_at", "part"})
"""Columns that tell one run from another."""

_TABLES = ("outcomes", "transcripts", "phrases", "words")


@dataclass(frozen=True)
class Ended:
    """What a story came to, as readers and the service see it."""

    state: str
    tables: dict[str, str]
    """A digest of the rows of each table, without what tells one run from another."""
    files: int
    outcomes: dict[str, int]
    accepted: int
    duplicates: dict[str, int]
    billed_audio_seconds: float
    unknown: tuple[str, ...]
    """Transcriptions that the service has accepted and the ledger does not know."""


@dataclass(frozen=True)
class AirflowWorld:
    """One deployment for many stories."""

    deployment: Deployment
    ledger_url: str
    metadata_url: str
    identity: Identity
    """Signs in: the connection has no key, as where an installation uses Entra ID."""

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator[AirflowWorld]:
        """Start everything; takes about a minute."""
        with ExitStack() as stack:
            server = stack.enter_context(postgres_running())
            metadata = stack.enter_context(fresh_database(server, "airflow"))
            ledger = stack.enter_context(fresh_database(server, "ledger"))
            port = free_port()
            identity = stack.enter_context(managed_identity(f"http://127.0.0.1:{port}"))
            speech = {
                "conn_type": "azure_speech",
                "host": f"http://127.0.0.1:{port}",
                "extra": {
                    "region": "eastus",
                    "authentication": "entra",
                    "managed_identity_client_id": "speech-backfill",
                    "window": 4,
                },
            }
            settings = {
                **AIRFLOW_SETTINGS,
                **identity.environment,
                "AIRFLOW_CONN_AZURE_SPEECH_DEFAULT": json.dumps(speech),
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": metadata.replace("+psycopg:", "+psycopg2:"),
                "SPEECH_BACKFILL_LEDGER": ledger,
            }
            own = {**SETTINGS, SPEECH_VARIABLE: str(port)}
            opened = stack.enter_context(running(airflow_settings=settings, triggerers=2, **own))
            deployment = Deployment(opened)
            until(lambda: _has_dag(deployment), 180)
            yield cls(deployment, ledger, metadata, identity)

    # --- a story ----------------------------------------------------------------------------------

    def begin(self, *, chunks: int, seconds_each: float = 1.0, rules: tuple[dict[str, Any], ...] = ()) -> str:
        """Forget everything, and start a run over so many chunks; its id.

        Submissions are answered late, so that whoever is killed while submitting is often killed in mid-request.
        """
        self._begin(seconds_each)
        for rule in rules:
            self._admin("faults", rule)
        lines = ["uri,etag,size_bytes,duration_ms"]
        account = azurite.endpoint(self.deployment.stack.ports.azurite)
        for number in range(chunks * FILES_PER_CHUNK):
            lines.append(f"{account}/{RECORDINGS_CONTAINER}/harmed/call-{number:04}.wav,e1,32000,2000")
        self.deployment.upload("harmed/manifest.csv", content="\n".join(lines).encode())
        source = f"az://{RECORDINGS_CONTAINER}/harmed/manifest.csv"
        return self.deployment.trigger(DAG, source=source, partition=PARTITION, locale="en-US")

    def begin_day(self, *, chunks: int, seconds_each: float = 1.0) -> str:
        """Forget everything, and start a backfill of one day over so many chunks, whether it was done before or not."""
        names = [f"harmed-days/{DAY.replace('-', '/')}/{n:04}.wav" for n in range(chunks * FILES_PER_CHUNK)]
        # Once: another upload would give them other ETags, and so make them other files.
        if not self.deployment.exists(names[-1]):
            self.deployment.upload(*names)
        self._begin(seconds_each)
        return self.backfill("completed")

    def backfill(self, reprocess: str) -> str:
        """Backfill the day with this reprocess behaviour, as a person types it; the id of the run that it makes."""
        api = self.deployment.stack.airflow.api
        api.patch(f"/dags/{DAILY}", {"is_paused": False})

        def none_active() -> bool | None:
            found = api.get(f"/backfills?dag_id={DAILY}")["backfills"]
            return True if all(one["completed_at"] for one in found) else None

        until(none_active, 120)
        before = {one["dag_run_id"] for one in self.deployment.runs(DAILY)}
        dates = ("--from-date", DAY, "--to-date", DAY, "--reprocess-behavior", reprocess)
        self.deployment.airflow("backfill", "create", "--dag-id", DAILY, *dates)

        def made() -> str | None:
            new = [
                one["dag_run_id"]
                for one in self.deployment.runs(DAILY)
                if one["dag_run_id"] not in before and one["partition_key"] == DAY
            ]
            return new[0] if new else None

        return str(until(made, 120))

    def _begin(self, seconds_each: float) -> None:
        self.forget()
        self._admin("faults", {"kind": "delayed", "seconds": seconds_each})
        self._admin("faults", {"kind": "slow", "operation": "submit", "seconds": 0.5})

    def ended(
        self, run_id: str, *, dag_id: str = DAG, partition: str = PARTITION, seconds: float = 900
    ) -> Ended:
        """Wait for the run's end and look at what came of it."""
        state = self.deployment.ended(dag_id, run_id, seconds=seconds)
        counters = self.deployment.emulator()
        if state != "success":
            return Ended(state, dict.fromkeys(_TABLES, ""), 0, {}, counters["accepted"], {}, 0.0, ())
        tables, frames = {}, {}
        for name in _TABLES:
            frame = frames[name] = self.deployment.table(name, partition)
            columns = [one for one in frame.columns if one not in OWN]
            rows = sorted(repr(row) for row in frame[columns].itertuples(index=False, name=None))
            tables[name] = hashlib.sha256("\n".join(rows).encode()).hexdigest()
        outcomes = frames["outcomes"]["outcome"].value_counts().to_dict()
        accepted = {one["id"] for one in self._get("transcriptions")["values"]}
        return Ended(
            state,
            tables,
            files=len(frames["outcomes"]),
            outcomes={str(name): int(count) for name, count in outcomes.items()},
            accepted=counters["accepted"],
            duplicates=dict(counters["duplicates"]),
            billed_audio_seconds=counters["billed_audio_seconds"],
            unknown=tuple(sorted(accepted - self._known())),
        )

    def forget(self) -> None:
        """Begin anew: the emulator, the ledger and the store."""
        self._admin("reset", {})
        engine = sa.create_engine(self.ledger_url)
        with engine.begin() as connection:
            names = [one for one in sa.inspect(connection).get_table_names() if not one.endswith("_version")]
            if names:
                connection.execute(sa.text(f"TRUNCATE {', '.join(names)} CASCADE"))
        engine.dispose()
        from azure.storage.blob import BlobServiceClient

        text = azurite.connection_string(self.deployment.stack.ports.azurite)
        with BlobServiceClient.from_connection_string(text) as service:
            container = service.get_container_client(STORE_CONTAINER)
            for name in list(container.list_blob_names()):
                container.delete_blob(name)

    def leaks(self) -> list[str]:
        """Where a token, a key or a SAS stands in anything that this deployment has written."""
        assert self.identity.issued, "nobody has signed in"
        secrets = {f"token {number}": token for number, token in enumerate(self.identity.issued)}
        secrets |= {"the storage key": KEY, "the identity's header": self.identity.header}
        return leaks(everything(self.deployment, databases=(self.metadata_url, self.ledger_url)), secrets)

    # --- looking ----------------------------------------------------------------------------------

    def tasks(self, run_id: str, task_id: str, *states: str) -> list[dict[str, Any]]:
        """Task instances of a run in one of *states*."""
        return [
            one
            for one in self.deployment.tasks(DAG, run_id)
            if one["task_id"] == task_id and one["state"] in states
        ]

    def until_deferred(self, run_id: str, task_id: str, count: int = 1) -> list[dict[str, Any]]:
        """At least *count* instances of a task that are deferred."""

        def look() -> list[dict[str, Any]] | None:
            found = self.tasks(run_id, task_id, "deferred")
            return found if len(found) >= count else None

        found: list[dict[str, Any]] = until(look, 240)
        return found

    def until_triggered(self, run_id: str, task_id: str) -> dict[str, Any]:
        """A deferred instance of a task whose trigger has started: before that there is nothing for on_kill to end."""
        folder = self._task_log_folder / f"dag_id={DAG}" / f"run_id={run_id}" / f"task_id={task_id}"

        def started(one: dict[str, Any]) -> bool:
            logs = (folder / f"map_index={one['map_index']}").glob(
                f"attempt={one['try_number']}.log.trigger.*"
            )
            return any(" starting" in log.read_text(errors="replace") for log in logs)

        def look() -> dict[str, Any] | None:
            return next((one for one in self.tasks(run_id, task_id, "deferred") if started(one)), None)

        found: dict[str, Any] = until(look, 240)
        return found

    def until_accepted(self, count: int) -> None:
        """Wait until the service has accepted so many transcriptions."""
        until(lambda: True if self.deployment.submitted() >= count else None, 300)

    def log(self, service: str) -> str:
        """What a service has written since it was started last."""
        return self.deployment.stack.supervisor.log_path(service).read_text(errors="replace")

    def task_logs(self) -> str:
        """Everything that task instances and their triggers have written."""
        return "\n".join(one.read_text(errors="replace") for one in self._task_log_folder.rglob("*.log"))

    @property
    def _task_log_folder(self) -> Path:
        return self.deployment.stack.checkout.stack / "airflow" / "logs"

    # --- harming ----------------------------------------------------------------------------------

    def kill(self, service: str) -> None:
        """SIGKILL a service with all its children: a machine that is gone. Nobody starts it again."""
        self._signal(service, signal.SIGKILL)
        until(lambda: None if self.deployment.stack.supervisor.is_running(service) else True, 20)

    def start(self, *services: str) -> None:
        """Start what was killed."""
        supervisor = self.deployment.stack.supervisor
        for one in self.deployment.stack.airflow.services():
            if one.name in services:
                self._keep_log(one.name)
                supervisor.start(one)

    @contextmanager
    def frozen(self, service: str) -> Iterator[None]:
        """SIGSTOP a service, and only its own process, while the block runs."""
        pid = self._record(service).pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def freeze_for(self, service: str, seconds: float) -> threading.Timer:
        """SIGSTOP a service with its children now, SIGCONT after *seconds*; join the timer to wait for that."""
        self._signal(service, signal.SIGSTOP)
        timer = threading.Timer(seconds, self._signal, (service, signal.SIGCONT))
        timer.start()
        return timer

    def kill_worker(self, run_id: str, task_id: str, *, whole: bool) -> None:
        """SIGKILL a worker while it runs an instance of *task_id*.

        *whole*: the worker and the task's own process, as when its machine dies; otherwise the task's process alone, as
        the out-of-memory killer does it.
        """

        def look() -> bool | None:
            running = {one["id"] for one in self.tasks(run_id, task_id, "running")}
            for worker in psutil.Process(self._record("scheduler").pid).children():
                with contextlib.suppress(psutil.Error):
                    # A worker that is idle holds the lock of its queue: killing that would stop all the others.
                    if _instance_of(worker) in running and (tasks := worker.children(recursive=True)):
                        if whole:
                            worker.kill()
                        for one in tasks:
                            with contextlib.suppress(psutil.NoSuchProcess):
                                one.kill()
                        return True
            return None

        until(look, 240, every=0.1)

    def clear(self, run_id: str, task_id: str, map_index: int) -> None:
        """Clear one task instance and what follows it, as a person does in the UI."""
        self.deployment.stack.airflow.api.post(
            f"/dags/{DAG}/clearTaskInstances",
            {
                "dry_run": False,
                "dag_run_id": run_id,
                "task_ids": [[task_id, map_index]],
                "only_failed": False,
                "include_downstream": True,
            },
        )

    def fail_run(self, run_id: str, *, dag_id: str = DAG) -> None:
        """Mark the run as failed, as a person does in the UI."""
        where = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"

        def done() -> bool | None:
            try:
                self.deployment.stack.airflow.api.patch(where, {"state": "failed"})
            except ApiError as error:
                # It may lose against the scheduler for the same rows; a person presses the button again.
                if error.status < 500:
                    raise
                return None
            return True

        until(done, 60)

    # --- inside -----------------------------------------------------------------------------------

    def _record(self, service: str) -> Record:
        return next(one for one in self.deployment.stack.supervisor.running() if one.name == service)

    def _signal(self, service: str, number: signal.Signals) -> None:
        """To every process of the service's session: workers are sessions of their own, so their parents tell."""
        top = psutil.Process(self._record(service).pid)
        for one in [top, *top.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(number)

    def _keep_log(self, service: str) -> None:
        path = self.deployment.stack.supervisor.log_path(service)
        if path.exists():
            path.rename(path.with_name(f"{path.stem}-{time.time_ns()}.log"))

    def _known(self) -> set[str]:
        engine = sa.create_engine(self.ledger_url)
        with engine.begin() as connection:
            rows = connection.execute(
                sa.text(
                    "SELECT transcription_id FROM transcriptions UNION SELECT transcription_id FROM duplicates"
                )
            )
            known = set(rows.scalars())
        engine.dispose()
        return known

    def _admin(self, path: str, body: dict[str, Any]) -> None:
        httpx.post(f"{self._service}/admin/{path}", json=body, timeout=30).raise_for_status()

    def _get(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = (
            httpx.get(f"{self._service}/admin/{path}", timeout=30).raise_for_status().json()
        )
        return found

    @property
    def _service(self) -> str:
        return f"http://127.0.0.1:{self.deployment.stack.ports.speech}"


def _instance_of(worker: psutil.Process) -> str:
    """The id of the task instance that a LocalExecutor's worker is running, as its title says."""
    return " ".join(worker.cmdline()).partition("LocalExecutor:")[2].strip()


def _has_dag(deployment: Deployment) -> bool | None:
    dags = deployment.stack.airflow.api.get("/dags?limit=100")["dags"]
    return True if any(one["dag_id"] == DAG for one in dags) else None
