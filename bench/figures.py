"""What a measurement hands back: figures beside their goals, to be printed alone or in a table of all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure. *goal* is None where there is none to reach; then it is *good* whatever it is."""

    what: str
    goal: float | None
    measured: float
    unit: str
    good: bool
    at_most: bool = False
    """Whether less is better."""


def at_least(what: str, goal: float, measured: float, unit: str) -> Figure:
    """A figure of which more is better."""
    return Figure(what, goal, measured, unit, measured >= goal)


def at_most(what: str, goal: float, measured: float, unit: str) -> Figure:
    """A figure of which less is better."""
    return Figure(what, goal, measured, unit, measured <= goal, at_most=True)


def told(what: str, measured: float, unit: str) -> Figure:
    """A figure without a goal."""
    return Figure(what, None, measured, unit, good=True)


def table(figures: Iterable[Figure]) -> str:
    """The figures as Markdown."""
    rows = [f"| {one.what} |{goal(one)} | {said(one)} |" for one in figures]
    return "\n".join(["| what | goal | measured |", "|---|---:|---:|", *rows])


def goal(one: Figure) -> str:
    """A table's cell with what is to be reached; empty where nothing is."""
    if one.goal is None:
        return ""
    # Of all units a percentage is the one that would be taken for something else.
    unit = " %" if one.unit.startswith("%") else ""
    return f" {'≤' if one.at_most else '≥'} {_number(one.goal)}{unit}"


def said(one: Figure) -> str:
    """A table's cell with what was measured."""
    return f"{_number(one.measured)} {one.unit}".strip() + ("" if one.good else ", missed")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"
