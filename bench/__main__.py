"""Run measurements.

    python -m bench                          every part of the default set, under 40 minutes on two cores; writes the tables
    python -m bench NAME … [--write]         these parts, and their table; with --write it goes into the documents, too
    python -m bench NAME --OPTION VALUE …    one measurement with options of its own; `--help` names them
    python -m bench --list                   the parts and the measurements there are

The figures of each part are kept in docs/benchmarks.json, and docs/BENCHMARKS.md shows them; parts that were not run keep
theirs, with their own date and command. Exit status 1 where a goal was missed or a part broke down.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import record, scale
from bench.figures import Figure, table
from bench.parts import PARTS, Part, part
from bench.record import EVERYTHING, Measured

AT_A_TIME = 2
"""Parts that do not disturb each other, on as many cores."""


def main(arguments: list[str]) -> int:
    """Hand over to the measurements that are named."""
    parts = {one.name for one in PARTS}
    if not arguments:
        chosen = [one for one in PARTS if one.by_default]
        return _measure(chosen, EVERYTHING, write=True)
    if arguments == ["--list"]:
        return _list()
    if len(arguments) == 3 and arguments[0] == "--figures":
        return _figures(Path(arguments[1]), part(arguments[2]))
    names = [one for one in arguments if one != "--write"]
    if names and set(names) <= parts:
        write = "--write" in arguments
        chosen = [one for one in PARTS if one.name in names]
        said = " ".join([*(one.name for one in chosen), *(["--write"] if write else [])])
        return _measure(chosen, f'{EVERYTHING} ARGS="{said}"', write=write)
    if arguments[0] in measurements():
        status: int = importlib.import_module(f"bench.{arguments[0]}").main(arguments[1:])
        return status
    unknown = [one for one in arguments if not one.startswith("-") and one not in parts]
    print(f"{__doc__}\nunknown: {', '.join(unknown) or ' '.join(arguments)}", file=sys.stderr)
    return 2


def measurements() -> list[str]:
    """Modules with a `main` of their own."""
    folder = Path(__file__).parent
    return sorted(
        one.name
        for one in pkgutil.iter_modules([str(folder)])
        if one.name != "__main__" and "\ndef main(" in (folder / f"{one.name}.py").read_text(encoding="utf-8")
    )


def _list() -> int:
    print(__doc__)
    print("Parts:")
    for one in PARTS:
        options = ", ".join(f"{name}={value}" for name, value in one.options.items())
        of = f"{one.module or one.name}({options})" if options or one.module else ""
        note = of if one.by_default else "; ".join(filter(None, [of, "not in the default set"]))
        print(f"  {one.name:<16} about {one.minutes:>5.1f} min  {note}".rstrip())
    print("\nMeasurements:")
    for name in measurements():
        says = (importlib.import_module(f"bench.{name}").__doc__ or "").strip().split("\n", 1)[0]
        print(f"  {name:<16} {says}")
    return 0


def _figures(path: Path, one: Part) -> int:
    """What the process of a part does: measure, and leave the figures at *path*."""
    found = one.rows()
    print(table(found))
    path.write_text(json.dumps([asdict(figure) for figure in found]), encoding="utf-8")
    return 0


@dataclass(frozen=True)
class _Run:
    """One command over several parts."""

    command: str
    at: str
    write: bool
    folder: Path
    lock: threading.Lock
    measured: list[Measured]
    broken: list[str]

    def measure(self, one: Part) -> None:
        """One part in a process of its own, whose lines carry its name; what it measured is kept at once."""
        path, began, load = self.folder / f"{one.name}.json", time.monotonic(), os.getloadavg()[0]
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "bench", "--figures", str(path), one.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            print(f"{one.name:<15} | {line}", end="", flush=True)
        ended, seconds = process.wait(), time.monotonic() - began
        if ended or not path.exists():
            self.broken.append(one.name)
            print(f"{one.name:<15} | broke down with {ended} after {seconds / 60:.1f} min", flush=True)
            return
        print(f"{one.name:<15} | took {seconds / 60:.1f} min, expected {one.minutes:.1f}", flush=True)
        figures = tuple(Figure(**values) for values in json.loads(path.read_text(encoding="utf-8")))
        measured = Measured(
            part=one.name,
            command=self.command,
            at=self.at,
            seconds=round(seconds, 1),
            load=round(load, 1),
            versions=record.versions(),
            machine=record.machine(),
            figures=figures,
        )
        with self.lock:
            self.measured.append(measured)
            if self.write:
                record.keep(measured)


def _measure(parts: Iterable[Part], command: str, *, write: bool) -> int:
    """First what wants the machine for itself, then the others two at a time, the longest first."""
    order = [one.name for one in PARTS]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="speech-backfill-bench-") as name:
        run = _Run(command, record.now(), write, Path(name), threading.Lock(), [], [])
        for one in parts:
            if one.alone:
                run.measure(one)
        others = sorted((one for one in parts if not one.alone), key=lambda one: -one.minutes)
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            list(pool.map(run.measure, others))
    shown = {one.part: one for one in run.measured}
    print(f"\n{record.rendered(record.read() if command == EVERYTHING else shown, order)}\n")
    if write:
        record.write_page(order)
        scale.write_page()
        written = (record.RECORD, record.PAGE, scale.PAGE)
        print(f"Written: {', '.join(str(one.relative_to(record.ROOT)) for one in written)}")
    missed = [figure.what for one in run.measured for figure in one.figures if not figure.good]
    print("".join(f"missed       {what}\n" for what in missed), end="")
    print("".join(f"broke down   {one}\n" for one in run.broken), end="")
    print(f"{', '.join(shown) or 'nothing'} in {(time.monotonic() - began) / 60:.1f} min")
    return 1 if missed or run.broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
