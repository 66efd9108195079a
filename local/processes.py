"""Start, watch and stop the stack's services. Never signals a process that the stack did not start.

Each service runs in a session of its own, so that it outlives the command that started it and can be stopped with all
its children. Its record under .stack/run holds the process id and the moment the process began: an id that has gone to
another program since then is not ours any more, and is left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from local.errors import PortTakenError, ServiceDiedError, ServiceSlowError
from local.ports import free_port, is_free

POLL_SECONDS = 0.2
PROGRESS_SECONDS = 10.0
STOP_SECONDS = 15.0
KILL_SECONDS = 10.0
"""How long a service may take to end by itself before it is killed."""


def never_ready() -> bool:
    """For a service whose readiness another one reports."""
    return False


@dataclass(frozen=True)
class Service:
    """One program of the stack and how to tell that it is ready."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)  # it holds keys
    is_ready: Callable[[], bool] = field(repr=False)
    port: int | None = None
    port_variable: str = ""


@dataclass(frozen=True)
class Record:
    """What is remembered of a started service: enough to know its process again."""

    name: str
    pid: int
    began: str
    port: int | None


class Supervisor:
    """The services of one stack, whose records and logs lie below *run_folder* and *log_folder*."""

    def __init__(self, run_folder: Path, log_folder: Path, say: Callable[[str], None] = print) -> None:
        self._run_folder = run_folder
        self._log_folder = log_folder
        self._say = say
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def log_path(self, name: str) -> Path:
        """The log file of one service."""
        return self._log_folder / f"{name}.log"

    def running(self) -> list[Record]:
        """The services that run now, whoever started them, in the order of their names."""
        records = (self._read(path) for path in sorted(self._run_folder.glob("*.json")))
        return [record for record in records if record is not None and self._lives(record)]

    def is_running(self, name: str) -> bool:
        """Whether the service *name* runs now."""
        record = self._read(self._record_path(name))
        return record is not None and self._lives(record)

    def start(self, service: Service) -> bool:
        """Start *service* unless it runs already; True when it was started. Raises PortTakenError."""
        if self.is_running(service.name):
            return False
        if service.port is not None and not is_free(service.port):
            raise PortTakenError(
                service.name, port=service.port, variable=service.port_variable, suggestion=free_port()
            )
        for folder in (self._run_folder, self._log_folder):
            folder.mkdir(parents=True, exist_ok=True)
        with self.log_path(service.name).open("wb") as log:
            child = subprocess.Popen(
                service.command,
                env=dict(service.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._children[child.pid] = child
        record = Record(service.name, child.pid, began(child.pid), service.port)
        self._record_path(service.name).write_text(json.dumps(asdict(record)))
        return True

    def wait_until_ready(self, services: Iterable[Service], *, timeout_seconds: float) -> None:
        """Return when all *services* are ready; raises ServiceDiedError or ServiceSlowError for the first that isn't."""
        waiting = {service.name: service for service in services}
        start = last_said = time.monotonic()
        while waiting:
            for service in list(waiting.values()):
                if service.is_ready():
                    del waiting[service.name]
                    self._say(f"stack    {service.name}: ready after {time.monotonic() - start:.1f} s")
                elif not self.is_running(service.name):
                    raise self._died(service)
            now = time.monotonic()
            if waiting and now - start > timeout_seconds:
                raise self._slow(next(iter(waiting.values())), timeout_seconds)
            if waiting and now - last_said > PROGRESS_SECONDS:
                self._say(f"stack    waiting for {', '.join(waiting)} ({now - start:.0f} s)")
                last_said = now
            if waiting:
                time.sleep(POLL_SECONDS)

    def stop(self, names: Iterable[str] | None = None) -> list[str]:
        """Stop the named services, or all; returns those that ran. Kills what has not ended within STOP_SECONDS."""
        wanted = None if names is None else set(names)
        records = [record for record in self.running() if wanted is None or record.name in wanted]
        for record in records:
            _signal_session(record.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while any(self._session_lives(record) for record in records) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS / 4)
        killed = [record for record in records if self._session_lives(record)]
        for record in killed:
            _signal_session(record.pid, signal.SIGKILL)
        # A kill takes a moment too; whoever starts the service again must not meet the old one on its port.
        deadline = time.monotonic() + KILL_SECONDS
        while any(self._session_lives(record) for record in killed) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS / 4)
        for record in records:
            self._reap(record.pid)
            self._record_path(record.name).unlink(missing_ok=True)
        return [record.name for record in records]

    @contextlib.contextmanager
    def stopping_on_failure(self) -> Iterator[list[str]]:
        """Stop what the block has put into the list it is given, should it end by an exception or by ctrl-C."""
        started: list[str] = []
        try:
            yield started
        except BaseException:
            with uninterrupted():
                self.stop(started)
            raise

    def log_tail(self, name: str, lines: int = 20) -> str:
        """The last *lines* of a service's log."""
        try:
            text = self.log_path(name).read_bytes()[-20_000:].decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def _died(self, service: Service) -> ServiceDiedError:
        record = self._read(self._record_path(service.name))
        child = self._children.get(record.pid) if record else None
        return ServiceDiedError(
            service.name,
            exit_status=child.poll() if child else None,
            log_path=self.log_path(service.name),
            log=self.log_tail(service.name),
        )

    def _slow(self, service: Service, waited_seconds: float) -> ServiceSlowError:
        log_path = self.log_path(service.name)
        log = self.log_tail(service.name)
        return ServiceSlowError(service.name, waited_seconds=waited_seconds, log_path=log_path, log=log)

    def _record_path(self, name: str) -> Path:
        return self._run_folder / f"{name}.json"

    @staticmethod
    def _read(path: Path) -> Record | None:
        try:
            return Record(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def _lives(self, record: Record) -> bool:
        self._reap(record.pid)
        return began(record.pid) == record.began != ""

    def _session_lives(self, record: Record) -> bool:
        self._reap(record.pid)
        return bool(_session_members(record.pid))

    def _reap(self, pid: int) -> None:
        child = self._children.get(pid)
        if child is not None:
            child.poll()


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let a second ctrl-C wait until the block, which stops things, has ended."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end this program as an exception does, so that what it started is stopped."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)


def _end(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def began(pid: int) -> str:
    """When the process *pid* began, in the system's own words; empty where there is no such process, or it has ended."""
    stat = _stat(pid)
    if stat is not None:
        return "" if stat.state in {"Z", "X"} else stat.began
    if Path("/proc/self/stat").exists():
        return ""
    done = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], check=False, capture_output=True, text=True
    )
    state, _, moment = done.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else moment.strip()


@dataclass(frozen=True)
class _Stat:
    state: str
    session: int
    began: str


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
    return _Stat(state=fields[0], session=int(fields[3]), began=fields[19])


def _session_members(session: int) -> list[int]:
    """The living processes of a session, which outnumber the group: some services make groups for their children."""
    if not Path("/proc/self/stat").exists():
        return _group_members(session)
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    stats = ((pid, _stat(pid)) for pid in pids)
    return [
        pid
        for pid, stat in stats
        if stat is not None and stat.session == session and stat.state not in {"Z", "X"}
    ]


def _group_members(group: int) -> list[int]:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return []
    return [group]


def _signal_session(session: int, number: signal.Signals) -> None:
    """Signal every process of a session; one that ends meanwhile is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(session, number)
    if not Path("/proc/self/stat").exists():
        return
    for pid in _session_members(session):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(pid) != session:
                os.kill(pid, number)
