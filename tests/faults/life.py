"""One life of a process that runs a partition: from its start to its success, its error, or the point where it is killed.

`command` does what the command line's `run` does, all of it. `tasks` does one step after the other as Airflow's tasks
would, notes each that has succeeded where Airflow would, and goes on at the first that has not.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
from azure.core.credentials import AccessToken

from azurite import KEY as AZURITE_KEY
from faults.points import CountedBlobHost, CountedStore, CountedTransport, Kill, Points, count_ledger
from speech_backfill.accounts import AccountKey, StorageAccount, StorageAccounts
from speech_backfill.errors import StillRunning
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.submissions import Submissions
from speech_backfill.model import Shard
from speech_backfill.pipeline import Pipeline
from speech_backfill.plan.request import PlanRequest
from speech_backfill.run import run_partition
from speech_backfill.settings import Settings
from speech_backfill.speech.client import SpeechClient
from speech_backfill.speech.connection import Timeouts
from speech_backfill.speech.resource import EntraToken, SpeechKey, SpeechResource
from speech_backfill.store import Store
from speech_backfill.submit import NotYet, Submitted
from speech_backfill.tables.read import read_table
from speech_backfill.tables.schema import TABLES

ENDPOINT = "https://acct.blob.core.windows.net"
KEY = "YSBrZXkgdGhhdCBtdXN0IG5vdCBsZWFrIGFueXdoZXJl"
PARTITION = "day"

OWN = frozenset({"transcription_id", "merged_at"})
"""Columns that tell one run from another; all others must be equal, names of part files included."""

SETTINGS = {
    "files_per_transcription": 4,
    "max_shards": 2,
    "submit_timeout_seconds": 5.0,
    "lease_seconds": 8.0,
    "lookup_grace_seconds": 4.0,
    "poll_interval_seconds": 1.0,
    "gone_after_seconds": 0.0,
}

_MOST_SLEEPS = 600
"""A life that waits longer than this does not come to an end."""


@dataclass(frozen=True)
class Job:
    """What one life is to do."""

    folder: str
    ledger: str
    service: str
    manifest: str
    mode: str = "command"
    kill: str | None = None
    freeze: bool = False
    statements: bool = False
    skip_seconds: float = 0.0
    """How much later than the last life this one begins, by its clock."""
    settings: dict[str, Any] = field(default_factory=dict)
    resources: tuple[str, ...] = ("local",)
    window: int = 4
    only_migrate: bool = False
    entra: bool = False
    """Sign in with tokens that the emulator issues, instead of a key."""
    content: bool = False
    """Tell the rows of each file apart, too."""
    account_url: str = ENDPOINT
    sabotage: str = ""
    azurite: str = ""
    """The endpoint of the Azurite that holds the store, in the container `store`; empty: a local folder."""
    unlike: tuple[str, ...] = ()
    """Columns that may differ from run to run here, beside OWN."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        values = json.loads(text)
        lists = {name: tuple(values[name]) for name in ("resources", "unlike")}
        return cls(**{**values, **lists})


def live(job: Job) -> int:
    """Do it; 0 is success. What came of it stands in `outcome.json` of the folder, or `error.txt`."""
    folder = Path(job.folder)
    tempfile.tempdir = str(folder / "tmp")
    (folder / "tmp").mkdir(exist_ok=True)
    (folder / "points.log").write_text("")
    points = Points(
        folder / "points.log",
        kill=Kill.parse(job.kill) if job.kill else None,
        freeze=job.freeze,
        statements=job.statements,
    )
    count_ledger(points)
    skipped = [job.skip_seconds]

    def clock() -> float:
        return time.time() + skipped[0]

    slept = [0]

    def sleep(seconds: float) -> None:
        """Time passes quickly; the emulator gets a moment."""
        slept[0] += 1
        if slept[0] > _MOST_SLEEPS:
            raise RuntimeError("the run does not come to an end")
        skipped[0] += seconds
        time.sleep(0.01)

    try:
        if job.only_migrate:
            Ledger.open(job.ledger, clock)
            return 0
        pipeline = _pipeline(job, points, clock, sleep)
        if job.sabotage:
            _sabotage(job.sabotage)
        steps = _command if job.mode == "command" else _tasks
        steps(pipeline, job, sleep)
        (folder / "outcome.json").write_text(json.dumps(_outcome(pipeline, job)))
    except BaseException:
        (folder / "error.txt").write_text(traceback.format_exc())
        return 1
    return 0


def _pipeline(
    job: Job, points: Points, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Pipeline:
    async def pause(seconds: float) -> None:
        sleep(seconds)

    timeouts = Timeouts(connect_seconds=5, answer_seconds=2, files_seconds=2, download_seconds=2)

    def open_client(resource: SpeechResource) -> SpeechClient:
        return SpeechClient(
            resource,
            clock=clock,
            transport=CountedTransport(points),
            blob_host=CountedBlobHost(points, timeouts),
            sleep=pause,
            timeouts=timeouts,
        )

    accounts = [StorageAccount("acct", job.account_url, AccountKey(KEY))]
    store = f"{job.folder}/store"
    if job.azurite:
        # The first account is the one that az:// means.
        accounts.insert(0, StorageAccount("devstoreaccount1", job.azurite, AccountKey(AZURITE_KEY)))
        store = f"az://store/{Path(job.folder).name}"
    settings = Settings(store=store, **{**SETTINGS, **job.settings})
    made = StorageAccounts.of(accounts)
    return Pipeline(
        settings=settings,
        ledger=Ledger.open(job.ledger, clock),
        store=CountedStore.of(Store.open(settings.store, made), points),
        accounts=made,
        resources=tuple(
            SpeechResource(
                name=name,
                endpoint=f"{job.service}/{name}",
                credential=EntraToken(IssuedTokens(job.service)) if job.entra else SpeechKey(f"{name}-key"),
                window=job.window,
            )
            for name in job.resources
        ),
        open_client=open_client,
    )


class IssuedTokens:
    """A credential whose every token is new: what a token cache does once it learns that its token is void."""

    def __init__(self, service: str) -> None:
        self._service = service

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        answer = httpx.post(f"{self._service}/admin/tokens", json={"lifetime_seconds": 3600})
        return AccessToken(answer.raise_for_status().json()["access_token"], int(time.time()) + 3600)


def _request(job: Job) -> PlanRequest:
    return PlanRequest(partition=PARTITION, run_key="run", source=job.manifest)


def _command(pipeline: Pipeline, job: Job, sleep: Callable[[float], None]) -> None:
    run_partition(pipeline, _request(job), tell=lambda _: None, sleep=sleep)


def _tasks(pipeline: Pipeline, job: Job, sleep: Callable[[float], None]) -> None:
    """The steps as tasks: what has succeeded is not run again, and a later task knows ids only."""
    done_file = Path(job.folder, "tasks.json")
    done: dict[str, Any] = json.loads(done_file.read_text()) if done_file.exists() else {}

    def task(name: str, body: Callable[[], Any]) -> Any:
        if name not in done:
            done[name] = body()
            done_file.write_text(json.dumps(done))
        return done[name]

    def submit(shard: Shard) -> None:
        while True:
            match pipeline.submit(shard):
                case Submitted():
                    return
                case NotYet():
                    sleep(pipeline.settings.poll_interval_seconds)

    def merge(shard: Shard) -> None:
        while True:
            try:
                pipeline.merge(shard)
            except StillRunning:
                sleep(pipeline.settings.poll_interval_seconds)
            else:
                return

    plan_id = task("plan", lambda: pipeline.plan(_request(job)).plan_id)
    for round_ in range(pipeline.settings.repair_rounds + 1):
        shards = pipeline.shards(plan_id, round_)
        for shard in shards:
            task(f"submit {round_}/{shard.index}", lambda shard=shard: submit(shard))
        for shard in shards:
            task(f"merge {round_}/{shard.index}", lambda shard=shard: merge(shard))
        if round_ < pipeline.settings.repair_rounds:
            left = task(f"reconcile {round_}", lambda round_=round_: len(pipeline.reconcile(plan_id, round_)))
            if not left:
                break
    task("publish", lambda: pipeline.publish(plan_id).version)


def _outcome(pipeline: Pipeline, job: Job) -> dict[str, Any]:
    """What readers, the ledger and the store say after a success."""
    store, ledger = pipeline.store, pipeline.ledger
    tables = {}
    frames = {}
    for name in TABLES:
        frame = frames[name] = read_table(store, name, partition=PARTITION)
        columns = [one for one in frame.columns if one not in OWN and one not in job.unlike]
        rows = sorted(repr(row) for row in frame[columns].itertuples(index=False, name=None))
        tables[name] = {"rows": len(rows), "digest": hashlib.sha256("\n".join(rows).encode()).hexdigest()}
    found = frames["outcomes"]
    latest = ledger.latest_plan(PARTITION)
    visible = ledger.partition(PARTITION)
    assert latest is not None
    assert visible is not None
    with ledger.engine.begin() as connection:
        from speech_backfill.ledger import schema

        records = connection.execute(schema.transcriptions.select()).mappings().all()
        duplicates = connection.execute(schema.duplicates.select()).mappings().all()
    rows_of: dict[str, list[str]] = {}
    if job.content:
        for name in ("transcripts", "phrases", "words"):
            frame = frames[name]
            columns = [one for one in frame.columns if one not in {"part", *OWN}]
            for row in frame[columns].itertuples(index=False, name=None):
                file = dict(zip(columns, row, strict=True))["audio_url"].rsplit("/", 1)[-1]
                rows_of.setdefault(file, []).append(f"{name} {row!r}")
    return {
        "tables": tables,
        "content": {
            file: hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()
            for file, rows in rows_of.items()
        },
        "outcomes": {
            row.audio_url.rsplit("/", 1)[-1]: [
                row.outcome,
                row.error_code if isinstance(row.error_code, str) else None,
            ]
            for row in found.itertuples(index=False)
        },
        "files": [one.rsplit("/", 1)[-1] for one in found["audio_url"]],
        "attempts": {
            row.audio_url.rsplit("/", 1)[-1]: int(row.attempt)
            for row in found.itertuples(index=False)
            if row.attempt == row.attempt and row.attempt is not None
        },
        "plan_state": latest.state.value,
        "partition": [visible.files, visible.transcribed, visible.failed, visible.missing],
        "transcriptions": [
            [one["resource"], one["transcription_id"], one["state"], one["settled_at"] is not None]
            for one in records
        ],
        "duplicates": [one["transcription_id"] for one in duplicates],
        "open_intents": len(
            [one for one in Submissions(ledger).of_plan(latest.plan_id) if one.state == "intended"]
        ),
    }


def _sabotage(what: str) -> None:
    """Break the core on purpose, to show that this would be seen."""
    from speech_backfill.post import Poster

    assert what == "no look-up", what

    async def post_anyway(self: Poster, submissions: Any, placement: Any, record: Any) -> Any:
        return await self.post(submissions, placement, record)

    Poster.look_up_first = post_anyway  # type: ignore[method-assign]


def main() -> int:
    """One life, described on stdin; for a person who replays one."""
    return live(Job.from_json(sys.stdin.read()))


if __name__ == "__main__":
    sys.exit(main())
