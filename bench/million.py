"""A million audio files through real Airflow: all accounted for, task instances, peak memory, CPU a file against a small run.

    python -m bench million [--files 10000 1000000]

Each size is a run of its own on a new local stack: scheduler with LocalExecutor, triggerer, DAG processor and API server,
Azurite, and four emulated regions whose synthetic recogniser ends a transcription at once, with one phrase a file. Measured is
everything but recognition: planning a CSV manifest, submission, waiting, downloads, merge, reconciliation, publication.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bench.figures import Figure, at_least, at_most, table, told
from bench.process_memory import PeakMemory
from bench.regions import Regions, four_regions
from local import azurite, dag_run
from local.scratch import cpu_seconds
from local.stack import STORE_CONTAINER

if TYPE_CHECKING:
    from speech_backfill.store import Store

SIZES = (10_000, 1_000_000)
MOST_TASKS = 300
MOST_MB = 512
LINEAR = 1.2

WINDOW = 64
RECORDINGS = (2.0, 6.0)
"""One phrase each: a merge's cost for the file outweighs that for the speech in it."""

SETTINGS = {
    "SPEECH_RECOGNISER": "synthetic",
    "SPEECH_BACKFILL_FILES_PER_TRANSCRIPTION": "1000",
    "SPEECH_BACKFILL_POLL_INTERVAL_SECONDS": "10",
    "SPEECH_BACKFILL_FIRST_LOOK_SECONDS": "10",
}

_PARTITION = "million"
_TABLES = ("outcomes", "transcripts", "phrases")
"""Each has a row for each audio file, for there is one phrase in it."""
_TELL_SECONDS = 10.0
_LONGEST_SECONDS = 4 * 3600
_EMULATED = {"azurite", "speech-emulator"}
_TRIGGERER = "triggerer"
"""Our triggers run in this process of Airflow's, so that its memory counts as ours."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What stands in a published table."""

    rows: int
    files: int
    """Different audio files in them."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run has shown."""

    files: int
    seconds: float
    states: Counter[str]
    transcribed: int
    """Audio files that publish says are transcribed."""
    published: Mapping[str, Counted]
    emulator: Mapping[str, Any]
    cpu: Mapping[str, float]
    """CPU seconds by service; task processes are the scheduler's children and count there."""
    ours: Mapping[str, float]
    """Peak MB of the processes in which our code runs: by kind of task, and the triggerer."""
    others: Mapping[str, float]
    """Peak MB of all other services."""

    @property
    def tasks(self) -> int:
        """Task instances, skipped ones included."""
        return self.states.total()

    @property
    def cpu_of_ours(self) -> float:
        """Of Airflow and our code in it."""
        return sum(used for name, used in self.cpu.items() if name not in _EMULATED)

    @property
    def accounted(self) -> int:
        """Audio files that are transcribed by publish's count and by that of every table."""
        files = [self.published[one].files if one in self.published else 0 for one in _TABLES]
        return min(self.transcribed, *files)

    @property
    def too_many(self) -> int:
        """Rows beyond one a file, transcriptions submitted twice, and audio files that were sent more than once."""
        surplus = sum(one.rows - one.files for one in self.published.values())
        return surplus + len(self.emulator["duplicates"]) + max(0, self.emulator["files"] - self.files)


def main(arguments: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench million",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--files", type=int, nargs="+", default=list(SIZES))
    found = rows(sizes=parser.parse_args(arguments).files)
    print(table(found))
    return 0 if all(one.good for one in found) else 1


def rows(*, sizes: Sequence[int] | None = None) -> list[Figure]:
    """One run for each of *sizes*, the smallest first."""
    runs = []
    for files in sorted(sizes or SIZES):
        runs.append(_run(files))
        _tell(runs[-1])
    return figures(runs)


def figures(runs: Sequence[Run]) -> list[Figure]:
    """What *runs*, the smallest first, have come to."""
    found = [figure for one in runs for figure in _figures(one)]
    smallest, largest = runs[0], runs[-1]
    if largest.files > smallest.files:
        growth = (largest.cpu_of_ours / largest.files) / (smallest.cpu_of_ours / smallest.files)
        what = f"CPU of Airflow and our code a file, {largest.files:,} files against {smallest.files:,}"
        found.append(at_most(what, LINEAR, growth, "x"))
        further = (largest.cpu_of_ours - smallest.cpu_of_ours) / (largest.files - smallest.files)
        found.append(told("CPU of Airflow and our code for each further file", further * 1000, "ms"))
    return found


def _figures(one: Run) -> list[Figure]:
    of = f"of {one.files:,} files"
    largest = max(one.ours, key=lambda name: one.ours[name])
    return [
        at_least(f"{of}, accounted for in every table", one.files, one.accounted, ""),
        at_most(f"{of}, submitted twice or with a second row", 0, one.too_many, ""),
        at_most(f"{one.files:,} files, task instances", MOST_TASKS, one.tasks, ""),
        at_most(
            f"{one.files:,} files, peak memory of a process of ours",
            MOST_MB,
            one.ours[largest],
            f"MB ({largest})",
        ),
        told(
            f"{one.files:,} files, CPU of Airflow and our code",
            one.cpu_of_ours / one.files * 1000,
            "ms a file",
        ),
        told(f"{one.files:,} files, wall", one.seconds / 60, "minutes"),
    ]


def _run(files: int) -> Run:
    with four_regions(window=WINDOW, audio_speed=0, settings=SETTINGS, seconds=RECORDINGS) as regions:
        began = time.monotonic()
        source = regions.upload_manifest(f"{files}.csv", files)
        print(f"\n{files:,} files: manifest made in {time.monotonic() - began:.0f} s", flush=True)
        api = regions.stack.airflow.api
        dag_run.wait_for_dag(api, timeout_seconds=180)
        services = {one.pid: one.name for one in regions.stack.supervisor.running()}
        memory = PeakMemory(services)
        before, began = cpu_seconds(regions.stack), time.monotonic()
        memory.start()
        run_id = regions.trigger(source, _PARTITION)
        watched = _Watched(regions, run_id, memory)
        ended = dag_run.follow(
            api,
            run_id,
            lambda line: print(line, flush=True),
            also=watched.said,
            timeout_seconds=_LONGEST_SECONDS,
            every_seconds=_TELL_SECONDS,
        )
        seconds = time.monotonic() - began
        cpu = {name: used - before.get(name, 0.0) for name, used in cpu_seconds(regions.stack).items()}
        memory.stop()
        if ended.state != "success":
            raise RuntimeError(dag_run.failed_task_logs(api, ended))
        where = f"/dags/{dag_run.DAG_ID}/dagRuns/{quote(run_id, safe='')}"
        reported = api.get(f"{where}/taskInstances/publish/xcomEntries/return_value")["value"]
        tasks, peaks = watched.by_task(), memory.peaks.services
        return Run(
            files=files,
            seconds=seconds,
            states=Counter(one.state for one in ended.tasks),
            transcribed=reported["transcribed"],
            published=counted(_store(regions), _PARTITION),
            emulator=regions.get("state"),
            cpu=cpu,
            ours=tasks | {name: peak for name, peak in peaks.items() if name.startswith(_TRIGGERER)},
            others={name: peak for name, peak in peaks.items() if not name.startswith(_TRIGGERER)},
        )


class _Watched:
    """What is told of a run while it goes on."""

    def __init__(self, regions: Regions, run_id: str, memory: PeakMemory) -> None:
        self._regions = regions
        self._where = f"/dags/{dag_run.DAG_ID}/dagRuns/{quote(run_id, safe='')}"
        self._memory = memory
        self._names: dict[str, str] = {}

    def said(self) -> str:
        """A line for people; fails at once where memory is not watched any more."""
        assert self._memory.is_alive()
        state = self._regions.get("state")
        peaks = self.by_task()
        largest = max(peaks, key=lambda one: peaks[one], default="")
        return (
            f"{state['accepted']:,} transcriptions accepted, {state['requests'].get('download', 0):,} files downloaded"
            + (f"; peak {peaks[largest]:.0f} MB ({largest})" if largest else "")
        )

    def by_task(self) -> dict[str, float]:
        """The peak of each kind of task so far. Airflow is asked only where a task is new: asking costs it CPU, too.

        A task that is repeated goes on under another id, so what was learnt stays.
        """
        if any(one not in self._names for one in list(self._memory.peaks.tasks)):
            found = self._regions.stack.airflow.api.get(f"{self._where}/taskInstances?limit=1000")
            self._names |= {one["id"]: str(one["task_id"]) for one in found["task_instances"]}
        return self._memory.peaks.by_task(self._names)


def counted(store: Store, partition: str) -> dict[str, Counted]:
    """Every published table that has rows, counted in its Parquet files; of outcomes those of transcribed files."""
    import duckdb

    from speech_backfill.tables.published import PublishedTables

    found = {}
    with tempfile.TemporaryDirectory(prefix="speech-backfill-million-") as folder:
        for name, parts in PublishedTables(store).read(partition).tables.items():
            if not parts:
                continue
            paths = [Path(folder) / f"{name}-{number}.parquet" for number in range(len(parts))]
            for part, path in zip(parts, paths, strict=True):
                store.download(part.path, path)
            only = "WHERE outcome = 'transcribed'" if name == "outcomes" else ""
            [(rows, files)] = duckdb.execute(
                f"SELECT count(*), count(DISTINCT file_id) FROM read_parquet($paths) {only}",
                {"paths": [str(one) for one in paths]},
            ).fetchall()
            found[name] = Counted(rows, files)
            for path in paths:
                path.unlink()
    return found


def _store(regions: Regions) -> Store:
    from speech_backfill.accounts import AccountKey, StorageAccount, StorageAccounts
    from speech_backfill.store import Store

    endpoint = azurite.endpoint(regions.stack.ports.azurite)
    account = StorageAccount(azurite.ACCOUNT, endpoint, AccountKey(azurite.WELL_KNOWN_KEY))
    return Store.open(f"az://{STORE_CONTAINER}/", StorageAccounts.of([account]))


def _tell(one: Run) -> None:
    print(f"\naudio files        {one.files:,}; {one.transcribed:,} transcribed, as publish says")
    for name, published in one.published.items():
        print(f"rows published     {name} {published.rows:,}, of {published.files:,} files")
    state = one.emulator
    print(
        f"emulator           {state['accepted']:,} transcriptions of {state['files']:,} files, "
        f"{len(state['duplicates'])} submitted twice; 429s {state['throttled']}; requests {state['requests']}"
    )
    print(f"task instances     {one.tasks}: {', '.join(f'{n} {state}' for state, n in one.states.items())}")
    print(f"wall               {one.seconds:.0f} s, {one.files / one.seconds:.0f} files a second")
    for name, used in sorted(one.cpu.items()):
        print(f"CPU                {name:<20} {used:>8.1f} s")
    for name, peak in sorted(one.ours.items(), key=lambda of: -of[1]):
        print(f"peak memory, ours  {name:<20} {peak:>8.0f} MB")
    for name, peak in sorted(one.others.items(), key=lambda of: -of[1]):
        print(f"peak memory        {name:<20} {peak:>8.0f} MB")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
