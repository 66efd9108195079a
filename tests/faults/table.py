"""What was shown, as a table: one row for each kind of trouble, and how to see a failure again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from faults.matrix import Verdict


@dataclass
class Row:
    """One kind of trouble over many cases."""

    name: str
    points: int = 0
    repetitions: int = 1
    verdicts: list[Verdict] = field(default_factory=list)
    allowed: int = 0
    """Duplicates that the settings or the named hole allow."""
    seconds: float = 0.0
    seed: str = "-"

    def add(self, verdicts: Iterable[Verdict]) -> Row:
        self.verdicts += verdicts
        return self

    @property
    def duplicates(self) -> int:
        return sum(one.duplicates for one in self.verdicts)

    @property
    def lost(self) -> int:
        return sum(one.lost for one in self.verdicts)

    @property
    def wrong_rows(self) -> int:
        return sum(one.wrong_rows for one in self.verdicts)

    @property
    def bad(self) -> list[Verdict]:
        return [one for one in self.verdicts if not one.good]


_HEAD = (
    "trouble",
    "points",
    "times",
    "runs",
    "lives",
    "duplicates",
    "lost",
    "wrong rows",
    "other",
    "seconds",
    "seed",
)


def text(rows: Iterable[Row]) -> str:
    """The table for a terminal."""
    lines = [_HEAD]
    for row in rows:
        other = sum(
            bool(one.problems) and not (one.duplicates or one.lost or one.wrong_rows) for one in row.bad
        )
        duplicates = f"{row.duplicates} (+{row.allowed} allowed)" if row.allowed else str(row.duplicates)
        lines.append(
            (
                row.name,
                str(row.points or len(row.verdicts)),
                str(row.repetitions),
                str(len(row.verdicts)),
                str(sum(one.lives for one in row.verdicts)),
                duplicates,
                str(row.lost),
                str(row.wrong_rows),
                str(other),
                f"{row.seconds:.0f}",
                row.seed,
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    shown = [
        "  ".join(
            cell.ljust(width) if column in {0, len(_HEAD) - 1} else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([shown[0], "-" * len(shown[0]), *shown[1:]])


def failures(rows: Iterable[Row]) -> str:
    """Every case that went wrong, with what to type to see it again."""
    lines = []
    for row in rows:
        for one in row.bad:
            lines.append(f"{row.name}: {one.case}")
            lines += [f"    {problem.strip()}" for problem in one.problems]
            lines.append(f"    again: python -m faults --replay '{one.case}'")
    return "\n".join(lines)
