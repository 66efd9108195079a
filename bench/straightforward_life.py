"""One life of the straightforward client as a process, killed where it is told to; `faults.life` is the same for ours."""

from __future__ import annotations

import asyncio
import sys
import traceback
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path

from bench.straightforward_client import Backfill, run
from faults.points import CountedTransport, Kill, Points


@dataclass(frozen=True, slots=True)
class Blow:
    """The *nth* request whose label begins so, and the side of it on which the process dies."""

    label: str
    nth: int
    side: str


@dataclass
class Armed(Points):
    """Points that are counted for one label: how often this client polls differs from life to life."""

    blow: Blow | None = None
    _seen: int = 0

    def begin(self, label: str, sides: str) -> int:
        """Switch the kill on right before the effect that it is for."""
        if self.blow is not None and label.startswith(self.blow.label):
            self._seen += 1
            if self._seen == self.blow.nth:
                self.kill = Kill(self.number + 1, self.blow.side)
        return super().begin(label, sides)


def live(asked: Backfill, blow: Blow | None, errors: str) -> None:
    """Live it, with what it complains of in the file *errors*; the exit status is 1 after an error or if something is overdue."""
    log = Path(asked.folder, "points.log")
    log.write_text("")
    status = 1
    with Path(errors).open("w") as complaints, redirect_stderr(complaints):
        try:
            overdue = asyncio.run(run(asked, CountedTransport(Armed(log, blow=blow))))
            print(f"overdue: {overdue}", file=sys.stderr)
            status = 1 if overdue else 0
        except Exception:
            # Whatever it is, it ends this life and no other: its files stay as they are for the next.
            traceback.print_exc()
    sys.exit(status)
