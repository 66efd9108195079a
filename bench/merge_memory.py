"""Peak memory of a process that decodes so many result files and writes their part files.

    python -m bench merge_memory [--sizes 1000 100000]

A small corpus, with word times and without, is read again and again; what is written is thrown away with its folder. Each
size is a process of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.figures import Figure, at_most, table
from bench.merge_decode import ours
from bench.result_files import corpus

SIZES = (1_000, 100_000)
MOST_MB = 256
MOST_GROWTH = 15
_CORPUS = 500


def main(arguments: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench merge_memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.peak_of is not None:
        _merge(given.folder, given.peak_of)
        return 0
    found = rows(sizes=given.sizes)
    print(table(found))
    return 0 if all(one.good for one in found) else 1


def rows(*, sizes: Sequence[int] = SIZES) -> list[Figure]:
    """The larger peak of the two kinds at each size, and the larger growth."""
    peaks: list[list[float]] = []
    for words in (True, False):
        with tempfile.TemporaryDirectory(prefix="speech-backfill-merge-memory-") as name:
            files = Path(name, "files")
            corpus(files, _CORPUS, words=words)
            peaks.append([_peak(files, size, words=words) for size in sorted(sizes)])
    found = [
        at_most(f"merge, peak memory at {size:,} result files", MOST_MB, max(at), "MB")
        for size, *at in zip(sorted(sizes), *peaks, strict=True)
    ]
    if len(sizes) > 1:
        growth = max(one[-1] / one[0] - 1 for one in peaks)
        what = f"merge, growth of it from {min(sizes):,} to {max(sizes):,} result files"
        found.append(at_most(what, MOST_GROWTH, 100 * growth, "%"))
    return found


def _peak(folder: Path, size: int, *, words: bool) -> float:
    ran = subprocess.run(
        [sys.executable, "-m", "bench", "merge_memory", "--peak-of", str(size), "--folder", str(folder)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    megabytes, seconds, pandas = ran.stdout.split()
    kind = f"{'with' if words else 'without'} word times"
    print(f"  {size:9,} result files {kind}: {megabytes} MB, {seconds} CPU-s, pandas imported: {pandas}")
    return float(megabytes)


def _merge(folder: Path, size: int) -> None:
    paths = sorted(folder.glob("*.json"))
    with tempfile.TemporaryDirectory(prefix="speech-backfill-merge-memory-parts-") as out:
        ours([paths[index % len(paths)] for index in range(size)], Path(out))
        print(f"{peak_mb():.1f} {time.process_time():.1f} {'pandas' in sys.modules}")


def peak_mb() -> float:
    """The most memory that this process has ever had; not that of the one it was forked from."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
