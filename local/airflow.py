"""Airflow on this machine: its environment, its processes and its REST API. Decides nothing about transcription.

Scheduler, DAG processor, triggerer and API server are processes of their own, as in production, with the LocalExecutor
and a SQLite database under .stack/airflow.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local import azurite
from local.checkout import Checkout
from local.errors import LocalStackError, indented
from local.keys import LOGIN_NAME, Secrets, write_private
from local.local_http import send, without_proxy
from local.ports import AIRFLOW_VARIABLE, Ports
from local.processes import Service

SIMPLE_AUTH_MANAGER = "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"

DEMO_SETTINGS = {
    # Several transcriptions, so that the demo's graph shows more than one shard.
    "SPEECH_BACKFILL_FILES_PER_TRANSCRIPTION": "8",
    # The service advises a minute; the emulator is next door.
    "SPEECH_BACKFILL_POLL_INTERVAL_SECONDS": "2",
    # Airflow 3.3.2 can mark a task as failed whose trigger fires within seconds of its deferral.
    "SPEECH_BACKFILL_FIRST_LOOK_SECONDS": "10",
}
"""The project's settings that differ on one machine from production. A variable of the same name overrides them."""


def home(checkout: Checkout) -> Path:
    """AIRFLOW_HOME of the local stack."""
    return checkout.stack / "airflow"


def environment(
    checkout: Checkout,
    ports: Ports,
    keys: Secrets,
    outer: Mapping[str, str],
    settings: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Everything that an Airflow process needs to know, and of *outer* only what is not Airflow's; *settings* win."""
    kept = {name: value for name, value in outer.items() if not name.startswith(("AIRFLOW_", "PYTHON"))}
    base = without_proxy(kept)
    root = checkout.root
    address = f"http://127.0.0.1:{ports.airflow}"
    wasb = {"conn_type": "wasb", "extra": {"connection_string": azurite.connection_string(ports.azurite)}}
    speech = {
        "conn_type": "azure_speech",
        "host": f"http://127.0.0.1:{ports.speech}",
        "password": keys.speech_key,
        "extra": {"region": "eastus", "api_version": "2025-10-15", "window": 4},
    }
    return {
        **{name: value for name, value in DEMO_SETTINGS.items() if name not in base},
        "SPEECH_BACKFILL_STORE": "az://speech-backfill/",
        "SPEECH_BACKFILL_LEDGER": f"sqlite:///{checkout.stack / 'ledger.sqlite'}",
        **base,
        "PATH": f"{checkout.venv / 'bin'}{os.pathsep}{base.get('PATH', '/usr/bin:/bin')}",
        "PYTHONPATH": f"{root / 'include'}{os.pathsep}{root / 'plugins'}",
        "PYTHONUNBUFFERED": "1",
        # One thread each: the cores belong to the recogniser.
        "OMP_NUM_THREADS": "1",
        "AIRFLOW_HOME": str(home(checkout)),
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(root / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__FERNET_KEY": keys.fernet_key,
        "AIRFLOW__CORE__AUTH_MANAGER": SIMPLE_AUTH_MANAGER,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{LOGIN_NAME}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home(checkout) / "passwords.json"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home(checkout) / 'airflow.db'}",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(ports.airflow),
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__API__SECRET_KEY": keys.api_secret,
        # All task instances of a run in one answer, for whoever follows it.
        "AIRFLOW__API__MAXIMUM_PAGE_LIMIT": "2000",
        "AIRFLOW__API_AUTH__JWT_SECRET": keys.jwt_secret,
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home(checkout) / "logs"),
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "AIRFLOW_CONN_WASB_DEFAULT": json.dumps(wasb),
        "AIRFLOW_CONN_AZURE_SPEECH_DEFAULT": json.dumps(speech),
        **(settings or {}),
    }


class MigrationFailedError(LocalStackError):
    """Airflow's database could not be made."""

    def __init__(self, output: str, state: Path) -> None:
        super().__init__(
            f"Airflow's database in {state} could not be made or brought up to date:\n\n{indented(output)}\n\n"
            "What was started was stopped. If the folder holds an older Airflow's state: make clean-state"
        )


class Airflow:
    """The local Airflow, as what starts it and what talks to it."""

    def __init__(
        self,
        checkout: Checkout,
        ports: Ports,
        keys: Secrets,
        *,
        settings: Mapping[str, str] | None = None,
        triggerers: int = 1,
    ) -> None:
        self._checkout = checkout
        self._keys = keys
        self._triggerers = triggerers
        self._environment = environment(checkout, ports, keys, os.environ, settings)
        self._port = ports.airflow
        self.address = f"http://127.0.0.1:{ports.airflow}"
        self.api = Api(self.address, keys)

    def migrate(self) -> float:
        """Make or update the database where it is not this Airflow's already; returns the seconds it took."""
        began = time.monotonic()
        folder = home(self._checkout)
        stamp, wanted = folder / "migrated", self._version()
        password_file = folder / "passwords.json"
        write_private(password_file, json.dumps({LOGIN_NAME: self._keys.admin_password}))
        if (folder / "airflow.db").exists() and stamp.exists() and stamp.read_text() == wanted:
            return time.monotonic() - began
        done = subprocess.run(
            [str(self._checkout.python), "-m", "airflow", "db", "migrate"],
            env=self._environment, cwd=self._checkout.root, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self._checkout.logs.mkdir(parents=True, exist_ok=True)
        (self._checkout.logs / "migration.log").write_text(done.stdout)
        if done.returncode != 0:
            raise MigrationFailedError("\n".join(done.stdout.splitlines()[-20:]), folder)
        stamp.write_text(wanted)
        return time.monotonic() - began

    def services(self) -> list[Service]:
        """The four processes; the API server first, for it takes the longest and the others ask it."""
        return [
            self._service("api-server", "api-server", "--port", str(self._port), port=self._port),
            self._service("scheduler", "scheduler", "--skip-serve-logs"),
            self._service("dag-processor", "dag-processor"),
            *(self._service(name, "triggerer", "--skip-serve-logs") for name in self._triggerer_names()),
        ]

    def _triggerer_names(self) -> list[str]:
        return ["triggerer", *(f"triggerer-{number}" for number in range(2, self._triggerers + 1))]

    def _service(self, name: str, *arguments: str, port: int | None = None) -> Service:
        command = (str(self._checkout.python), "-m", "airflow", *arguments)
        return Service(
            name, command, self._environment, lambda: self.api.is_healthy(name), port, AIRFLOW_VARIABLE
        )

    def _version(self) -> str:
        found = sorted(self._checkout.venv.glob("lib/python3*/site-packages/apache_airflow_core-*.dist-info"))
        return found[0].name if found else ""


class ApiError(Exception):
    """Airflow's REST API refused a request, with the status and what it said."""

    def __init__(self, method: str, path: str, status: int, body: str) -> None:
        super().__init__(f"Airflow answered {status} to {method} {path}: {body[:500]}")
        self.status = status


class Api:
    """Airflow's REST API version 2, for the one user of the local stack."""

    def __init__(self, address: str, keys: Secrets) -> None:
        self._address = address
        self._keys = keys
        self._token = ""
        self._made_at = datetime.now(UTC)

    def is_healthy(self, service: str) -> bool:
        """Whether Airflow reports *service* as healthy now; False too where nobody answers.

        For half a minute Airflow goes on calling a stopped scheduler healthy, so that its last sign of life must be
        younger than this object.
        """
        plain = service.rstrip("-0123456789")
        component = {"api-server": "metadatabase", "dag-processor": "dag_processor"}.get(plain, plain)
        try:
            health = self._send("GET", "/api/v2/monitor/health", None, timeout_seconds=10)
        except (OSError, ValueError, ApiError):
            return False
        state = health.get(component) or {}
        beat = state.get(f"latest_{component}_heartbeat")
        is_fresh = component == "metadatabase" or (
            beat is not None and datetime.fromisoformat(beat) >= self._made_at
        )
        return state.get("status") == "healthy" and is_fresh

    def get(self, path: str) -> Any:
        """The JSON at *path* below /api/v2. Raises ApiError."""
        return self._authorized("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send *body* to *path* below /api/v2. Raises ApiError."""
        return self._authorized("POST", path, body)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Change what lies at *path* below /api/v2. Raises ApiError."""
        return self._authorized("PATCH", path, body)

    def _authorized(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        if not self._token:
            self._log_in()
        try:
            return self._send(method, f"/api/v2{path}", body)
        except ApiError as error:
            if error.status != 401:
                raise
        self._log_in()
        return self._send(method, f"/api/v2{path}", body)

    def _log_in(self) -> None:
        login = {"username": LOGIN_NAME, "password": self._keys.admin_password}
        self._token = self._send("POST", "/auth/token", login)["access_token"]

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, *, timeout_seconds: float = 60
    ) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._address + path, data=data, headers=headers, method=method)
        try:
            return send(request, timeout_seconds=timeout_seconds)
        except urllib.error.HTTPError as error:
            raise ApiError(method, path, error.code, error.read().decode(errors="replace")) from error
