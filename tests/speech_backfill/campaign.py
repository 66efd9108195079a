"""The whole pipeline on an in-memory service, with time, store and answers in the test's hands."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import zstandard

from fakes.speech_service import FakeClock, FakeSpeechService, Job
from speech_backfill import paths
from speech_backfill.accounts import AccountKey, StorageAccount, StorageAccounts
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.submissions import Submissions
from speech_backfill.merge import StillRunning
from speech_backfill.model import Shard, TranscriptionOptions
from speech_backfill.pipeline import Pipeline
from speech_backfill.plan.request import PlanRequest, PlanSummary
from speech_backfill.publish.report import RunReport
from speech_backfill.settings import Settings
from speech_backfill.speech.client import SpeechClient
from speech_backfill.speech.resource import SpeechResource
from speech_backfill.store import Store
from speech_backfill.submit import NotYet, Submitted
from speech_backfill.tables.read import read_table

ACCOUNT_KEY = "YSBrZXkgdGhhdCBtdXN0IG5vdCBsZWFrIGFueXdoZXJl"
ENDPOINT = "https://acct.blob.core.windows.net"
ACCOUNTS = StorageAccounts.of([StorageAccount("acct", ENDPOINT, AccountKey(ACCOUNT_KEY))])

Says = Callable[[str], object]
"""What the service makes of one URL: text, Bad, Absent, Spoilt, …"""


@dataclass(frozen=True)
class Bad:
    """The file fails inside a transcription that succeeds."""

    kind: str = "InvalidAudio"
    message: str = "it can't be decoded"


@dataclass(frozen=True)
class Absent:
    """Neither in the report nor among the results."""


@dataclass(frozen=True)
class Unlisted:
    """The report says Succeeded; there is no result file."""


@dataclass(frozen=True)
class Spoilt:
    """Its result file is cut off in the middle."""


def url(name: str) -> str:
    return f"{ENDPOINT}/audio/{name}"


def result(source: str, text: str) -> bytes:
    """A result file with one phrase of two words."""
    words = [
        {"word": word, "offsetInTicks": 1e7 * n, "durationInTicks": 5e6, "confidence": 0.5}
        for n, word in enumerate(text.split())
    ]
    best = {
        "confidence": 0.9,
        "lexical": text,
        "itn": text,
        "maskedITN": text,
        "display": text,
        "words": words,
    }
    phrase = {
        "recognitionStatus": "Success",
        "channel": 0,
        "offsetInTicks": 0.0,
        "durationInTicks": 2e7,
        "nBest": [best],
    }
    document = {
        "source": source,
        "timestamp": "2026-01-01T00:00:00Z",
        "durationInTicks": 2e7,
        "durationMilliseconds": 2000,
        "combinedRecognizedPhrases": [
            {"channel": 0, "lexical": text, "itn": text, "maskedITN": text, "display": text}
        ],
        "recognizedPhrases": [phrase],
    }
    return json.dumps(document).encode()


@dataclass
class Campaign:
    """An installation with one fake resource (or more) and what it says of each file."""

    folder: Path
    clock: FakeClock
    pipeline: Pipeline
    services: dict[str, FakeSpeechService]
    says: Says = field(default=lambda one: f"words of {unquote(one.rsplit('/', 1)[1])}")
    with_report: bool = True
    ended: Counter[str] = field(default_factory=Counter)

    @classmethod
    def make(
        cls,
        folder: Path,
        *,
        ledger_url: str = "",
        resources: Mapping[str, int] | None = None,
        store: Store | None = None,
        region: str = "",
        **knobs: Any,
    ) -> Campaign:
        clock = FakeClock()
        services = {
            name: FakeSpeechService(name=name, host=f"{name}.example", clock=clock)
            for name in (resources or {"east": 4})
        }
        made = [
            services[name].resource(window=window, region=region)
            for name, window in (resources or {"east": 4}).items()
        ]

        def open_client(resource: SpeechResource) -> SpeechClient:
            service = services[resource.name]
            return SpeechClient(
                resource,
                clock=clock,
                transport=service.transport(),
                blob_host=service.blob_host(),
                sleep=clock.sleep,
            )

        values: dict[str, Any] = {
            "files_per_transcription": 3,
            "max_shards": 4,
            "store": "memory://",
            "probe_files": 0,  # there is no account to ask
            **knobs,
        }
        pipeline = Pipeline(
            settings=Settings(**values),
            ledger=Ledger.open(ledger_url or f"sqlite:///{folder}/ledger.db", clock),
            store=store or Store.open("memory://"),
            accounts=ACCOUNTS,
            resources=tuple(made),
            open_client=open_client,
        )
        return cls(folder, clock, pipeline, services)

    @property
    def service(self) -> FakeSpeechService:
        (only,) = self.services.values()
        return only

    @property
    def store(self) -> Store:
        return self.pipeline.store

    @property
    def submissions(self) -> Submissions:
        return Submissions(self.pipeline.ledger)

    @property
    def posts(self) -> int:
        """Transcriptions that were ever made, at all resources."""
        return sum(one.calls["submit"] for one in self.services.values())

    def with_settings(self, **changes: Any) -> Campaign:
        """The same installation under other settings."""
        settings = replace(self.pipeline.settings, **changes)
        return replace(self, pipeline=replace(self.pipeline, settings=settings))

    def clone(self, folder: Path) -> Campaign:
        """A copy of ledger and store as they are now, at the same services; cheaper than doing all of it again."""
        folder.mkdir()
        with (
            closing(sqlite3.connect(self.folder / "ledger.db")) as here,
            closing(sqlite3.connect(folder / "ledger.db")) as there,
        ):
            here.backup(there)
        store = Store.open("memory://")
        for path, content in self.everything_written().items():
            store.put(path, content)
        ledger = Ledger.open(f"sqlite:///{folder}/ledger.db", self.clock)
        return replace(self, folder=folder, pipeline=replace(self.pipeline, ledger=ledger, store=store))

    def manifest(self, rows: Iterable[Any], name: str = "manifest.csv") -> str:
        """Write a manifest: names, (name, etag), or whole rows of columns."""
        path = self.folder / name
        lines = ["uri,etag,size_bytes,duration_ms,note"]
        for row in rows:
            if isinstance(row, str):
                lines.append(f"{url(row)},e1,32000,2000,of {row}")
            elif isinstance(row, tuple):
                lines.append(f"{url(row[0])},{row[1]},32000,2000,of {row[0]}")
            else:
                lines.append(",".join(row))
        path.write_text("\n".join(lines) + "\n")
        return str(path)

    def request(self, rows: Iterable[Any] | None = None, **changes: Any) -> PlanRequest:
        values: dict[str, Any] = {
            "partition": "day",
            "run_key": "run",
            "source": "" if rows is None else self.manifest(rows),
            "options": TranscriptionOptions(),
        }
        return PlanRequest(**(values | changes))

    def plan(self, rows: Iterable[Any] | None = None, **changes: Any) -> PlanSummary:
        return self.pipeline.plan(self.request(rows, **changes))

    def finish(self, job: Job, service: FakeSpeechService) -> None:
        """End one transcription as `says` has it."""
        results: dict[str, bytes] = {}
        details = []
        for number, signed in enumerate(job.body.get("contentUrls", [])):
            plain = signed.split("?", 1)[0]
            match self.says(plain):
                case str() as text:
                    results[f"contenturl_{number}.json"] = result(signed, text)
                    details.append({"sourceUrl": signed, "status": "Succeeded"})
                case Bad(kind=kind, message=message):
                    details.append(
                        {"sourceUrl": signed, "status": "Failed", "errorKind": kind, "errorMessage": message}
                    )
                case Unlisted():
                    details.append({"sourceUrl": signed, "status": "Succeeded"})
                case Spoilt():
                    results[f"contenturl_{number}.json"] = result(signed, "cut off")[:-40]
                    details.append({"sourceUrl": signed, "status": "Succeeded"})
                case Absent():
                    pass
                case other:
                    raise AssertionError(other)
        report = json.dumps({"details": details}).encode() if self.with_report else None
        service.end(job.transcription_id, results=results, report=report)
        job.duration_ms = 2000 * len(results)
        self.ended[job.display_name] += 1

    def end_all(self) -> None:
        for service in self.services.values():
            for job in list(service.jobs.values()):
                if job.status in {"NotStarted", "Running"} and job.body:
                    self.finish(job, service)

    def pass_deadlines(self) -> None:
        """Until everything that has not ended is to be given up."""
        hours = self.pipeline.settings.deadline_hours
        records = [one for name in self.services for one in self.submissions.unfinished(name)]
        self.clock.now = max(due for one in records if (due := one.due_at(hours)) is not None)

    def submit(self, shard: Shard, *, tries: int = 12) -> Submitted:
        """Submit a shard, ending what is under way and letting time pass where it must wait."""
        for _ in range(tries):
            answer = self.pipeline.submit(shard)
            if isinstance(answer, Submitted):
                return answer
            self.end_all()
            if not answer.waiting_for:
                self.clock.now = max(self.clock.now, answer.until)
        raise AssertionError(f"not submitted after {tries} tries: {answer}")

    def round(self, plan_id: str, number: int = 0) -> None:
        shards = self.pipeline.shards(plan_id, number)
        for shard in shards:
            self.submit(shard)
        self.end_all()
        for shard in shards:
            self.pipeline.merge(shard)

    def run(self, rows: Iterable[Any] | None = None, *, repairs: int = 1, **changes: Any) -> RunReport:
        """Plan, submit, end, merge, reconcile, repair and publish."""
        summary = self.plan(rows, **changes)
        self.round(summary.plan_id)
        for number in range(repairs):
            if not self.pipeline.reconcile(summary.plan_id, number):
                break
            self.round(summary.plan_id, number + 1)
        return self.pipeline.publish(summary.plan_id)

    # --- what came of it ------------------------------------------------------------------------

    def outcomes(self, partition: str = "day") -> dict[str, str]:
        """Outcome by the file's name."""
        return {name: row["outcome"] for name, row in self.rows(partition).items()}

    def rows(self, partition: str = "day") -> dict[str, dict[str, Any]]:
        frame = read_table(self.store, "outcomes", partition=partition)
        found = {unquote(row["audio_url"].rsplit("/", 1)[-1]): row for row in frame.to_dict("records")}
        assert len(found) == len(frame)
        return found

    def texts(self, partition: str = "day") -> dict[str, str]:
        frame = read_table(self.store, "transcripts", partition=partition)
        found = {
            unquote(one.rsplit("/", 1)[-1]): text
            for one, text in zip(frame["audio_url"], frame["display"], strict=True)
        }
        assert len(found) == len(frame), "a file has more than one transcript"
        return found

    def tables(self, partition: str = "day") -> dict[str, list[tuple[Any, ...]]]:
        """Every table as sorted rows, without the columns that tell one run from another."""
        own = {"part", "merged_at", "transcription_id", "result_object", "attempt", "chunk_id", "resource"}
        found = {}
        for name in ("outcomes", "transcripts", "phrases", "words"):
            frame = read_table(self.store, name, partition=partition)
            rows = frame[[one for one in frame.columns if one not in own]].to_dict("records")
            found[name] = sorted(tuple(str(value) for value in row.values()) for row in rows)
        return found

    def raw(self) -> bytes:
        """All raw results."""
        packed = [self.store.get(one.path) for one in self.store.list("raw/")]
        return b"".join(zstandard.ZstdDecompressor().decompressobj().decompress(one) for one in packed)

    def everything_written(self) -> dict[str, bytes]:
        return {one.path: self.store.get(one.path) for one in self.store.list("")}


__all__ = ["Absent", "Bad", "Campaign", "NotYet", "Spoilt", "StillRunning", "Unlisted", "paths", "url"]
