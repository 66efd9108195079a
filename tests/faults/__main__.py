"""`python -m faults`: kill, freeze and disturb runs at every point, and print what came of it as a table.

    --quick                the part that the tests play
    --only NAME …          rows whose name begins so
    --seed N               of everything that is drawn
    --repeat N             how often every crash point is played
    --replay CASE          one case of the crash matrix again, with its name from the list of failures

Exit status 1 if anything was lost, wrong, or paid twice.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from faults import table
from faults.matrix import Calm, Case, Verdict, World, every_point, frozen, is_the_hole, pairs
from faults.points import AFTER, BEFORE
from faults.table import Row

WORKERS = 2


class Worlds:
    """Several worlds at once, for as many cores."""

    def __init__(self, worlds: Sequence[World]) -> None:
        self._free: SimpleQueue[World] = SimpleQueue()
        self.first = worlds[0]
        self._count = len(worlds)
        for one in worlds:
            self._free.put(one)

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, count: int = WORKERS, **values: Any) -> Iterator[Worlds]:
        with ExitStack() as stack:
            yield cls(
                [stack.enter_context(World.opened(folder / f"world-{n}", **values)) for n in range(count)]
            )

    def play(self, cases: Sequence[Case], calm: Calm, *, migrated: bool = True) -> list[Verdict]:
        done = [0]
        lock = threading.Lock()

        def one(case: Case) -> Verdict:
            world = self._free.get()
            try:
                return world.tell(case, calm, migrated=migrated)
            finally:
                self._free.put(world)
                with lock:
                    done[0] += 1
                    if done[0] % 25 == 0:
                        print(f"    {done[0]} of {len(cases)}", file=sys.stderr, flush=True)

        with ThreadPoolExecutor(self._count) as pool:
            return list(pool.map(one, cases))


def crash_rows(options: argparse.Namespace) -> Iterator[Callable[[], Row]]:
    """The crash matrix, row by row."""

    def matrix(name: str, choose: Callable[[Calm], list[Case]], **values: Any) -> Callable[[], Row]:
        calm_mode = values.pop("calm_mode", "command")
        migrated = values.pop("migrated", True)
        seed = values.pop("seed", "-")

        def run() -> Row:
            began = time.monotonic()
            with (
                tempfile.TemporaryDirectory(prefix="faults-") as folder,
                Worlds.opened(Path(folder), **values) as worlds,
            ):
                calm = worlds.first.calm(calm_mode, migrated=migrated)
                cases = choose(calm)
                verdicts = worlds.play(cases * options.repeat, calm, migrated=migrated)
            row = Row(name, points=len(cases), repetitions=options.repeat, seed=seed).add(verdicts)
            row.seconds = time.monotonic() - began
            return row

        run.__name__ = name
        return run

    some = 9 if options.quick else 1
    seed = options.seed
    yield matrix("kill -9, command again", lambda calm: every_point(calm, "command")[::some])
    yield matrix(
        "kill -9, task again at once",
        lambda calm: every_point(calm, "tasks", at_once=True)[::some],
        calm_mode="tasks",
    )
    yield matrix(
        "kill -9 in ledger statements",
        lambda calm: [one for one in every_point(calm, "command") if one.label.startswith("statement")][
            ::some
        ],
        statements=True,
    )
    yield matrix(
        "kill -9 at the first start",
        lambda calm: every_point(calm, "command", sides=(AFTER,))[: 30 // some],
        migrated=False,
        statements=True,
    )
    count = 8 if options.quick else 60
    yield matrix(
        "kill -9 twice",
        lambda calm: pairs(calm, "command", count=count, seed=seed),
        seed=str(seed),
    )
    yield matrix(
        "kill -9 twice, tasks",
        lambda calm: pairs(calm, "tasks", count=count // 2, seed=seed + 1),
        calm_mode="tasks",
        seed=str(seed + 1),
    )
    yield matrix(
        "frozen worker, replaced",
        lambda calm: [one for one in frozen(calm) if not is_the_hole(one)][::some],
    )
    yield matrix(
        "kill -9, two resources",
        lambda calm: every_point(calm, "command")[:: 2 * some],
        # Which of them a chunk goes to depends on what is under way, so on where a run was killed.
        resources=("local", "west"),
        window=1,
        unlike=("resource",),
    )
    _hole.__name__ = "frozen in the named hole"
    yield _hole

    def azurite() -> Row:
        return _azurite(options)

    azurite.__name__ = "kill -9, store on Azurite"
    yield azurite

    def postgres() -> Row:
        return _postgres(options, "kill -9, PostgreSQL ledger", statements=False)

    postgres.__name__ = "kill -9, PostgreSQL ledger"
    yield postgres

    def statements() -> Row:
        return _postgres(options, "kill -9 in PostgreSQL statements", statements=True)

    statements.__name__ = "kill -9 in PostgreSQL statements"
    yield statements


def _hole() -> Row:
    """What the architecture names as the hole: one duplicate for each case, and nothing else."""
    began = time.monotonic()
    row = Row("frozen in the named hole")
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, Worlds.opened(Path(folder)) as worlds:
        calm = worlds.first.calm()
        cases = [one for one in frozen(calm) if is_the_hole(one)]
        for verdict in worlds.play(cases, calm):
            if verdict.duplicates == 1 and not (verdict.lost or verdict.wrong_rows):
                row.allowed += 1
                row.add([Verdict(verdict.case, lives=verdict.lives)])
            else:
                row.add([verdict])
    row.seconds = time.monotonic() - began
    return row


def _troubles(options: argparse.Namespace) -> Row:
    """The fault matrix at the service."""
    from faults.troubles import SOURCE_EXPIRED, TROUBLES, Trouble, play, play_source_expired, world

    began = time.monotonic()
    row = Row("troubles of the service")
    with tempfile.TemporaryDirectory(prefix="faults-") as name, ExitStack() as stack:
        folder = Path(name)
        worlds: SimpleQueue[World] = SimpleQueue()
        for number in range(WORKERS):
            worlds.put(stack.enter_context(world(folder / f"world-{number}")))
        first = worlds.get()
        calm = first.calm()
        worlds.put(first)

        def one(trouble: Trouble) -> Verdict:
            taken = worlds.get()
            try:
                return play(taken, trouble, calm)
            finally:
                worlds.put(taken)

        with ThreadPoolExecutor(WORKERS) as pool:
            row.add(pool.map(one, TROUBLES[:: 5 if options.quick else 1]))
        row.add([play_source_expired(folder / SOURCE_EXPIRED.name.replace(" ", "-"))])
    row.seconds = time.monotonic() - began
    return row


def _mixed(options: argparse.Namespace) -> Row:
    """The stateful test: kills and troubles at random, in memory."""
    from hypothesis import HealthCheck, seed, settings
    from hypothesis.stateful import run_state_machine_as_test

    from faults.test_stateful import Backfill

    began = time.monotonic()
    row = Row("both mixed at random", seed=str(options.seed))
    played = [0]

    class Counted(Backfill):
        def teardown(self) -> None:
            played[0] += 1
            super().teardown()

    wanted = settings(
        max_examples=5 if options.quick else 60,
        stateful_step_count=20,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(seed(options.seed)(Counted), settings=wanted)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        row.add([Verdict("both mixed at random", problems=("".join(traceback.format_exception(error)),))])
    row.add([Verdict(f"example {number}") for number in range(played[0] - len(row.verdicts))])
    row.seconds = time.monotonic() - began
    return row


def _azurite(options: argparse.Namespace) -> Row:
    """The store in a container: what is half uploaded there is not there at all."""
    from azurite import ACCOUNT, KEY, AzuriteNotInstalled, azurite_running

    began = time.monotonic()
    row = Row("kill -9, store on Azurite")
    try:
        with tempfile.TemporaryDirectory(prefix="faults-") as folder, azurite_running() as endpoint:
            from azure.storage.blob import BlobServiceClient

            key = {"account_name": ACCOUNT, "account_key": KEY}
            BlobServiceClient(endpoint, credential=key).create_container("store")
            with Worlds.opened(Path(folder), azurite=endpoint) as worlds:
                calm = worlds.first.calm()
                cases = [
                    one
                    for one in every_point(calm, "command")
                    if one.label.split(" ")[0] in {"put", "create", "replace", "upload", "copy", "delete"}
                ]
                row.add(worlds.play(cases[:: 9 if options.quick else 1], calm))
    except AzuriteNotInstalled as error:
        row.name += f" (not played: {str(error)[:60]})"
    row.seconds = time.monotonic() - began
    return row


def _postgres(options: argparse.Namespace, name: str, *, statements: bool) -> Row:
    from itertools import count

    from postgres import PostgresNotAvailable, fresh_database, postgres_running

    began = time.monotonic()
    row = Row(name)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="faults-") as folder,
            postgres_running() as server,
            ExitStack() as databases,
        ):
            numbers, lock = count(), threading.Lock()

            def fresh() -> str:
                with lock:
                    return databases.enter_context(fresh_database(server, f"crash_{next(numbers)}"))

            with Worlds.opened(Path(folder), ledger_urls=fresh, statements=statements) as worlds:
                calm = worlds.first.calm()
                wanted = ("statement",) if statements else ("commit", "POST")
                cases = [
                    one
                    for one in every_point(calm, "command")
                    if one.label.startswith(wanted)
                    and not (one.label.startswith("POST") and one.kills[0].side == BEFORE)
                ]
                row.add(worlds.play(cases[:: 9 if options.quick else 2], calm))
    except PostgresNotAvailable as error:
        row.name += f" (not played: {str(error)[:60]})"
    row.seconds = time.monotonic() - began
    return row


def main(arguments: Sequence[str] | None = None) -> int:
    """Play what is asked for; print the table."""
    parser = argparse.ArgumentParser(prog="faults", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--replay")
    options = parser.parse_args(arguments)
    if options.replay:
        return _replay(options.replay)
    rows: list[Row] = []
    names = options.only
    for run in all_rows(options):
        if names and not any(run.__name__.startswith(one) for one in names):
            continue
        row = run()
        rows.append(row)
        print(table.text([row]).splitlines()[-1], file=sys.stderr, flush=True)
    print(table.text(rows))
    print(table.failures(rows))
    return 1 if any(row.bad for row in rows) else 0


def _airflow(options: argparse.Namespace) -> Row:
    """A real Airflow, harmed in every way in the middle of a run."""
    from faults.airflow_stories import STORIES, calm_run
    from faults.airflow_world import AirflowWorld, Ended

    began = time.monotonic()
    row = Row("real Airflow, harmed")
    calm: dict[tuple[Any, int], Ended] = {}
    with AirflowWorld.opened() as world:
        for story in STORIES:
            if options.quick and not story.quick:
                continue
            chunks = 8 if options.quick else story.chunks
            calmly = story.calm or calm_run
            if (calmly, chunks) not in calm:
                calm[calmly, chunks] = calmly(world, chunks)
            named = f"{story.name}, {chunks} chunks"
            row.add([story.told(world, chunks, calm[calmly, chunks], name=named)])
            print(f"    {row.verdicts[-1]}", file=sys.stderr, flush=True)
        row.add([Verdict("secrets in all that was written", problems=tuple(world.leaks()))])
    row.seconds = time.monotonic() - began
    return row


def all_rows(options: argparse.Namespace) -> Iterator[Callable[[], Row]]:
    """Every row of the table, unplayed."""
    yield from crash_rows(options)

    def troubles() -> Row:
        return _troubles(options)

    troubles.__name__ = "troubles of the service"
    yield troubles

    def mixed() -> Row:
        return _mixed(options)

    mixed.__name__ = "both mixed at random"
    yield mixed

    def airflow() -> Row:
        return _airflow(options)

    airflow.__name__ = "real Airflow, harmed"
    yield airflow


def _replay(name: str) -> int:
    from faults.troubles import TROUBLES, play
    from faults.troubles import world as quiet_world

    for trouble in TROUBLES:
        if trouble.name == name:
            with tempfile.TemporaryDirectory(prefix="faults-") as folder, quiet_world(Path(folder)) as world:
                verdict = play(world, trouble, world.calm())
            print(verdict)
            return 0 if verdict.good else 1
    case = Case.parse(name)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, World.opened(Path(folder)) as world:
        calm = world.calm(case.mode)
        labels = {str(kill): label for kill, label in calm.points}
        print(f"{case.name}: {labels.get(str(case.kills[0]))}")
        verdict = world.tell(case, calm)
    print(verdict)
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
