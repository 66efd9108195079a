"""Where the CPU of merging a shard goes: a py-spy profile of the whole merge, summed up by our own functions.

    python -m bench merge_profile             # result files without word times
    python -m bench merge_profile --words

What a library does counts for the function of ours that calls it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench.local_shard import merge_of_a_shard
from bench.result_files import corpus

_MERGE = "merge_of_a_shard.<locals>.merge "
_OURS = re.compile(r"(?P<function>[\w.]+) \((?:speech_backfill|bench)/(?P<file>[\w/]+\.py):\d+\)")
_FILES, _SECONDS, _SAMPLES_A_SECOND, _SHOWN = {True: 200, False: 600}, 15.0, 200, 12


def profile(folder: Path, *, words: bool) -> Counter[str]:
    """Samples by function, of a process that merges the same shard again and again."""
    raw = folder / "samples.txt"
    command = [str(Path(sys.executable).with_name("py-spy")), "record", "--format", "raw", "--function"]
    command += ["--rate", str(_SAMPLES_A_SECOND), "--output", str(raw), "--"]
    command += [sys.executable, "-m", "bench.merge_profile", "--work", str(folder), *(["--words"] * words)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode or not raw.exists():
        raise SystemExit(f"py-spy could not record (it needs the right to trace a process): {ran.stderr}")
    samples: Counter[str] = Counter()
    for line in raw.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        if _MERGE in stack:
            samples[whose(stack)] += int(count)
    return samples


def whose(stack: str) -> str:
    """The innermost function of ours in a stack of frames."""
    *_, last = _OURS.finditer(stack)
    return f"`{last['function'].rpartition('.')[2]}` in {last['file']}"


def work(folder: Path, *, words: bool) -> None:
    """Merge a shard for a while."""
    merge = merge_of_a_shard(corpus(folder / "corpus", _FILES[words], words=words), folder)
    ends = time.monotonic() + _SECONDS
    while time.monotonic() < ends:
        merge()


def main(arguments: list[str]) -> int:
    """Profile and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench merge_profile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--words", action="store_true", help="result files with word times")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.work is not None:
        work(given.work, words=given.words)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        samples = profile(Path(scratch), words=given.words)
    print("| share of CPU | where |\n|---:|---|")
    for name, count in samples.most_common(_SHOWN):
        print(f"| {100 * count / samples.total():.1f} % | {name} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
