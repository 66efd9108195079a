"""A real Azurite for tests: started on a free port, in memory, and stopped again."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The key of every Azurite everywhere, published by Microsoft: it guards nothing."""

SCRIPT = Path("azurite", "dist", "src", "blob", "main.js")


class AzuriteNotInstalled(Exception):
    """There is no Azurite to start."""


def azurite_script() -> Path:
    """Azurite's blob service in the checkout's node_modules, or in the folder that AZURITE_NODE_MODULES names."""
    checkout = Path(__file__).resolve().parent.parent
    for folder in (os.environ.get("AZURITE_NODE_MODULES", ""), checkout / "node_modules"):
        if folder and (Path(folder) / SCRIPT).is_file():
            return Path(folder) / SCRIPT
    raise AzuriteNotInstalled("Azurite is not in node_modules: run `npm install` (or `make test`)")


@contextmanager
def azurite_running() -> Iterator[str]:
    """Azurite's endpoint, `http://127.0.0.1:<port>/devstoreaccount1`, while the block runs."""
    node = shutil.which("node")
    if node is None:
        raise AzuriteNotInstalled("there is no node on PATH to run Azurite with")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [node, str(azurite_script()), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    command += ["--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_until_listening(process, port)
            yield f"http://127.0.0.1:{port}/{ACCOUNT}"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        if process.poll() is not None:
            raise AzuriteNotInstalled(f"Azurite ended at once with status {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AzuriteNotInstalled("Azurite did not listen within 60 seconds")
