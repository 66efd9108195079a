#!/usr/bin/env python3
"""Shows the compose topology at work on a Docker engine: a backfill of the demo's recordings through Celery workers.

    python3 tests/compose/run.py [--keep]

Builds the images, starts everything of the profile `local` with two workers, runs speech_backfill_manifest over the REST
API twice, reads the published tables back, and removes what it started, volumes included. Exit status 0 only if all of
it was right. Needs Python 3.11, the Docker engine and `docker compose` or docker-compose; touches no other project.
"""

from __future__ import annotations

import argparse
import base64
import csv
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

DAG_ID = "speech_backfill_manifest"
PARTITION = "compose"
WORKERS = 2
ONE_SHOTS = {"postgres-init", "airflow-init", "local-init"}
HEALTHY_SECONDS = 600
RUN_SECONDS = 900

READ_TABLES = """
import json, os, sys
from speech_backfill.tables.read import read_table
account = json.loads(os.environ["AIRFLOW_CONN_WASB_DEFAULT"])
options = {"account_name": account["login"], "account_key": account["password"], "blob_endpoint": account["host"]}
def table(name):
    return read_table(os.environ["SPEECH_BACKFILL_STORE"], name, partition=sys.argv[1], storage_options=options)
outcomes, transcripts = table("outcomes"), table("transcripts")
rows = {"outcomes": len(outcomes), "transcripts": len(transcripts), "phrases": len(table("phrases"))}
files = outcomes[["audio_url", "outcome", "error_code", "error_message", "file_id"]].to_json(orient="records")
texts = transcripts[["file_id", "channel", "display"]].to_json(orient="records")
print(json.dumps({"rows": rows, "files": json.loads(files), "texts": json.loads(texts)}))
"""


class WrongError(Exception):
    """Something was not as it must be."""


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def client() -> list[str]:
    """The compose command of this machine."""
    if not shutil.which("docker"):
        raise WrongError("There is no docker command here. Install the Docker engine and start it.")
    done = subprocess.run(["docker", "info"], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise WrongError(
            f"No Docker engine answers: {done.stderr.strip().splitlines()[-1]}\nStart it and try again."
        )
    for command in (["docker", "compose"], ["docker-compose"]):
        try:
            done = subprocess.run([*command, "version"], check=False, capture_output=True, text=True)
        except FileNotFoundError:
            continue
        if done.returncode == 0:
            say(f"engine   compose is {done.stdout.splitlines()[0]}")
            return command
    raise WrongError("Neither `docker compose` nor docker-compose is here. Install one of them.")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def filled_in(example: str, overrides: dict[str, str]) -> tuple[str, dict[str, str]]:
    """.env.example with its empty lines filled in as its head says, and the values."""
    lines, values = [], {}
    for line in example.splitlines():
        name, sign, value = line.partition("=")
        if not sign or line.startswith("#"):
            continue
        if name in overrides:
            value = overrides[name]
        elif not value:
            value = (
                base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
                if name == "AIRFLOW_FERNET_KEY"
                else secrets.token_hex(64 if name.endswith(("_SECRET", "_SECRET_KEY")) else 24)
            )
        values[name] = value
        lines.append(f"{name}={value}")
    return "\n".join(lines) + "\n", values


class Project:
    """One run's own compose project, by its own name, with its own .env."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.name = f"speech-backfill-test-{os.getpid()}"
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        text, self.values = filled_in(
            (ROOT / ".env.example").read_text(encoding="utf-8"),
            {
                "COMPOSE_PROFILES": "local",
                "AIRFLOW_BIND": "127.0.0.1",
                "AIRFLOW_PORT": str(self.port),
                "AIRFLOW_BASE_URL": self.address,
            },
        )
        env_file = folder / ".env"
        env_file.touch(mode=0o600)
        env_file.write_text(text, encoding="utf-8")
        self._command = [
            *command,
            *("-p", self.name, "--env-file", str(env_file)),
            *("--project-directory", str(ROOT), "-f", str(ROOT / "docker-compose.yaml")),
        ]
        # What this shell has set must not overrule the file.
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIRFLOW_", "SPEECH_", "COMPOSE_"))
        }

    @property
    def expected_containers(self) -> int:
        """One for each service, and the further workers."""
        return len(self._services) + WORKERS - 1

    @cached_property
    def _services(self) -> list[str]:
        return self.compose("config", "--services").split()

    def compose(self, *arguments: str, stdin: str | None = None) -> str:
        """Run one command of compose; its output. Raises WrongError."""
        done = subprocess.run(
            [*self._command, *arguments],
            check=False, cwd=ROOT, env=self._environment, input=stdin, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode != 0:
            end = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
            raise WrongError(f"compose {arguments[0]} ended with status {done.returncode}:\n{end}")
        return done.stdout

    def containers(self) -> list[dict]:
        """Every container of the project, as `docker inspect` describes it."""
        label = f"label=com.docker.compose.project={self.name}"
        ids = subprocess.run(
            ["docker", "ps", "-aq", "--filter", label], check=True, capture_output=True, text=True
        ).stdout.split()
        if not ids:
            return []
        return json.loads(
            subprocess.run(["docker", "inspect", *ids], check=True, capture_output=True, text=True).stdout
        )

    def log(self, service: str, lines: int = 20) -> str:
        return self.compose("logs", "--no-color", f"--tail={lines}", service)


def service_of(container: dict) -> str:
    return container["Config"]["Labels"]["com.docker.compose.service"]


def state_of(container: dict) -> str:
    """healthy, starting, unhealthy, running, exited 0 …"""
    state = container["State"]
    if state["Status"] == "exited":
        return f"exited {state['ExitCode']}"
    if state["Status"] == "running" and "Health" in state:
        return state["Health"]["Status"]
    return state["Status"]


def wait_until_healthy(project: Project) -> list[dict]:
    """Return when every service is healthy and every one-shot has ended well; raises WrongError."""
    began = time.monotonic()
    while True:
        containers = project.containers()
        states = [(service_of(one), state_of(one), one["RestartCount"]) for one in containers]
        wanted = [
            state == ("exited 0" if service in ONE_SHOTS else "healthy") for service, state, _ in states
        ]
        if all(wanted) and len(states) == project.expected_containers:
            for service, state, restarts in sorted(states):
                say(f"healthy  {service:<22} {state}" + (f", restarted {restarts} times" if restarts else ""))
            return containers
        for service, state, restarts in states:
            ended = state.startswith("exited") and state != "exited 0"
            if ended or state == "unhealthy" or restarts > 3:
                raise WrongError(f"{service} is {state} after {restarts} restarts:\n{project.log(service)}")
        if time.monotonic() - began > HEALTHY_SECONDS:
            raise WrongError(f"Not healthy after {HEALTHY_SECONDS} s: {sorted(states)}")
        time.sleep(2)


class Api:
    """Airflow's REST API, signed in with a token for the first user."""

    def __init__(self, project: Project) -> None:
        self._address = project.address
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        login = {
            "username": project.values["AIRFLOW_ADMIN_USER"],
            "password": project.values["AIRFLOW_ADMIN_PASSWORD"],
        }
        self._headers["Authorization"] = f"Bearer {self.send('POST', '/auth/token', login)['access_token']}"

    def send(self, method: str, path: str, body: dict | None = None) -> dict:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._address + path, data=data, headers=self._headers, method=method
        )
        with self._open(request, timeout=60) as answer:
            return json.load(answer)

    def dag(self, method: str, path: str = "", body: dict | None = None) -> dict:
        return self.send(method, f"/api/v2/dags/{DAG_ID}{path}", body)


def wait_for_dag(api: Api) -> None:
    """Return when the DAG processor has read the DAG, and let it run."""
    for _ in range(90):
        try:
            api.dag("PATCH", body={"is_paused": False})
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
        else:
            return
        time.sleep(2)
    errors = api.send("GET", "/api/v2/importErrors")["import_errors"]
    raise WrongError(f"Airflow does not show {DAG_ID}: {[one['stack_trace'] for one in errors]}")


def follow(api: Api, run_id: str) -> tuple[str, list[dict]]:
    """Say what the tasks do until the run has ended; its state and its task instances."""
    began, said = time.monotonic(), ""
    while time.monotonic() - began < RUN_SECONDS:
        state = api.dag("GET", f"/dagRuns/{run_id}")["state"]
        tasks = api.dag("GET", f"/dagRuns/{run_id}/taskInstances?limit=1000")["task_instances"]
        counts = Counter(f"{one['task_id']} {one['state']}" for one in tasks if one["state"])
        progress = ", ".join(counted(counts))
        if progress != said:
            say(f"run      {time.monotonic() - began:4.0f} s  {progress}")
            said = progress
        if state in {"success", "failed"}:
            return state, tasks
        time.sleep(2)
    raise WrongError(f"The run has not ended after {RUN_SECONDS} s; it is at: {said}")


def counted(counts: Counter) -> list[str]:
    return [f"{number} x {name}" if number > 1 else name for name, number in sorted(counts.items())]


def run_dag(api: Api, containers: list[dict]) -> None:
    """Run the manifest DAG to its end and show which worker did what. Raises WrongError."""
    wait_for_dag(api)
    conf = {"source": "az://recordings/calls/", "partition": PARTITION, "locale": "en-US"}
    run_id = api.dag("POST", "/dagRuns", {"logical_date": None, "conf": conf})["dag_run_id"]
    say(f"run      started {DAG_ID}, {run_id}")
    began = time.monotonic()
    state, tasks = follow(api, urllib.parse.quote(run_id, safe=""))
    workers = {
        one["Config"]["Hostname"]: one["Name"].lstrip("/")
        for one in containers
        if service_of(one) == "airflow-worker"
    }
    by_worker: dict[str, Counter] = {}
    for task in tasks:
        where = workers.get(task["hostname"], task["hostname"] or "(no worker)")
        by_worker.setdefault(where, Counter())[f"{task['task_id']} {task['state']}"] += 1
    for where, counts in sorted(by_worker.items()):
        say(f"worker   {where}: {', '.join(counted(counts))}")
    retried = [task["task_id"] for task in tasks if task["try_number"] > 1]
    if retried:
        say(f"worker   took more than one try: {retried}")
    if state != "success":
        raise WrongError(f"The run ended as {state}:\n{failed_logs(api, tasks)}")
    hosts = {task["hostname"] for task in tasks if task["hostname"]}
    if not hosts or hosts - set(workers):
        raise WrongError(f"Tasks ran elsewhere than on the Celery workers: {sorted(hosts) or 'nowhere'}")
    say(f"run      succeeded after {time.monotonic() - began:.0f} s")


def failed_logs(api: Api, tasks: list[dict]) -> str:
    """The end of the log of each task that failed."""
    pieces = []
    for one in tasks:
        if one["state"] != "failed":
            continue
        run_id = urllib.parse.quote(one["dag_run_id"], safe="")
        where = f"/dagRuns/{run_id}/taskInstances/{one['task_id']}/logs/{one['try_number']}"
        log = api.dag("GET", f"{where}?map_index={one['map_index']}&full_content=true")["content"]
        lines = [json.dumps(line, ensure_ascii=False) for line in log[-15:]]
        pieces.append(f"{one['task_id']}[{one['map_index']}]:\n" + "\n".join(lines))
    return "\n".join(pieces)


def read_tables(project: Project) -> dict:
    """What the published tables hold, read by a worker through the project's own door."""
    answer = project.compose(
        "exec", "-T", "airflow-worker", "python", "-W", "ignore", "-", PARTITION, stdin=READ_TABLES
    )
    return json.loads(answer.splitlines()[-1])


def check_tables(read: dict, *, shown: int) -> None:
    """Every recording has ended as expected.csv says, of which *shown* are printed; raises WrongError."""
    say("tables   " + ", ".join(f"{name}: {rows} rows" for name, rows in read["rows"].items()))
    wanted, said = {}, {}
    with (ROOT / "recordings" / "expected.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            wanted[row["path"]] = row["outcome"]
            said[row["path"], int(row["channel"])] = row["text"]
    ended, names = {}, {}
    for row in read["files"]:
        name = urllib.request.url2pathname(row["audio_url"].split("/recordings/", 1)[1])
        ended[name] = row["outcome"]
        names[row["file_id"]] = name
        if row["outcome"] != "transcribed":
            say(f"tables   {row['outcome']}: {name}: {row['error_code']}: {row['error_message']}")
            if not row["error_code"]:
                raise WrongError(f"{name} has no reason")
    if ended != wanted:
        differing = {
            name: (wanted.get(name), ended.get(name))
            for name in {*wanted, *ended}
            if wanted.get(name) != ended.get(name)
        }
        raise WrongError(f"Not as expected.csv says (expected, found): {differing}")
    heard = {(names[row["file_id"]], row["channel"]): row["display"] or "" for row in read["texts"]}
    silent = [key for key, text in said.items() if text and not heard.get(key)]
    if silent:
        raise WrongError(f"Nothing was heard in {silent}")
    for key in list(said)[:shown]:
        say(f"text     {key[0]}\n           said  {said[key]}\n           heard {heard.get(key)}")
    say(f"tables   {dict(Counter(ended.values()))}, as expected")


def emulator_state(project: Project) -> dict:
    state = json.loads(
        project.compose("exec", "-T", "speech-emulator", "curl", "-sf", "http://127.0.0.1:8085/admin/state")
    )
    shown = {
        name: state[name]
        for name in ("recogniser", "accepted", "files", "billed_audio_seconds", "duplicates", "throttled")
    }
    say(f"emulator {json.dumps(shown)}")
    return state


def check_logs(project: Project) -> None:
    """No secret stands in a log of a service or a task; raises WrongError."""
    secret = {name for name in project.values if name.endswith(("_PASSWORD", "_SECRET", "_KEY"))}
    found = {name: project.values[name] for name in secret}
    for name in ("AIRFLOW_CONN_AZURE_SPEECH_DEFAULT", "AIRFLOW_CONN_WASB_DEFAULT"):
        found[name] = json.loads(project.values[name].strip("'"))["password"]
    services = project.compose("logs", "--no-color")
    command = ("sh", "-c", "grep -rhF -f - /opt/airflow/logs || true")
    tasks = project.compose("exec", "-T", "airflow-worker", *command, stdin="\n".join(found.values()))
    leaked = sorted(name for name, value in found.items() if value in services + tasks)
    if leaked:
        raise WrongError(f"The logs hold the values of {leaked}")
    say(
        f"secrets  none of {len(found)} stands in {services.count(chr(10))} lines of the services' logs, or in the tasks'"
    )


def show(project: Project) -> None:
    """Everything, in order. Raises WrongError."""
    began = time.monotonic()
    say("build    the images")
    project.compose("build", "airflow-init", "speech-emulator")
    say(f"build    done after {time.monotonic() - began:.0f} s")
    began = time.monotonic()
    try:
        project.compose("up", "-d", "--scale", f"airflow-worker={WORKERS}")
    except WrongError:
        for container in project.containers():
            if state_of(container).startswith("exited") and state_of(container) != "exited 0":
                say(f"log      {project.log(service_of(container), 40)}")
        raise
    containers = wait_until_healthy(project)
    say(f"up       everything healthy after {time.monotonic() - began:.0f} s, at {project.address}")
    say(f"upload   {project.log('local-init', 1).strip().splitlines()[-1]}")
    api = Api(project)
    run_dag(api, containers)
    check_tables(read_tables(project), shown=3)
    first = emulator_state(project)
    if first["recogniser"] != "whisper" or not first["accepted"] or first["duplicates"]:
        raise WrongError("The emulator should have transcribed really, and nothing twice.")
    say("again    the same partition: nothing may be submitted a second time")
    run_dag(api, containers)
    check_tables(read_tables(project), shown=0)
    if emulator_state(project)["files"] != first["files"]:
        raise WrongError("The second run submitted files that the first had transcribed.")
    check_logs(project)
    restarted = [service_of(one) for one in project.containers() if one["RestartCount"]]
    if restarted:
        raise WrongError(f"These died and were restarted: {restarted}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="leave everything running at the end")
    keep = parser.parse_args().keep
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="speech-backfill-compose-") as folder:
        try:
            project = Project(client(), Path(folder))
        except WrongError as error:
            say(f"WRONG    {error}")
            return 2
        right = False
        try:
            show(project)
            right = True
        except (WrongError, OSError, KeyError, ValueError, AssertionError) as error:
            say(f"WRONG    {type(error).__name__}: {error}")
        except Exception as error:
            say(f"WRONG    {type(error).__name__}: {error}")
        finally:
            if keep:
                say(
                    f"keep     docker rm -f $(docker ps -aq --filter label=com.docker.compose.project={project.name}) removes it"
                )
            else:
                project.compose("down", "-v", "--remove-orphans", "-t", "30")
                left = project.containers()
                say(f"down     {len(left)} containers left")
                right = right and not left
    say(f"{'all right' if right else 'NOT right'} after {time.monotonic() - began:.0f} s")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
