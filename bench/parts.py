"""The parts of `make bench`: which measurement with which options, how long it takes, and what may run beside what. No measurement of its own."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.figures import Figure


@dataclass(frozen=True, slots=True)
class Part:
    """One measurement as `make bench` takes it."""

    name: str
    minutes: float
    """About how long it takes on two cores."""
    module: str = ""
    """Where its `rows` is, if that is not a module of the part's own name."""
    options: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = True
    """Whether another part on the other core would change its figures: those of wall time, and CPU ratios."""
    by_default: bool = True
    """Whether `make bench` without a name runs it; what is left out keeps the figures of its own last run."""

    def rows(self) -> list[Figure]:
        """Measure."""
        found: list[Figure] = importlib.import_module(f"bench.{self.module or self.name}").rows(
            **self.options
        )
        return found


PARTS = (
    Part("dag_import", 1),
    Part("polling", 0.4),
    Part("merge_decode", 3.5),
    Part("fetch", 3),
    Part("resume_delay", 6.5),
    Part("makespan", 9, options={"transcriptions": 1000}),
    Part("makespan_outage", 3.5, "makespan", {"transcriptions": 300, "outage_seconds": 40.0}),
    # Peaks of memory, counts, and CPU of a process that has a core to itself: two of these at a time.
    Part("merge_memory", 4, alone=False),
    Part("planning", 6, alone=False),
    Part("publishing", 4, alone=False),
    Part("budget", 5, alone=False),
    Part("contrast", 1, alone=False),
    # No goal depends on it.
    Part("airflow_run", 3, by_default=False),
    # A third of the time of all others together.
    Part("million", 14, by_default=False),
)


def part(name: str) -> Part:
    """The part of this name. Raises KeyError."""
    return {one.name: one for one in PARTS}[name]
