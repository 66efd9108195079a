"""What the shipped recordings say, and whether a run did them justice. Talks to no service."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from local.word_errors import WordErrors, compare, total

HIGHEST_WORD_ERROR_RATE = 0.15


@dataclass(frozen=True)
class ExpectedChannel:
    """What is said on one channel of one recording, and how the recording must end."""

    path: str
    channel: int
    text: str
    outcome: str


@dataclass(frozen=True)
class Outcome:
    """What became of one recording, as the tables say."""

    outcome: str
    reason: str
    texts: Mapping[int, str]
    """The text of each channel that has one."""


@dataclass(frozen=True)
class Verdict:
    """The word errors of each spoken channel, and whatever was not as it should be."""

    channels: Mapping[tuple[str, int], WordErrors]
    problems: Sequence[str]

    @property
    def word_errors(self) -> WordErrors:
        """Over all spoken channels."""
        return total(self.channels.values())


def read_expected(path: Path) -> list[ExpectedChannel]:
    """The rows of expected.csv."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            ExpectedChannel(row["path"], int(row["channel"]), row["text"], row["outcome"])
            for row in csv.DictReader(file)
        ]


def judge(expected: Sequence[ExpectedChannel], outcomes: Mapping[str, Outcome]) -> Verdict:
    """Compare what was expected with the *outcomes* by path."""
    problems: list[str] = []
    channels: dict[tuple[str, int], WordErrors] = {}
    wanted = {row.path: row.outcome for row in expected}
    problems += [
        f"{path} is in the tables, but is none of the recordings" for path in outcomes if path not in wanted
    ]
    for path, outcome in wanted.items():
        found = outcomes.get(path)
        if found is None:
            problems.append(f"{path} is not in the table outcomes")
        elif found.outcome != outcome:
            problems.append(
                f"{path} should have ended as {outcome}, but is {found.outcome}: {found.reason or 'no reason'}"
            )
        elif outcome == "failed" and not found.reason:
            problems.append(f"{path} failed, but without a reason")
    for row in expected:
        found = outcomes.get(row.path)
        heard = found.texts.get(row.channel, "") if found else ""
        if row.text:
            channels[row.path, row.channel] = compare(row.text, heard)
        elif heard:
            problems.append(f"nobody speaks in {row.path}, but it was transcribed as {heard!r}")
    rate = total(channels.values()).rate
    if rate >= HIGHEST_WORD_ERROR_RATE:
        problems.append(
            f"the word error rate is {rate:.1%}; it should be under {HIGHEST_WORD_ERROR_RATE:.0%}"
        )
    return Verdict(channels, tuple(problems))
