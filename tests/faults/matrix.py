"""The crash matrix: the same small partition, run by processes that are killed at every point, and what must hold after it.

A world is an emulator and a parent of processes; a case is one story in it: lives that end somewhere, and a last one that
succeeds. Every case begins from nothing.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from faults.forks import STOPPED, Forks
from faults.life import ENDPOINT, SETTINGS, Job
from faults.points import AFTER, BEFORE, DURING, Kill, possible
from speech_emulator.config import from_mapping
from speech_emulator.server import running

FILES = tuple(f"call-{number:02}.wav" for number in range(12))

RULES: tuple[dict[str, Any], ...] = (
    {"kind": "files_fail", "files": "*call-07.wav", "error_kind": "InvalidData"},
    {"kind": "files_fail", "files": "*call-02.wav", "error_kind": "Transient", "nth": [1, 2, 3]},
)
"""One file fails for good; one fails in the first round, which is three transcriptions, and not in its repair."""

_MOST_LIVES = 8


@dataclass(frozen=True)
class Calm:
    """What a run without any crash came to, and the points at which another could have ended."""

    outcome: dict[str, Any]
    state: dict[str, Any]
    points: tuple[tuple[Kill, str], ...]


@dataclass(frozen=True)
class Case:
    """A story: where each life before the last ends."""

    kills: tuple[Kill, ...]
    mode: str = "command"
    at_once: bool = False
    """Whether the next life begins while the leases of the last still hold; else some time later."""
    freeze: bool = False
    """The first life is not killed but frozen; it goes on after another has done everything."""
    label: str = ""

    @property
    def name(self) -> str:
        """How the case is typed to be replayed."""
        flags = (["at-once"] if self.at_once else []) + (["freeze"] if self.freeze else [])
        return "/".join([self.mode, "+".join(map(str, self.kills)), *flags])

    @classmethod
    def parse(cls, text: str) -> Case:
        mode, kills, *flags = text.split("/")
        return cls(
            tuple(Kill.parse(one) for one in kills.split("+")),
            mode,
            at_once="at-once" in flags,
            freeze="freeze" in flags,
        )


@dataclass(frozen=True)
class Verdict:
    """What is wrong after a case; nothing is what is wanted."""

    case: str
    duplicates: int = 0
    lost: int = 0
    wrong_rows: int = 0
    problems: tuple[str, ...] = ()
    lives: int = 1

    @property
    def good(self) -> bool:
        return not (self.duplicates or self.lost or self.wrong_rows or self.problems)


@dataclass
class World:
    """One emulator and one parent of processes."""

    base_url: str
    forks: Forks
    folder: Path
    http: httpx.Client
    rules: tuple[dict[str, Any], ...] = RULES
    ledger_urls: Any = None
    """Makes the URL of an empty ledger; None: a SQLite file in the case's folder."""
    settings: dict[str, Any] = field(default_factory=dict)
    sabotage: str = ""
    statements: bool = False
    account_url: str = ENDPOINT
    content: bool = False
    resources: tuple[str, ...] = ("local",)
    window: int = 4
    azurite: str = ""
    unlike: tuple[str, ...] = ()

    @classmethod
    @contextmanager
    def opened(
        cls, folder: Path, *, emulator: Mapping[str, Any] | None = None, **values: Any
    ) -> Iterator[World]:
        """*emulator* replaces sections of the emulator's settings."""
        settings = from_mapping(
            {
                "recogniser": {"kind": "synthetic"},
                "queue": {"start_delay_seconds": 0},
                "throttle": {"enabled": False},
                "resources": [
                    {"name": "local", "key": "local-key"},
                    {"name": "west", "key": "west-key", "region": "westeurope"},
                ],
                **(emulator or {}),
            }
        )
        with ExitStack() as stack:
            forks = stack.enter_context(Forks.started())
            base_url = stack.enter_context(running(settings))
            http = stack.enter_context(httpx.Client(base_url=base_url, timeout=30))
            yield cls(base_url, forks, folder, http, **values)

    # --- a life -----------------------------------------------------------------------------------

    def fresh(self, *, migrated: bool = True) -> Job:
        """A folder with a manifest and an empty ledger, and a service that knows nothing."""
        self.http.post("/admin/reset").raise_for_status()
        if self.rules:
            self.http.post("/admin/faults", json={"rules": list(self.rules)}).raise_for_status()
        folder = self.folder / uuid.uuid4().hex[:12]
        folder.mkdir(parents=True)
        lines = ["uri,etag,size_bytes,duration_ms"]
        lines += [f"{self.account_url}/audio/{name},e1,32000,2000" for name in FILES]
        (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
        if self.ledger_urls is not None:
            ledger = self.ledger_urls()
        else:
            ledger = f"sqlite:///{folder}/ledger.db"
            if migrated:
                shutil.copyfile(self._migrated(), folder / "ledger.db")
        return Job(
            folder=str(folder),
            ledger=ledger,
            service=self.base_url,
            manifest=str(folder / "manifest.csv"),
            settings=self.settings,
            sabotage=self.sabotage,
            statements=self.statements,
            account_url=self.account_url,
            content=self.content,
            resources=self.resources,
            window=self.window,
            azurite=self.azurite,
            unlike=self.unlike,
        )

    def _migrated(self) -> Path:
        """An empty ledger with its schema: making that anew each time would cost more than the run."""
        template = self.folder / "template.db"
        if not template.exists():
            folder = self.folder / "template"
            folder.mkdir(parents=True)
            job = Job(str(folder), f"sqlite:///{template}", self.base_url, "", only_migrate=True)
            _, end = self.forks.run(job)
            assert end == 0, (folder / "error.txt").read_text()
        return template

    def state(self) -> dict[str, Any]:
        """The emulator's counters, and everything it ever accepted."""
        found: dict[str, Any] = self.http.get("/admin/state").raise_for_status().json()
        found["all"] = self.http.get("/admin/transcriptions").raise_for_status().json()["values"]
        return found

    # --- a story ----------------------------------------------------------------------------------

    def calm(self, mode: str = "command", *, migrated: bool = True) -> Calm:
        """A run that nobody disturbs."""
        job = replace(self.fresh(migrated=migrated), mode=mode)
        _, end = self.forks.run(job)
        folder = Path(job.folder)
        assert end == 0, (folder / "error.txt").read_text()
        outcome = json.loads((folder / "outcome.json").read_text())
        calm = Calm(outcome, self.state(), tuple(possible(folder / "points.log")))
        shutil.rmtree(folder)
        return calm

    def tell(self, case: Case, calm: Calm, *, migrated: bool = True) -> Verdict:
        """Play *case* and judge it."""
        job = replace(self.fresh(migrated=migrated), mode=case.mode)
        folder, lives = Path(job.folder), 0
        frozen: int | None = None
        for kill in (*case.kills, *[None] * _MOST_LIVES):
            later = 0.0 if case.at_once else lives * _PAST_ALL_LEASES
            life = replace(
                job,
                kill=str(kill) if kill else None,
                skip_seconds=later,
                freeze=case.freeze and lives == 0,
            )
            pid, end = self.forks.run(life)
            lives += 1
            if end == STOPPED:
                frozen = pid
            elif end == 0:
                break
            elif end != -signal.SIGKILL:
                error = (folder / "error.txt").read_text()
                verdict = Verdict(case.name, problems=(f"life {lives} ended with {end}: {error}",))
                return replace(verdict, lives=lives)
        else:
            return Verdict(case.name, problems=(f"not done after {lives} lives",), lives=lives)
        if frozen is not None:
            self.forks.resume(frozen)
            # It may have done something or met an error; whoever runs the command once more must find all as it was.
            (folder / "outcome.json").unlink()
            _, end = self.forks.run(replace(job, mode="command", skip_seconds=2 * _PAST_ALL_LEASES))
            if end != 0:
                error = (folder / "error.txt").read_text()
                return Verdict(case.name, problems=(f"after the thaw: {error}",), lives=lives)
            lives += 1
        outcome = json.loads((folder / "outcome.json").read_text())
        verdict = judge(case.name, outcome, self.state(), calm)
        if verdict.good:
            shutil.rmtree(folder)
        return replace(verdict, lives=lives)


_PAST_ALL_LEASES = 3 * (
    SETTINGS["lease_seconds"] + SETTINGS["submit_timeout_seconds"] + SETTINGS["lookup_grace_seconds"]
)


def judge(name: str, outcome: dict[str, Any], state: dict[str, Any], calm: Calm) -> Verdict:
    """Compare what readers, ledger and service say now with a calm run, and with each other."""
    duplicates = sum(count - 1 for count in state["duplicates"].values())
    extra = state["accepted"] - calm.state["accepted"]
    files = Counter(outcome["files"])
    lost = len(set(FILES) - set(files)) + sum(
        1
        for file, found in calm.outcome["outcomes"].items()
        if found[0] == "transcribed" and outcome["outcomes"].get(file, ["", ""])[0] != "transcribed"
    )
    wrong = sum(count - 1 for count in files.values())
    wrong += sum(outcome["outcomes"].get(file) != found for file, found in calm.outcome["outcomes"].items())
    problems = [
        f"table {table} differs: {outcome['tables'][table]['rows']} rows, calm {expected['rows']}"
        for table, expected in calm.outcome["tables"].items()
        if outcome["tables"][table] != expected
    ]
    wrong += len(problems)
    if extra != duplicates:
        problems.append(
            f"{state['accepted']} transcriptions were accepted, {calm.state['accepted']} in a calm run"
        )
    if state["billed_audio_seconds"] != calm.state["billed_audio_seconds"] and not duplicates:
        problems.append(
            f"{state['billed_audio_seconds']} s were billed, {calm.state['billed_audio_seconds']} in a calm run"
        )
    if outcome["plan_state"] != "published" or outcome["partition"] != calm.outcome["partition"]:
        problems.append(f"the ledger says {outcome['plan_state']}, {outcome['partition']}")
    if outcome["open_intents"]:
        problems.append(f"{outcome['open_intents']} intents are left open")
    known = {one[1] for one in outcome["transcriptions"]} | set(outcome["duplicates"])
    accepted = {one["id"] for one in state["all"]}
    if known - {None} != accepted:
        problems.append(
            f"the service has accepted {sorted(accepted)}, the ledger knows {sorted(map(str, known))}"
        )
    unsettled = [one for one in outcome["transcriptions"] if one[2] != "ended" or not one[3]]
    if unsettled:
        problems.append(f"not ended and settled in the ledger: {unsettled}")
    return Verdict(name, max(duplicates, extra, 0), lost, wrong, tuple(problems))


# --- which stories --------------------------------------------------------------------------------


def every_point(calm: Calm, mode: str, *, at_once: bool = False, sides: Sequence[str] = ()) -> list[Case]:
    """One case for each point of the calm run."""
    return [
        Case((kill,), mode, at_once=at_once, label=label)
        for kill, label in calm.points
        if not sides or kill.side in sides
    ]


def pairs(calm: Calm, mode: str, *, count: int, seed: int) -> list[Case]:
    """Cases of two kills, drawn with *seed*; the second counts the effects of the second life."""
    draw = random.Random(seed)
    kills = [kill for kill, _ in calm.points]
    return [
        Case((draw.choice(kills), draw.choice(kills)), mode, at_once=draw.random() < 0.5)
        for _ in range(count)
    ]


def frozen(calm: Calm, *, sides: Sequence[str] = (BEFORE, AFTER)) -> list[Case]:
    """A worker that stops at a point, is replaced by another that does everything, and wakes up.

    Not in the middle of a transaction: there it holds SQLite's only write lock, and whoever comes next waits for it.
    """
    following = [label if kill.side == BEFORE else "" for kill, label in calm.points[1:]] + [""]
    return [
        # After the last check of the lease is as good as before the request: nothing lies between them.
        Case((kill,), freeze=True, label=then if then.startswith("POST ") else f"{kill.side} {label}")
        for (kill, label), then in zip(calm.points, following, strict=True)
        if kill.side in sides and kill.side != DURING and (label, kill.side) != ("commit", BEFORE)
    ]


def is_the_hole(case: Case) -> bool:
    """Frozen between the last check of the lease and the request: named in the architecture, and not to be closed."""
    return case.freeze and case.label.startswith(("POST ", f"{BEFORE} POST "))
