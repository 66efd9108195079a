"""What each part measured last, kept in docs/benchmarks.json, and the table that docs/BENCHMARKS.md shows of it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.figures import Figure, goal, said

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "docs" / "benchmarks.json"
PAGE = ROOT / "docs" / "BENCHMARKS.md"
BEGIN = "<!-- From here to the next mark: written by `make bench` from benchmarks.json. -->"
END = "<!-- End of what `make bench` writes. -->"

EVERYTHING = "make bench"
"""The command that all parts of the default set share."""

_OTHER_RUN = "†"
_PACKAGES = (
    "apache-airflow",
    "pyarrow",
    "duckdb",
    "msgspec",
    "SQLAlchemy",
    "obstore",
    "aiohttp",
    "httpx",
    "azure-storage-blob",
    "pandas",
    "polars",
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One part's last figures, and where they come from."""

    part: str
    command: str
    at: str
    """When the command was typed, in UTC; the same for all of its parts."""
    seconds: float
    load: float
    """Processes that wanted a core when the part began, as the system counts them over a minute."""
    versions: str
    machine: str
    figures: tuple[Figure, ...]

    @classmethod
    def from_dict(cls, part: str, values: Mapping[str, Any]) -> Measured:
        """Out of the file."""
        figures = tuple(Figure(**one) for one in values["figures"])
        return cls(part=part, **{**values, "figures": figures})

    def to_dict(self) -> dict[str, Any]:
        """For the file."""
        return {name: value for name, value in asdict(self).items() if name != "part"}


def versions() -> str:
    """Python and the packages that figures depend on."""
    named = [f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES]
    return ", ".join([f"Python {platform.python_version()}", *named])


def machine() -> str:
    """Cores, processor and memory."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = models[0] if models else platform.machine()
    return f"{os.cpu_count()} cores, {model}, {gigabytes:.0f} GB, {platform.system()}"


def now() -> str:
    """The moment, as records have it."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M}"


def read(path: Path = RECORD) -> dict[str, Measured]:
    """What is kept, by part."""
    if not path.exists():
        return {}
    kept = json.loads(path.read_text(encoding="utf-8"))
    return {name: Measured.from_dict(name, values) for name, values in kept.items()}


def keep(measured: Measured, path: Path = RECORD) -> None:
    """Put *measured* in the place of its part's last figures."""
    kept = {**read(path), measured.part: measured}
    values = {name: kept[name].to_dict() for name in sorted(kept)}
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def rendered(kept: Mapping[str, Measured], order: Iterable[str]) -> str:
    """The tables of docs/BENCHMARKS.md: figures in the *order* of their parts, then where they come from."""
    places = {name: number for number, name in enumerate(order)}
    found = sorted(kept.values(), key=lambda one: (places.get(one.part, len(places)), one.part))
    whole = max((one.at for one in found if one.command == EVERYTHING), default="")
    environments = list(dict.fromkeys((one.versions, one.machine) for one in found))
    figures, sources = [], []
    for one in found:
        mark = "" if (one.command, one.at) == (EVERYTHING, whole) else f" {_OTHER_RUN}"
        figures += [
            f"| {figure.what} |{goal(figure)} | {said(figure)} | {one.at[:10]}{mark} |"
            for figure in one.figures
        ]
        where = environments.index((one.versions, one.machine)) + 1
        sources.append(
            f"| {one.part}{mark} | `{one.command}` | {one.at} | {one.seconds / 60:.1f} min | {one.load:.1f} | {where} |"
        )
    summary = (
        f"Last `{EVERYTHING}`: {whole} UTC. {_OTHER_RUN}: carried over from a command of its own, as the second table says."
        if whole
        else f"No `{EVERYTHING}` has been run yet; each part comes from the command in the second table."
    )
    return "\n".join(
        [
            summary,
            "",
            "| what | goal | measured | on |",
            "|---|---:|---:|---|",
            *figures,
            "",
            "| part | command | begun (UTC) | took | load | measured with |",
            "|---|---|---|---:|---:|---:|",
            *sources,
            "",
            *(
                f"{number}. {versions}; {machine}."
                for number, (versions, machine) in enumerate(environments, 1)
            ),
        ]
    )


def with_tables(page: str, tables: str) -> str:
    """*page* with *tables* between its marks. Raises ValueError where it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page lacks the marks {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def write_page(order: Iterable[str]) -> None:
    """Bring docs/BENCHMARKS.md up to what is kept."""
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_tables(page, rendered(read(), order)), encoding="utf-8")
