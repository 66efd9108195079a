"""Which ports the stack listens on: chosen by variables, remembered between starts. Opens none but to see if it is free.

The blob emulator's port is part of every recording's URL, and so of its identity: were it to change from start to
start, every recording would be new, and be transcribed again. So a choice is kept in .stack/ports.json.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

AIRFLOW_VARIABLE = "AIRFLOW_PORT"
AZURITE_VARIABLE = "AZURITE_PORT"
SPEECH_VARIABLE = "SPEECH_PORT"


@dataclass(frozen=True)
class Ports:
    """The ports of the three services that people and programs talk to, all on 127.0.0.1."""

    airflow: int = 8080
    azurite: int = 10000
    speech: int = 8085


class PortError(ValueError):
    """A variable holds something that is no port."""

    def __init__(self, variable: str, text: str) -> None:
        super().__init__(
            f"{variable}={text!r} is no port: give a number from 1024 to 65535, like {variable}=18080."
        )


def choose(environment: Mapping[str, str], remembered: Ports | None) -> Ports:
    """Each port from its variable, else as remembered, else its default. Raises PortError."""
    base = remembered or Ports()
    return Ports(
        airflow=_port(environment, AIRFLOW_VARIABLE, base.airflow),
        azurite=_port(environment, AZURITE_VARIABLE, base.azurite),
        speech=_port(environment, SPEECH_VARIABLE, base.speech),
    )


def _port(environment: Mapping[str, str], variable: str, otherwise: int) -> int:
    text = environment.get(variable, "").strip()
    if not text:
        return otherwise
    if not text.isdecimal() or not 1024 <= int(text) <= 65535:
        raise PortError(variable, text)
    return int(text)


def read(path: Path) -> Ports | None:
    """The ports of the last start; None where there was none."""
    try:
        return Ports(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write(path: Path, ports: Ports) -> None:
    """Remember *ports* for the next start."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(ports)))


def is_free(port: int) -> bool:
    """Whether nothing listens on *port* of this machine's own address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return not listens(port)


def listens(port: int) -> bool:
    """Whether something answers on *port* of this machine's own address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
