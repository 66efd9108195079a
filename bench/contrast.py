"""One schedule of troubles for a straightforward client and for us: what was paid twice, and what was lost.

    python -m bench contrast [--seed 3] [--only NAME …]

Each runs as processes of its own against an emulator of its own, by HTTP, over the same twelve files in transcriptions of
four. Both meet the same rules of trouble and are killed with SIGKILL at the same kinds of point; after an error or a kill the
command is typed again, at most five times in all. Exit status 1 if ours submitted a chunk twice or lost a file.

Counted by the service: `duplicates`, transcriptions of files for which another had been accepted, and `extra s`, seconds of
audio paid beyond what is due. Due is every file once that the service can transcribe: a failure is not billed, and a result
can be downloaded again. Counted in the tables: files `lost`, without any outcome; files `given up`, called failed or missing
though they could have been transcribed without paying again; `wrong rows`, a file or channel twice or without its text.
`starts` is how often the command was typed, `never` that it did not end well.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from bench.contrast_schedule import Row, schedule
from bench.contrast_score import Score, Tables, due_seconds, score, text, total
from bench.figures import Figure, at_most, told
from bench.straightforward_client import Backfill
from bench.straightforward_life import Blow, live
from faults.life import ENDPOINT, PARTITION, Job
from faults.matrix import FILES, Calm, World
from faults.points import Kill, possible
from faults.troubles import world
from speech_backfill.tables.errors import NothingPublished
from speech_backfill.tables.read import read_table
from speech_emulator.config import RecogniserSettings
from speech_emulator.recognisers.synthetic import synthetic_duration_ms

MOST_STARTS = 5
SEED = 3


class Client(Protocol):
    """Who is played."""

    world: World

    def start(self, job: Job, row: Row, number: int) -> int:
        """Type the command for the *number*-th time: an exit status, or minus a signal. The first may be killed."""
        ...

    def tables(self, job: Job) -> Tables:
        """What it has written so far."""
        ...


class NotAsPlayed(Exception):
    """What the row is about did not happen, so its figures would mean nothing."""


@dataclass
class Ours:
    """The core's command, as the fault matrix runs it."""

    world: World
    calm: Calm

    def start(self, job: Job, row: Row, number: int) -> int:
        kill = self._kill(row.ours) if row.ours and number == 1 else None
        # After all leases. The service's clock stays where it is: ten minutes would be more than the two may differ by.
        life = replace(job, kill=str(kill) if kill else None, skip_seconds=60.0 * (number - 1))
        _, end = self.world.forks.run(life)
        if row.ours and kill and not self._hit(job, kill).startswith(row.ours.label):
            raise NotAsPlayed(f"{row.trouble.name}: the kill hit {self._hit(job, kill)}")
        return end

    def _hit(self, job: Job, kill: Kill) -> str:
        """What the life was about when it ended; calm and disturbed lives may differ in how often they look."""
        return dict(possible(Path(job.folder, "points.log"))).get(kill, "nothing")

    def _kill(self, blow: Blow) -> Kill:
        fitting = [
            kill
            for kill, label in self.calm.points
            if kill.side == blow.side and label.startswith(blow.label)
        ]
        return fitting[blow.nth - 1]

    def tables(self, job: Job) -> Tables:
        def read(name: str) -> pd.DataFrame | None:
            try:
                return read_table(f"{job.folder}/store", name, partition=PARTITION)
            except NothingPublished:
                return None

        return _tables(read("outcomes"), read("transcripts"))


_PROCESSES = multiprocessing.get_context("forkserver")
"""Parents of processes that have imported everything once, as `faults.forks` is one for ours."""


@dataclass
class Straightforward:
    """The straightforward client, a process for each start."""

    world: World

    def start(self, job: Job, row: Row, number: int) -> int:
        asked = Backfill(
            folder=job.folder,
            manifest=job.manifest,
            endpoint=f"{job.service}/local",
            key="local-key",
            files_per_transcription=4,
            # Its hours in seconds: the emulator needs none.
            poll_seconds=0.1,
            answer_seconds=1.5,
            backoff_seconds=0.05,
            deadline_seconds=3.0,
        )
        blow = row.theirs if number == 1 else None
        life = _PROCESSES.Process(target=live, args=(asked, blow, f"{job.folder}/start-{number}.txt"))
        life.start()
        life.join()
        assert life.exitcode is not None
        return life.exitcode

    def tables(self, job: Job) -> Tables:
        def read(name: str) -> pd.DataFrame | None:
            path = Path(job.folder, "tables", f"{name}.parquet")
            return pd.read_parquet(path) if path.exists() else None

        return _tables(read("outcomes"), read("transcripts"))


def _tables(outcomes: pd.DataFrame | None, transcripts: pd.DataFrame | None) -> Tables:
    def pairs(frame: pd.DataFrame | None, column: str) -> list[tuple[str, Any]]:
        if frame is None or frame.empty:
            return []
        return [
            (url.rsplit("/", 1)[-1], value)
            for url, value in zip(frame["audio_url"], frame[column], strict=True)
        ]

    return Tables(pairs(outcomes, "outcome"), pairs(transcripts, "channel"))


def play(client: Client, row: Row, seconds: Mapping[str, float]) -> Score:
    """Type the command until it ends well or nobody would type it any more, and count."""
    trouble = row.trouble
    troubled = replace(
        client.world, rules=trouble.rules, settings={**client.world.settings, **trouble.settings}
    )
    job = troubled.fresh()
    killed = row.theirs is not None
    end, starts = 1, 0
    while end != 0 and starts < MOST_STARTS:
        starts += 1
        end = client.start(job, row, starts)
        if starts == 1 and killed and end != -signal.SIGKILL:
            raise NotAsPlayed(f"{trouble.name}: the first start ended with {end} instead of being killed")
    service = _settled(client.world, endless=any(one["kind"] == "never_ends" for one in trouble.rules))
    # Where chance decides, nothing may be what it decides.
    unfired = [rule for rule in service["faults"] if not rule["fired"] and rule.get("probability", 1) == 1]
    if unfired:
        raise NotAsPlayed(f"{trouble.name}: this did not happen to {type(client).__name__}: {unfired}")
    found = score(
        FILES,
        client.tables(job),
        service,
        right=trouble.outcomes,
        due=due_seconds(seconds, trouble.outcomes),
    )
    return replace(found, starts=starts, done=end == 0)


def _settled(world: World, *, endless: bool) -> dict[str, Any]:
    """The service's books once nothing is under way any more: a transcription that nobody waits for is paid, too."""
    for _ in range(100):
        found = world.state()
        left = sum(found["transcriptions"].get(one, 0) for one in ("NotStarted", "Running"))
        if left <= int(endless):
            return found
        time.sleep(0.1)
    raise NotAsPlayed(f"the service does not come to rest: {found['transcriptions']}")


def _seconds() -> dict[str, float]:
    """How much audio the emulator bills for each file."""
    return {
        file: synthetic_duration_ms(f"{ENDPOINT}/audio/{file}", RecogniserSettings()) / 1000 for file in FILES
    }


CLIENTS = ("straightforward client", "speech_backfill")


@contextmanager
def _clients(folder: Path, seconds: Mapping[str, float]) -> Iterator[tuple[Client, Client]]:
    """A world for each, so that both can be played at the same time."""
    _PROCESSES.set_forkserver_preload(["bench.straightforward_life", "pandas", "pyarrow.parquet"])
    with world(folder / "theirs") as their_world, world(folder / "ours") as our_world:
        calm = our_world.calm()
        if abs(calm.state["billed_audio_seconds"] - sum(seconds.values())) > 0.001:
            raise NotAsPlayed("the emulator bills a calm run other than expected")
        yield Straightforward(their_world), Ours(our_world, calm)


def main(arguments: Sequence[str]) -> int:
    """Play and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench contrast",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=SEED, help="draws what the kills hit, and the bad days")
    parser.add_argument("--only", nargs="*", default=[], help="rows whose name begins so")
    given = parser.parse_args(arguments)
    try:
        found = rows(seed=given.seed, only=given.only)
    except NoSuchRow as error:
        parser.error(str(error))
    return 0 if all(one.good for one in found) else 1


class NoSuchRow(Exception):
    """No row of the schedule has such a name."""


def rows(*, seed: int = SEED, only: Sequence[str] = ()) -> list[Figure]:
    """Play the schedule with both clients. Raises NoSuchRow."""
    chosen = [
        row for row in schedule(seed) if not only or any(row.trouble.name.startswith(one) for one in only)
    ]
    if not chosen:
        raise NoSuchRow(f"no row begins with {' or '.join(only)}")
    began, seconds = time.monotonic(), _seconds()
    with tempfile.TemporaryDirectory(prefix="contrast-") as name, _clients(Path(name), seconds) as clients:

        def all_rows(client: Client) -> list[Score]:
            found = []
            for row in chosen:
                found.append(play(client, row, seconds))
                print(f"    {type(client).__name__}: {row.trouble.name}", file=sys.stderr, flush=True)
            return found

        # One core for each.
        with ThreadPoolExecutor(len(clients)) as pool:
            played = list(pool.map(all_rows, clients))
    print(text(CLIENTS, [(row.trouble.name, pair) for row, *pair in zip(chosen, *played, strict=True)]))
    due = sum(due_seconds(seconds, row.trouble.outcomes) for row in chosen)
    totals = [total(scores) for scores in played]
    never = [sum(not one.done for one in scores) for scores in played]
    for client, one, undone in zip(CLIENTS, totals, never, strict=True):
        print(
            f"{client}: {one.extra_seconds / 3600:.2f} audio hours paid beyond the {due / 3600:.2f} due "
            f"({one.extra_seconds / due:.1%}); {undone} of {len(chosen)} never done"
        )
    print(f"seed {seed}, {time.monotonic() - began:.0f} s")
    theirs, ours = totals
    what = f"{len(chosen)} troubles, killed and disturbed"
    beside = f"beside a straightforward client's {{}}, {what}"
    return [
        at_most(f"duplicates {beside.format(theirs.duplicates)}", 0, ours.duplicates, ""),
        at_most(f"files lost {beside.format(theirs.lost)}", 0, ours.lost, ""),
        at_most(f"files given up {beside.format(theirs.given_up)}", 0, ours.given_up, ""),
        at_most(f"wrong rows {beside.format(theirs.wrong_rows)}", 0, ours.wrong_rows, ""),
        at_most(f"runs that never end {beside.format(never[0])}", 0, never[1], ""),
        told(
            f"audio paid beyond what is due {beside.format(f'{theirs.extra_seconds / due:.1%}')}",
            100 * ours.extra_seconds / due,
            "%",
        ),
    ]
