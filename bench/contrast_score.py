"""What a client made of a trouble, counted from the service's books and the written tables, and shown side by side.

Nothing here asks a client what it has done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Outcome = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Tables:
    """What readers find."""

    outcomes: Sequence[tuple[str, str]]
    """(audio file, outcome), row by row."""
    transcripts: Sequence[tuple[str, int]]
    """(audio file, channel), row by row."""


@dataclass(frozen=True, slots=True)
class Score:
    """Nothing but zeros is what is wanted; `starts` is how often the command was typed."""

    duplicates: int = 0
    """Transcriptions of files for which another had been accepted."""
    extra_seconds: float = 0.0
    """Audio that was paid for beyond what is due."""
    lost: int = 0
    """Files of the manifest that no table mentions with an outcome."""
    given_up: int = 0
    """Files that the tables call failed or missing although they could have been transcribed without paying again."""
    wrong_rows: int = 0
    """Second rows of a file in the outcomes, or of its channel in the transcripts, and files without their text."""
    starts: int = 1
    done: bool = True
    """Whether the command has ended without an error in the end."""

    @property
    def clean(self) -> bool:
        """Nothing twice, nothing lost; what a repair has cost stands for itself."""
        return self.done and not (self.duplicates or self.lost or self.given_up or self.wrong_rows)

    def __add__(self, other: Score) -> Score:
        return Score(
            self.duplicates + other.duplicates,
            self.extra_seconds + other.extra_seconds,
            self.lost + other.lost,
            self.given_up + other.given_up,
            self.wrong_rows + other.wrong_rows,
            self.starts + other.starts,
            self.done and other.done,
        )


def due_seconds(seconds: Mapping[str, float], right: Mapping[str, Outcome]) -> float:
    """What has to be paid under a trouble: each file that the service can transcribe, once.

    *right* has the outcomes of files whose text nobody can have. Those whose results the service threw away had been
    transcribed, and are due; those that it could not transcribe are not. A result that can be downloaded again makes no
    second payment necessary.
    """
    never = {file for file, (_, code) in right.items() if code != "ResultsPurged"}
    return sum(value for file, value in seconds.items() if file not in never)


def score(
    files: Collection[str],
    tables: Tables,
    service: Mapping[str, Any],
    *,
    right: Mapping[str, Outcome],
    due: float,
) -> Score:
    """Judge the *tables* over *files*, and the *service*'s counters. Whether and when the command ended is not seen here."""
    rows = Counter(file for file, _ in tables.outcomes)
    texts = Counter(tables.transcripts)
    transcribed = {file for file, outcome in tables.outcomes if outcome == "transcribed"}
    with_text = {file for file, _ in texts}
    return Score(
        duplicates=sum(count - 1 for count in service["duplicates"].values()),
        extra_seconds=max(0.0, round(service["billed_audio_seconds"] - due, 3)),
        lost=len(set(files) - set(rows)),
        given_up=sum(file in rows and file not in transcribed and file not in right for file in files),
        wrong_rows=sum(count - 1 for count in (*rows.values(), *texts.values()))
        + len(transcribed - with_text),
    )


def total(scores: Sequence[Score]) -> Score:
    """All of them together."""
    found = Score(starts=0)
    for one in scores:
        found += one
    return found


_COLUMNS = ("duplicates", "extra s", "lost", "given up", "wrong rows", "starts")
_GAP = "  |  "


def text(clients: Sequence[str], rows: Sequence[tuple[str, Sequence[Score]]]) -> str:
    """The table for a terminal: troubles down, clients side by side, sums below."""
    sums = [total([scores[column] for _, scores in rows]) for column in range(len(clients))]
    lines: list[tuple[str, list[tuple[str, ...]]]] = [
        ("trouble", [_COLUMNS for _ in clients]),
        *((name, [_cells(one) for one in scores]) for name, scores in rows),
        ("all", [(*_cells(one)[:-1], str(one.starts)) for one in sums]),
    ]
    room = max(len(name) for name, _ in lines)
    widths = [
        [max(len(groups[column][cell]) for _, groups in lines) for cell in range(len(_COLUMNS))]
        for column in range(len(clients))
    ]
    heads = [
        client.ljust(sum(width) + 2 * (len(width) - 1)) for client, width in zip(clients, widths, strict=True)
    ]
    shown = [_GAP.join([name.ljust(room), *map(_aligned, groups, widths)]).rstrip() for name, groups in lines]
    rule = "-" * max(map(len, shown))
    above = _GAP.join([" " * room, *heads]).rstrip()
    return "\n".join([above, shown[0], rule, *shown[1:-1], rule, shown[-1]])


def _aligned(cells: Sequence[str], width: Sequence[int]) -> str:
    return "  ".join(cell.rjust(room) for cell, room in zip(cells, width, strict=True))


def _cells(one: Score) -> tuple[str, ...]:
    return (
        str(one.duplicates),
        f"{one.extra_seconds:.0f}",
        str(one.lost),
        str(one.given_up),
        str(one.wrong_rows),
        str(one.starts) if one.done else "never",
    )
