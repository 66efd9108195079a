"""CPU of turning result files into Parquet parts, beside pandas, DuckDB, polars and pyarrow in the same run.

    python -m bench merge_decode

The corpus is generated: result files as the service writes them, with and without word times, from a fixed seed.
Every figure is CPU time (user + system, all threads) of a process of its own, imports not counted, the least of the
rounds; every round runs every candidate. Files are read from a warm disk cache. The alternatives get the whole corpus or
the first files of it and are compared per byte of JSON.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bench.figures import Figure, at_least, table, told
from bench.json_to_parquet import (
    duckdb_read_json,
    pandas_in_bulk,
    pandas_per_file,
    polars_json,
    pyarrow_json,
)
from bench.result_files import corpus

OURS, SHARD = "speech_backfill", "speech_backfill, the whole merge of a shard"
READ, WRITE = "floor: read and parse", "floor: Parquet write"
PANDAS, PANDAS_BULK = "pandas, per file", "pandas, in bulk"
ENGINES = {"DuckDB read_json": duckdb_read_json, "polars": polars_json, "pyarrow.json": pyarrow_json}
OTHERS = {PANDAS: pandas_per_file, PANDAS_BULK: pandas_in_bulk, **ENGINES}
CANDIDATES = (OURS, SHARD, *OTHERS, READ, WRITE)

_CPU_SECONDS_A_PROCESS = 1.5


def ours(paths: Sequence[Path], out: Path) -> None:
    """Decode the result files and write their parts."""
    from speech_backfill.tables.parts import PartWriter

    with PartWriter(out) as writer:
        for index, path in enumerate(paths):
            writer.add(
                f"{index:032x}", f"https://account.blob.core.windows.net/audio/{path.name}", path.read_bytes()
            )


def parse_all(paths: Sequence[Path]) -> None:
    """Read and parse into typed values, and nothing else."""
    from speech_backfill.results.decode import decode_result

    for path in paths:
        decode_result(path.read_bytes())


def work_of(name: str, paths: list[Path], out: Path) -> Callable[[], object]:
    """The work of a candidate, ready to run: its imports are done and paid for."""
    if name == SHARD:
        from bench.local_shard import merge_of_a_shard

        return merge_of_a_shard(paths, out)
    if name == READ:
        return lambda: parse_all(paths)
    if name == WRITE:
        import pyarrow.parquet as pq

        ours(paths, out)
        tables = {path.stem: pq.read_table(path) for path in out.glob("*.parquet")}
        return lambda: [pq.write_table(one, out / f"{stem}.parquet") for stem, one in tables.items()]
    work = ours if name == OURS else OTHERS[name]
    work(paths[:2], out)
    return lambda: work(paths, out)


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU that *work* takes now."""
    started = time.process_time()
    work()
    return time.process_time() - started


def least_cpu_seconds(work: Callable[[], object]) -> float:
    """The least of as many runs as fit: on a shared machine the least is what the work takes."""
    spent = [cpu_seconds(work)]
    while len(spent) < 2 or sum(spent) < _CPU_SECONDS_A_PROCESS:
        spent.append(cpu_seconds(work))
    return min(spent)


def in_a_process(*arguments: object) -> str:
    """What this module prints when it is run with *arguments* in a process of its own."""
    environment = os.environ | {
        # Their own threads would count as CPU and gain nothing on this comparison.
        "POLARS_MAX_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(("include", "plugins", ".")),
    }
    ran = subprocess.run(
        [sys.executable, "-m", "bench.merge_decode", *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).resolve().parent.parent,
    )
    return ran.stdout.strip()


@dataclass(frozen=True, slots=True)
class Measured:
    """CPU seconds per MB of JSON of every candidate, for one corpus."""

    title: str
    cost: dict[str, float]

    @property
    def floor(self) -> float:
        return self.cost[READ] + self.cost[WRITE]

    def figures(self) -> list[Figure]:
        mine = self.cost[OURS]
        against = {name: cost / mine for name, cost in self.cost.items()}
        title = self.title
        return [
            at_least(f"merge, CPU, against pandas file by file, {title}", 20, against[PANDAS], "times"),
            at_least(
                f"merge, CPU, against the best of DuckDB, polars and pyarrow.json, {title}",
                1.3,
                min(against[name] for name in ENGINES),
                "times",
            ),
            at_least(f"merge, share of the floor (read, parse, write), {title}", 0.6, self.floor / mine, ""),
            told(f"whole merge of a shard, {title}", 1 / self.cost[SHARD], "MB of JSON per CPU-second"),
        ]


def measure(files: int, slow_files: int, rounds: int, folder: Path, *, words: bool) -> Measured:
    """Run every candidate in every round, each in its own process."""
    paths = corpus(folder, files, words=words)
    sizes = [path.stat().st_size for path in paths]
    cost = dict.fromkeys(CANDIDATES, float("inf"))
    for _ in range(rounds):
        for name in CANDIDATES:
            used = slow_files if name in {PANDAS, PANDAS_BULK} else files
            seconds = float(in_a_process("--candidate", name, "--files", used, "--folder", folder))
            cost[name] = min(cost[name], seconds / (sum(sizes[:used]) / 1e6))
    title = f"{'with' if words else 'without'} word times"
    print(f"\n{title}: {files:,} result files, {sum(sizes) / 1e6:,.0f} MB of JSON")
    for name in CANDIDATES:
        print(
            f"  {name:44} {1 / cost[name]:8.1f} MB per CPU-second   {cost[name] / cost[OURS]:6.2f} times our CPU"
        )
    return Measured(title, cost)


def rows(
    *,
    files: int = 600,
    pandas_files: int = 120,
    rounds: int = 3,
) -> list[Figure]:
    """CPU of the merge beside the goals. Prints what they are made of."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("pandas", "duckdb", "polars", "pyarrow"))
    print(f"Python {platform.python_version()}, {packages}, {platform.machine()}")
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as scratch:
        # The files without word times are smaller by as much.
        for name, words, factor in (("words", True, 1), ("no words", False, 3)):
            folder = Path(scratch) / name
            measured = measure(files * factor, pandas_files * factor, rounds, folder, words=words)
            figures += measured.figures()
    return figures


def main(arguments: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench merge_decode",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--files", type=int, default=600, help="result files with word times; three times as many without"
    )
    parser.add_argument("--pandas-files", type=int, default=120, help="how many of them pandas gets")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--candidate", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as out:
        if given.candidate is not None:
            paths = sorted(given.folder.glob("*.json"))[: given.files]
            work = work_of(given.candidate, paths, Path(out))
            print(least_cpu_seconds(work))
            return 0
    figures = rows(files=given.files, pandas_files=given.pandas_files, rounds=given.rounds)
    print("\n" + table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
