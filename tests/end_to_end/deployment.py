"""A running stack, as a person at its REST API and its command line sees it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from local import azurite, emulator
from local.airflow import environment
from local.local_http import get_json
from local.published import storage_options
from local.stack import RECORDINGS_CONTAINER, STORE_CONTAINER, Stack
from speech_backfill.tables.read import read_table


@dataclass(frozen=True)
class Deployment:
    """A running stack, as a person at its REST API and command line sees it."""

    stack: Stack

    def trigger(self, dag_id: str, *, partition_key: str | None = None, **conf: Any) -> str:
        """Start a run; its id."""
        api = self.stack.airflow.api
        api.patch(f"/dags/{dag_id}", {"is_paused": False})
        body = {"logical_date": None, "conf": conf} | (
            {"partition_key": partition_key} if partition_key else {}
        )
        return str(api.post(f"/dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def state(self, dag_id: str, run_id: str) -> str:
        """The run's state."""
        return str(self.stack.airflow.api.get(f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}")["state"])

    def ended(self, dag_id: str, run_id: str, *, seconds: float = 300) -> str:
        """Wait until the run has ended; its state."""
        return until(
            lambda: one if (one := self.state(dag_id, run_id)) in {"success", "failed"} else None, seconds
        )

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The run's task instances."""
        where = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances?limit=500"
        return list(self.stack.airflow.api.get(where)["task_instances"])

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """The DAG's runs."""
        return list(self.stack.airflow.api.get(f"/dags/{dag_id}/dagRuns?limit=100")["dag_runs"])

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> str:
        """What a task wrote."""
        where = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}/logs/{try_number}"
        return json.dumps(self.stack.airflow.api.get(f"{where}?full_content=true"))

    def airflow(self, *arguments: str) -> str:
        """Run `airflow …` beside the stack; what it printed."""
        checkout, variables = self.stack.checkout, self.variables()
        done = subprocess.run(
            [str(checkout.python), "-m", "airflow", *arguments],
            env=variables, cwd=checkout.root, check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def variables(self) -> dict[str, str]:
        """The environment of the stack's own processes."""
        stack = self.stack
        return environment(stack.checkout, stack.ports, stack.keys, os.environ, stack.airflow_settings)

    def emulator(self) -> Mapping[str, Any]:
        """The emulator's counters."""
        return get_json(f"http://127.0.0.1:{self.stack.ports.speech}/admin/state", timeout_seconds=30)

    def submitted(self) -> int:
        """Transcriptions the emulator has accepted so far."""
        return emulator.submitted(self.stack.ports.speech)

    def upload(self, *names: str, content: bytes = b"RIFF, or nearly so") -> None:
        """Put blobs into the recordings' container."""
        from azure.storage.blob import BlobServiceClient

        with BlobServiceClient.from_connection_string(
            azurite.connection_string(self.stack.ports.azurite)
        ) as service:
            for name in names:
                service.get_blob_client(RECORDINGS_CONTAINER, name).upload_blob(content, overwrite=True)

    def exists(self, name: str) -> bool:
        """Whether there is a blob of this name in the recordings' container."""
        from azure.storage.blob import BlobServiceClient

        with BlobServiceClient.from_connection_string(
            azurite.connection_string(self.stack.ports.azurite)
        ) as service:
            return bool(service.get_blob_client(RECORDINGS_CONTAINER, name).exists())

    def add_fault(self, **rule: Any) -> None:
        """Let the emulator go wrong in one way more."""
        address = f"http://127.0.0.1:{self.stack.ports.speech}/admin/faults"
        httpx.post(address, json=rule, timeout=30).raise_for_status()

    def table(self, name: str, partition: str) -> Any:
        """A published table as a DataFrame."""
        options = storage_options(self.stack.ports.azurite)
        return read_table(f"az://{STORE_CONTAINER}/", name, partition=partition, storage_options=options)


def until(look: Callable[[], Any], seconds: float, *, every: float = 0.5) -> Any:
    """What *look* returns once it is not None; fails after *seconds*. Polls another process, which can't notify us."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(every)
    raise AssertionError(f"not within {seconds} s")
