"""What a measurement found, beside what was aimed at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One line of a benchmark: what was measured, its goal, what came out, and whether that is good."""

    what: str
    goal: str
    measured: str
    good: bool
