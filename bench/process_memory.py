"""Peak memory of processes that come and go, by what they are: the kernel's high-water mark of each, read twice a second."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

INTERVAL_SECONDS = 0.5

_TASK_TITLE = "airflow worker -- "
"""How Airflow titles the process in which a task's code runs; the id of the task instance follows."""

_ID_CHARACTERS = 36


@dataclass(slots=True)
class Peaks:
    """High-water marks in MB so far: of task processes by task instance's id, of all others by service."""

    tasks: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    services: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def by_task(self, names: Mapping[str, str]) -> dict[str, float]:
        """The peak of each kind of task; *names* are the task instances' kinds by id."""
        found: dict[str, float] = defaultdict(float)
        for one, peak in list(self.tasks.items()):
            name = names.get(one, "a task unknown to Airflow")
            found[name] = max(found[name], peak)
        return dict(found)


class PeakMemory(threading.Thread):
    """Watches processes and their descendants until it is stopped."""

    def __init__(self, services: Mapping[int, str], proc: Path = Path("/proc")) -> None:
        """*services* by process id; *proc* is where the kernel shows its processes."""
        super().__init__(daemon=True)
        self.peaks = Peaks()
        self._services = services
        self._proc = proc
        self._ended = threading.Event()

    def run(self) -> None:
        """Look until stopped."""
        while not self._ended.wait(INTERVAL_SECONDS):
            self.look()

    def stop(self) -> Peaks:
        """End, and tell what was seen."""
        self._ended.set()
        self.join()
        return self.peaks

    def look(self) -> None:
        """Read the marks of all that lives now."""
        parents = dict(self._parents())
        for pid in parents:
            service = _service(pid, parents, self._services)
            if service is None:
                continue
            try:
                peak = _high_water_mb((self._proc / str(pid) / "status").read_text())
                title = (self._proc / str(pid) / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue  # it has ended since
            task = task_instance(title)
            if task is None:
                self.peaks.services[service] = max(self.peaks.services[service], peak)
            else:
                self.peaks.tasks[task] = max(self.peaks.tasks[task], peak)

    def _parents(self) -> Iterable[tuple[int, int]]:
        """Each process with its parent."""
        for entry in self._proc.iterdir():
            if not entry.name.isdecimal():
                continue
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            # The name before the last bracket may hold spaces and brackets itself.
            yield int(entry.name), int(stat.rpartition(")")[2].split()[1])


def task_instance(title: str) -> str | None:
    """The id of the task instance whose code a process with this *title* runs; None for any other process."""
    _, found, rest = title.partition(_TASK_TITLE)
    one = rest[:_ID_CHARACTERS]
    return one if found and one.count("-") == 4 else None


def _service(pid: int, parents: Mapping[int, int], roots: Mapping[int, str]) -> str | None:
    while pid not in roots:
        if pid not in parents:
            return None
        pid = parents[pid]
    return roots[pid]


def _high_water_mb(status: str) -> float:
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0  # it has ended, or is the kernel's own
