"""The local stack as a whole: `python -m local.stack up | down | status`.

It starts Azurite, the Speech emulator and Airflow's four processes, as much at the same time as their needs of one
another allow, and stops what it started when one of them fails.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local import airflow, azurite, emulator, keys, ports
from local.checkout import Checkout, this_checkout
from local.errors import (
    LocalStackError,
    NotInstalledError,
    OtherPortsError,
    PortTakenError,
    StackBusyError,
)
from local.processes import Service, Supervisor, end_on_signals

if TYPE_CHECKING:
    from local.upload import Uploaded

RECORDINGS_CONTAINER = "recordings"
STORE_CONTAINER = "speech-backfill"
SERVICES = ("azurite", "speech-emulator", "api-server", "scheduler", "dag-processor", "triggerer")


class Stack:
    """The services of one checkout."""

    def __init__(
        self,
        checkout: Checkout,
        environment: Mapping[str, str],
        say: Callable[[str], None],
        *,
        airflow_settings: Mapping[str, str] | None = None,
        emulator_settings: Mapping[str, Any] | None = None,
        triggerers: int = 1,
    ) -> None:
        """*airflow_settings* win over what the stack sets for Airflow's processes, *emulator_settings* are whole sections."""
        self.checkout = checkout
        self.ports = ports.choose(environment, ports.read(self._ports_path(checkout)))
        self.keys = keys.load(checkout.stack / "secrets.json")
        self.supervisor = Supervisor(checkout.stack / "run", checkout.logs, say)
        self.airflow_settings = dict(airflow_settings or {})
        self._emulator_settings = emulator_settings
        self.airflow = airflow.Airflow(
            checkout, self.ports, self.keys, settings=self.airflow_settings, triggerers=triggerers
        )
        self._timeout_seconds = float(environment.get("START_TIMEOUT_SECONDS") or 300)
        self._say = say

    def start(self) -> list[str]:
        """Start every service that does not run, wait until all are ready, and return the names of those started."""
        if not self.checkout.python.is_file():
            raise NotInstalledError("The virtual environment")
        own = [azurite.service(self.checkout, self.ports.azurite)]
        own.append(emulator.service(self.checkout, self.ports.speech, self.keys, self._emulator_settings))
        others = self.airflow.services()
        self._refuse_taken_ports([*own, *others])
        ports.write(self._ports_path(self.checkout), self.ports)
        with self.supervisor.stopping_on_failure() as started:
            self._begin(own, started)
            if not self.supervisor.is_running("api-server"):
                seconds = self.airflow.migrate()
                self._say(f"stack    Airflow's database: ready after {seconds:.1f} s")
            self._begin(others, started)
            self.supervisor.wait_until_ready([*own, *others], timeout_seconds=self._timeout_seconds)
            self._make_containers()
            return list(started)

    def upload(self, files: Iterable[tuple[Path, str]]) -> Uploaded:
        """Upload each (path, blob name) of *files* that is not in the container of recordings yet."""
        from local import upload  # azure.storage takes a second to import

        return upload.upload(azurite.connection_string(self.ports.azurite), RECORDINGS_CONTAINER, files)

    def stop(self, names: Sequence[str] | None = None) -> list[str]:
        """Stop the named services, or all that run, and return which ran."""
        return self.supervisor.stop(names)

    def described(self) -> list[str]:
        """A line on each service: whether it runs, since which process, and where its log lies."""
        records = {record.name: record for record in self.supervisor.running()}
        lines = []
        for name in SERVICES:
            record = records.get(name)
            state = f"runs (process {record.pid})" if record else "does not run"
            where = f", port {record.port}" if record and record.port else ""
            lines.append(f"{name:<16} {state}{where}; log {self.supervisor.log_path(name)}")
        return lines

    def welcome(self) -> str:
        """Where the stack is reached, and how a person logs in."""
        return (
            f"Airflow          {self.airflow.address}\n"
            f"                 log in as {keys.LOGIN_NAME} with the password {self.keys.admin_password}\n"
            f"Speech emulator  http://127.0.0.1:{self.ports.speech}\n"
            f"Azurite          {azurite.endpoint(self.ports.azurite)}\n"
            f"Logs             {self.checkout.logs}"
        )

    def _make_containers(self) -> None:
        from local.upload import containers

        connection_string = azurite.connection_string(self.ports.azurite)
        containers(connection_string, (RECORDINGS_CONTAINER, STORE_CONTAINER))

    def _begin(self, services: Sequence[Service], started: list[str]) -> None:
        for service in services:
            if self.supervisor.start(service):
                started.append(service.name)  # noqa: PERF401  each at once, for what follows may fail

    def _refuse_taken_ports(self, services: Sequence[Service]) -> None:
        runs = {record.name: record.port for record in self.supervisor.running()}
        for service in services:
            if service.port is None:
                continue
            runs_on = runs.get(service.name)
            if runs_on is not None and runs_on != service.port:
                raise OtherPortsError(service.name, runs_on=runs_on, asked_for=service.port)
            if runs_on is None and not ports.is_free(service.port):
                raise PortTakenError(
                    service.name,
                    port=service.port,
                    variable=service.port_variable,
                    suggestion=ports.free_port(),
                )

    @staticmethod
    def _ports_path(checkout: Checkout) -> Path:
        return checkout.stack / "ports.json"


@contextlib.contextmanager
def lock(checkout: Checkout) -> Iterator[None]:
    """Hold the stack for as long as the block runs; raises StackBusyError when another command has it."""
    path = checkout.stack / "stack.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StackBusyError(path) from error
        yield


def up(checkout: Checkout) -> int:
    """Start the stack, with the shipped recordings in it, and leave it running."""
    from local.upload import shipped_recordings

    began = time.monotonic()
    stack = Stack(checkout, os.environ, say)
    with lock(checkout):
        started = stack.start()
        uploaded = stack.upload(shipped_recordings(checkout))
    say(
        f"stack    {uploaded.files} recordings in az://{RECORDINGS_CONTAINER}/calls/, {uploaded.new} of them new"
    )
    say(f"\nThe stack runs ({len(started)} services started in {time.monotonic() - began:.0f} s).\n")
    say(f"{stack.welcome()}\n\n`make down` stops it.")
    return 0


def down(checkout: Checkout) -> int:
    """Stop the stack; its state stays."""
    with lock(checkout):
        stopped = Stack(checkout, os.environ, say).stop()
    say(f"Stopped {', '.join(stopped)}." if stopped else "Nothing ran.")
    return 0


def status(checkout: Checkout) -> int:
    """Print what runs; the exit status is 0 when everything does."""
    stack = Stack(checkout, os.environ, say)
    lines = stack.described()
    say("\n".join(lines))
    if not all(stack.supervisor.is_running(name) for name in SERVICES):
        return 1
    say(f"\n{stack.welcome()}")
    return 0


def say(line: str) -> None:
    """Print at once, also into a pipe; where its reader has gone, the work goes on unheard."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(arguments: Sequence[str]) -> int:
    """Run one command."""
    commands = {"up": up, "down": down, "status": status}
    if len(arguments) != 1 or arguments[0] not in commands:
        print(f"usage: python -m local.stack {' | '.join(commands)}", file=sys.stderr)
        return 2
    end_on_signals()
    try:
        return commands[arguments[0]](this_checkout())
    except (LocalStackError, ports.PortError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped, and with it what was started.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
