"""What a backfill of 100 million audio files comes to, by arithmetic from settings and from what docs/benchmarks.json has measured.

    python -m bench scale [--files 100000000] [--regions 20]

Nothing is run. docs/SCALE.md shows the same table, which `make bench` writes with its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

from bench.record import ROOT, Measured, read, with_tables
from speech_backfill.plan.planner import OTHER_TASKS, TASKS_A_SHARD
from speech_backfill.settings import Settings

PAGE = ROOT / "docs" / "SCALE.md"

FILES = 100_000_000
FILES_A_PARTITION = 1_000_000
REGIONS = 20
SECONDS_EACH = 67.0
KILOBYTES_EACH = 20.0
"""The result files that `bench fetch` takes: 55 to 80 s of audio, with word times."""
FILES_A_PAGE = 100
"""Of a transcription's list of result files, the least that the service is known to give; more is asked for."""
ROWS_A_CHUNK = 3
"""Its own, its place in the plan, its transcription; what is cut again in a repair comes on top."""
OTHER_REQUESTS = 3
"""For each transcription: a POST, a look at its end by who merges, a DELETE."""

_UNKNOWN = "not recorded yet"
_GIGA = 1_000_000.0


def main(arguments: list[str]) -> int:
    """Print."""
    parser = argparse.ArgumentParser(prog="python -m bench scale", description=__doc__)
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--regions", type=int, default=REGIONS)
    given = parser.parse_args(arguments)
    print(rendered(read(), files=given.files, regions=given.regions))
    return 0


def write_page() -> None:
    """Bring docs/SCALE.md up to what is kept."""
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_tables(page, rendered(read())), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table."""

    what: str
    comes_to: str
    follows_from: str


def rendered(kept: Mapping[str, Measured], *, files: int = FILES, regions: int = REGIONS) -> str:
    """The arithmetic as Markdown."""
    lines = arithmetic(kept, files=files, regions=regions)
    rows = [f"| {one.what} | {one.comes_to} | {one.follows_from} |" for one in lines]
    return "\n".join(["| what | comes to | follows from |", "|---|---:|---|", *rows])


def arithmetic(kept: Mapping[str, Measured], *, files: int, regions: int) -> list[Line]:
    """From the amount of audio to the CPU of it."""
    settings = Settings(store="memory://")
    partitions = -(-files // FILES_A_PARTITION)
    chunks = -(-files // settings.files_per_transcription)
    hours = files * SECONDS_EACH / 3600
    instances = partitions * (settings.max_shards * TASKS_A_SHARD + OTHER_TASKS)
    gigabytes = files * KILOBYTES_EACH / _GIGA
    days = hours / settings.audio_speed / regions / 24
    looks = _measured(kept, "polling", "status requests a day")
    merging = _measured(kept, "merge_decode", "whole merge of a shard, with word times")
    fetching = _measured(kept, "fetch", "fetch from Azurite, CPU of ours")
    starting = _measured(kept, "airflow_run", "CPU of Airflow and our code a task instance")
    pages = settings.files_per_transcription // FILES_A_PAGE + 1
    return [
        Line("audio", f"{hours:,.0f} h", f"{files:,} files of {SECONDS_EACH:.0f} s"),
        Line(
            "price",
            f"{hours * settings.price_per_audio_hour:,.0f}",
            f"{settings.price_per_audio_hour} an hour, the setting, not verified with Azure",
        ),
        Line(
            f"the service's work in {regions} regions",
            f"{days:,.0f} days",
            f"{settings.audio_speed:.0f} audio hours an hour and region, the setting, one transcription at a time",
        ),
        Line("partitions", f"{partitions:,}", f"{FILES_A_PARTITION:,} files each"),
        Line("transcriptions", f"{chunks:,}", f"{settings.files_per_transcription:,} files each"),
        Line(
            "rows in the ledger",
            f"{ROWS_A_CHUNK * chunks + partitions:,}",
            "chunk, placement, transcription; a plan for each partition; no row for a file",
        ),
        Line(
            "task instances",
            f"{instances:,}",
            f"{settings.max_shards} shards of {TASKS_A_SHARD} and {OTHER_TASKS} more for each partition, without repairs",
        ),
        Line(
            "CPU of starting and running them",
            _times(starting, instances / 3600, "h"),
            "`airflow_run`, a task instance",
        ),
        Line(
            "status requests",
            _times(looks, days * regions, ""),
            "`polling`, a day at a region that ends as few transcriptions as here: a wait is looked at every ten minutes at least",
        ),
        Line(
            "submissions, looks before a merge, deletions",
            f"{OTHER_REQUESTS * chunks:,}",
            "one of each for a transcription",
        ),
        Line(
            "pages of the lists of result files",
            f"{chunks * pages:,}",
            f"{FILES_A_PAGE} a page, which is the least; ours asks for a thousand",
        ),
        Line(
            "result files to fetch",
            f"{gigabytes:,.0f} GB",
            f"{KILOBYTES_EACH:.0f} KB each, with word times, as in `fetch`",
        ),
        Line(
            "CPU of fetching them",
            _times(fetching, files / 1000 / 3600, "h"),
            "`fetch`, a file from Azurite without TLS",
        ),
        Line(
            "CPU of merging them",
            _UNKNOWN if merging is None else f"{gigabytes * 1000 / merging / 3600:,.0f} h",
            "`merge_decode`, the whole merge of a shard with word times",
        ),
    ]


def _measured(kept: Mapping[str, Measured], part: str, ending: str) -> float | None:
    found = [one.measured for one in kept[part].figures if one.what.endswith(ending)] if part in kept else []
    return found[0] if found else None


def _times(figure: float | None, number: float, unit: str) -> str:
    return _UNKNOWN if figure is None else f"{figure * number:,.0f} {unit}".strip()
