"""Processes that die, cheaply: a parent that has imported everything and forks one child for each life.

The parent runs no thread and opens nothing that a child could inherit half done. Lines of JSON in, lines of JSON out.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from faults.life import Job, live
from speech_backfill.speech.connection import tls

ROOT = Path(__file__).resolve().parents[2]


class Forks:
    """The driver's side: lives one after the other, and frozen ones beside them."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[Forks]:
        path = os.pathsep.join(str(ROOT / one) for one in ("include", "plugins", "tests", "."))
        process = subprocess.Popen(
            [sys.executable, "-m", "faults.forks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        try:
            yield cls(process)
        finally:
            assert process.stdin
            process.stdin.close()
            process.wait(30)
            assert process.stdout
            process.stdout.close()

    def run(self, job: Job) -> tuple[int, int]:
        """(pid, end) of one life: an exit status, minus the signal that killed it, or STOPPED."""
        return self._ask({"job": job.to_json()})

    def resume(self, pid: int) -> int:
        """Let a frozen life go on, to its end."""
        return self._ask({"resume": pid})[1]

    def _ask(self, what: dict[str, Any]) -> tuple[int, int]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        pid, end = json.loads(self._process.stdout.readline())
        return pid, end


STOPPED = 1000
"""The end of a life that is frozen and may go on."""

_IMPORTED_ONCE = (
    "alembic.command",
    "alembic.script",
    "azure.storage.blob",
    "duckdb",
    "obstore.store",
    "pandas",
    "pyarrow.dataset",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
)
"""What the core imports where it is first needed: here rather than in each child."""


def _serve(orders: IO[str], answers: IO[str]) -> None:
    for name in _IMPORTED_ONCE:
        importlib.import_module(name)
    tls()
    for line in orders:
        what = json.loads(line)
        if "resume" in what:
            pid = what["resume"]
            os.kill(pid, signal.SIGCONT)
        else:
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    orders.close()
                    status = live(Job.from_json(what["job"]))
                finally:
                    # No clean-up of what the parent has: it is not ours.
                    os._exit(status)
        _, ended = os.waitpid(pid, os.WUNTRACED)
        if os.WIFSTOPPED(ended):
            end = STOPPED
        elif os.WIFSIGNALED(ended):
            end = -os.WTERMSIG(ended)
        else:
            end = os.WEXITSTATUS(ended)
        answers.write(json.dumps([pid, end]) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve(sys.stdin, sys.stdout)
