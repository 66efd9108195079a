"""The Speech emulator: how it is started and asked. Its transcriptions lie in .stack/speech and survive a restart."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from local.checkout import Checkout
from local.errors import NotInstalledError
from local.keys import Secrets, write_private
from local.local_http import get_json, without_proxy
from local.ports import SPEECH_VARIABLE
from local.processes import Service

RESOURCE = "local"
REGION = "eastus"


RECOGNISER_VARIABLE = "SPEECH_RECOGNISER"
"""Who listens: `whisper`, or `synthetic` for load tests, which invents words and says so."""


def configuration(
    checkout: Checkout,
    port: int,
    keys: Secrets,
    *,
    cores: int,
    recogniser: str = "whisper",
    sections: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The emulator's settings file: one resource, and one recognising thread for each core. *sections* replace ours."""
    return {
        "server": {"host": "127.0.0.1", "port": port, "data": str(checkout.stack / "speech")},
        "resources": [{"name": RESOURCE, "key": keys.speech_key, "region": REGION}],
        # A beam of five hears better than greedy decoding, and takes no longer on short recordings.
        "recogniser": {"kind": recogniser, "workers": max(1, min(cores, 4)), "beam_size": 5},
        **(sections or {}),
    }


def service(
    checkout: Checkout, port: int, keys: Secrets, sections: Mapping[str, Any] | None = None
) -> Service:
    """The emulator on *port*, with *sections* of its settings in the place of ours; raises NotInstalledError."""
    if not checkout.python.is_file():
        raise NotInstalledError("The virtual environment")
    settings = checkout.stack / "speech-emulator.json"
    settled = configuration(
        checkout,
        port,
        keys,
        cores=os.cpu_count() or 1,
        recogniser=os.environ.get(RECOGNISER_VARIABLE) or "whisper",
        sections=sections,
    )
    write_private(settings, json.dumps(settled, indent=1))
    # The key is in the file, where other users cannot see it as they could a command line.
    command = (str(checkout.python), "-m", "speech_emulator", "--config", str(settings))
    environment = {
        **without_proxy({name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}),
        "PYTHONPATH": str(checkout.root / "include"),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
    }
    return Service("speech-emulator", command, environment, lambda: is_healthy(port), port, SPEECH_VARIABLE)


def is_healthy(port: int) -> bool:
    """Whether the emulator answers."""
    try:
        get_json(f"http://127.0.0.1:{port}/health", timeout_seconds=2)
    except (OSError, ValueError):
        return False
    return True


def submitted(port: int) -> int:
    """How many transcriptions the emulator has accepted since its state was new."""
    return int(state(port)["accepted"])


def heard_seconds(port: int) -> float:
    """How much audio the emulator has transcribed since its state was new."""
    return float(state(port)["billed_audio_seconds"])


def state(port: int) -> dict[str, Any]:
    """The emulator's counters."""
    found: dict[str, Any] = get_json(f"http://127.0.0.1:{port}/admin/state", timeout_seconds=30)
    return found
