"""A local stack with a state folder and ports of its own, for tests and measurements: it begins with nothing and leaves nothing."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from local import ports
from local.checkout import Checkout, this_checkout
from local.stack import Stack


@dataclass(frozen=True)
class ScratchCheckout(Checkout):
    """This checkout's code over a state folder of its own."""

    state: Path = Path()

    @property
    def stack(self) -> Path:
        """The scratch stack's own state."""
        return self.state


@contextlib.contextmanager
def running(
    *,
    airflow_settings: Mapping[str, str] | None = None,
    emulator_settings: Mapping[str, Any] | None = None,
    triggerers: int = 1,
    **settings: str,
) -> Iterator[Stack]:
    """The stack, ready; stopped and forgotten afterwards.

    *settings* are environment variables for all of it, *airflow_settings* for Airflow's processes alone.
    """
    with tempfile.TemporaryDirectory(prefix="speech-backfill-scratch-") as folder:
        environment = {
            **os.environ,
            ports.AIRFLOW_VARIABLE: str(ports.free_port()),
            ports.AZURITE_VARIABLE: str(ports.free_port()),
            ports.SPEECH_VARIABLE: str(ports.free_port()),
            **settings,
        }
        # The stack hands its own environment on to Airflow's processes.
        before = {name: os.environ.get(name) for name in settings}
        os.environ.update(settings)
        stack = Stack(
            ScratchCheckout(this_checkout().root, Path(folder)),
            environment,
            print,
            airflow_settings=airflow_settings,
            emulator_settings=emulator_settings,
            triggerers=triggerers,
        )
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def cpu_seconds(stack: Stack) -> dict[str, float]:
    """CPU seconds by service so far: its process, its living children and those it has waited for."""
    used = {}
    for record in stack.supervisor.running():
        total = 0.0
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(record.pid)
            for one in [process, *process.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    total += sum(one.cpu_times()[:4])
        used[record.name] = total
    return used


def peak_rss_bytes(stack: Stack) -> dict[str, int]:
    """The largest resident set now, by service, over its process and children."""
    found = {}
    for record in stack.supervisor.running():
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(record.pid)
            found[record.name] = max(
                one.memory_info().rss for one in [process, *process.children(recursive=True)]
            )
    return found
