"""What the contrast plays: troubles of the fault matrix, kills of the first start, and days with some of everything."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from bench.straightforward_life import Blow
from faults.matrix import FILES
from faults.points import AFTER, BEFORE, DURING
from faults.troubles import TROUBLES, Rule, Trouble, lost_answer, status

PLAYED = (
    # --- the service does what it was asked, and the client can't know it
    "answer lost: reset",
    "answer lost: every time",
    "answer lost: hang",
    "answer lost: 502 html",
    "list lags",
    # --- the service does not do it
    "submit 502, html",
    "submit 500, error",
    "submit 503, text",
    "submit 429 with Retry-After",
    "everything 429 now and then",
    # --- files and transcriptions fail
    "file in neither report nor results, once",
    "file in neither report nor results, ever",
    "file fails: Transient is cured by a repair",
    "file fails: InvalidData is not tried again",
    "fails as a whole for its own trouble",
    "fails as a whole until the bad file stands alone",
    "one never ends",
    # --- results
    "result SAS ends in mid-download",
    "result truncated, once",
    "result not_json, once",
    "result broken off",
    "purged before download",
)
"""Troubles of the fault matrix, by name."""
CALM = Trouble("no trouble", ())


@dataclass(frozen=True, slots=True)
class Row:
    """A trouble, and where the first life of either client ends, if it is killed."""

    trouble: Trouble
    ours: Blow | None = None
    theirs: Blow | None = None


def schedule(seed: int) -> Iterator[Row]:
    """Everything that is played; *seed* draws what the kills hit and what goes wrong on bad days."""
    draw = random.Random(seed)
    yield Row(CALM)
    by_name = {one.name: one for one in TROUBLES}
    for name in PLAYED:
        yield Row(by_name[name])
    post, result = draw.randint(1, 3), draw.randint(1, len(FILES))
    for name, blow in (
        ("killed right after a submission left", Blow("POST", post, DURING)),
        ("killed before the answer was kept", Blow("POST", post, AFTER)),
        ("killed during download", Blow("GET /blob", result, AFTER)),
    ):
        yield Row(replace(CALM, name=name), blow, blow)
    # The reports are downloaded, too: one for each transcription.
    every = Blow("GET /blob", len(FILES) + 3, AFTER)
    yield Row(replace(CALM, name="killed before tables are written"), Blow("copy tables/", 1, BEFORE), every)
    for number in range(1, 4):
        rules = _bad_day(draw)
        kill = Blow("POST", 1, DURING)
        yield Row(replace(CALM, name=f"a bad day, {number}", rules=rules), kill, kill)


def _bad_day(draw: random.Random) -> tuple[Rule, ...]:
    """Lost answers, refusals and a failing file, and a kill besides."""

    def often(share: float) -> dict[str, Any]:
        return {"nth": [], "probability": share, "seed": draw.randrange(1000)}

    return (
        {**lost_answer(), **often(0.3)},
        {**status(503, "*"), **often(0.05)},
        {**status(429, "*"), **often(0.05)},
        {"kind": "files_fail", "files": "*call-05.wav", "error_kind": "Transient", "nth": [1, 2, 3]},
    )
