"""Find a Python that is new enough when the one that was started is not. Runs on any Python 3 and does nothing else."""

from __future__ import annotations

import os
import subprocess
import sys

NAMES = ("python3.13", "python3.12", "python3.11")


def run_again_with_a_newer_python() -> None:
    """Replace this process by the same command under a newer Python; ends it with a message where there is none."""
    for name in NAMES:
        if works(name):
            os.execvp(name, [name, "-m", "local.install", *sys.argv[1:]])  # noqa: S606  the process goes on as another Python
    from local.errors import WrongPythonError

    print(f"\n{WrongPythonError('Python ' + sys.version.split()[0])}", file=sys.stderr)
    sys.exit(1)


def works(name: str) -> bool:
    """Whether *name* starts; a version manager's shim may exist and still refuse."""
    try:
        return subprocess.call([name, "-c", ""], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False
