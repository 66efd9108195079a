"""Reconciling and publishing a large partition: peak memory, and whether time grows with its files only.

    python -m bench publishing [--files 100000 1000000]

A plan of so many files is made, and its shards' outcomes and merged.json are written as merges leave them, their
transcripts a row each. Reconciling and publishing are processes of their own. One file in a hundred fails and is cured by
the repair, one in five hundred for good. Then a tenth of the files have changed, and the partition is published again.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.figures import Figure, at_most, table, told

if TYPE_CHECKING:
    from speech_backfill.ledger.ledger import Ledger
    from speech_backfill.ledger.records import Placement
    from speech_backfill.model import Shard
    from speech_backfill.plan.request import PlanSummary
    from speech_backfill.store import Store

MOST_MB = 512
LINEAR = 1.2
FILES = (100_000, 1_000_000)

_PARTITION = "backfill"
_ACCOUNT = "https://account.blob.core.windows.net"
_CURED, _FAILED, _CHANGED = 100, 500, 10
"""One file in so many."""
_RESOURCE = "westeurope"
_STEPS = ("reconcile", "publish")


def main(arguments: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench publishing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--files", type=int, nargs="+", default=list(FILES))
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.step:
        step, folder, *rest = given.step
        print(json.dumps(_step(step, Path(folder), rest)))
        return 0
    found = rows(sizes=given.files)
    print(table(found))
    return 0 if all(one.good for one in found) else 1


def rows(*, sizes: list[int] | None = None) -> list[Figure]:
    """Two publications for each of *sizes*, the smallest first."""
    found: list[Figure] = []
    micros: list[Counter[str]] = []
    for count in sorted(sizes or FILES):
        spent: Counter[str] = Counter()
        with tempfile.TemporaryDirectory(prefix="speech-backfill-publishing-") as name:
            folder = Path(name)
            for version, what in enumerate(["", " again, a tenth of them changed"], 1):
                for step, came in _published(folder, count, version):
                    said = f"{step}ing {count:,} files{what}".replace("eing", "ing")
                    found.append(at_most(f"{said}, peak memory", MOST_MB, came["peak_mb"], "MB"))
                    each = came["cpu_seconds"] / count * 1e6
                    spent[step] += each
                    found.append(
                        told(f"{said}, CPU", each, f"µs a file ({came['wall_seconds']:.0f} s in all)")
                    )
        micros.append(spent)
    if len(micros) > 1:
        found += [
            at_most(
                f"{step}ing, growth of CPU a file from the fewest to the most".replace("eing", "ing"),
                LINEAR,
                micros[-1][step] / micros[0][step],
                "x",
            )
            for step in _STEPS
        ]
    return found


def _published(folder: Path, count: int, version: int) -> list[tuple[str, dict[str, Any]]]:
    """Plan, merge, reconcile and publish *version* of the partition; returns what the two steps took.

    Each in a process of its own, the preparations too: a process inherits the peak memory of the one that started it.
    """
    began = time.monotonic()
    submitted = count if version == 1 else count // _CHANGED
    plan = _ran("plan", folder, str(count), str(version))
    assert plan["to_submit"] == submitted, plan
    _ran("merge", folder, plan["plan_id"], "0")
    print(f"{count:,} files planned and merged in {time.monotonic() - began:.0f} s", file=sys.stderr)
    reconciled = _ran("reconcile", folder, plan["plan_id"])
    assert reconciled["files"] == submitted // _CURED, reconciled
    _ran("merge", folder, plan["plan_id"], "1")
    report = _ran("publish", folder, plan["plan_id"])
    failed = count // _FAILED
    assert (report["files"], report["transcribed"], report["failed"]) == (count, count - failed, failed), (
        report
    )
    return [("reconcile", reconciled), ("publish", report)]


def _ran(step: str, folder: Path, *given: str) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-m", "bench", "publishing", "--step", step, str(folder), *given],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    came: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return came


def _step(step: str, folder: Path, given: Sequence[str]) -> dict[str, Any]:
    ledger, store = _ledger(folder), _store(folder)
    match step, given:
        case "plan", (count, version):
            plan = _plan(folder, ledger, store, int(count), int(version))
            return {"plan_id": plan.plan_id, "to_submit": plan.to_submit}
        case "merge", (plan_id, round_):
            for shard in ledger.shards(plan_id, int(round_)):
                _merge(ledger, store, shard, folder)
            return {}
        case "reconcile", (plan_id,):
            from speech_backfill.reconcile import Reconciler

            reconciler = Reconciler(ledger, store, _settings(folder))
            return _measured(lambda: {"files": sum(one.files for one in reconciler.reconcile(plan_id, 0))})
        case "publish", (plan_id,):
            from speech_backfill.publish.publisher import Publisher

            publisher = Publisher(ledger, store, _settings(folder))
            return _measured(lambda: publisher.publish(plan_id).to_dict())
    raise SystemExit(f"no step {step}")


def _measured(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    began, cpu = time.monotonic(), time.process_time()
    return work() | {
        "wall_seconds": time.monotonic() - began,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _plan(folder: Path, ledger: Ledger, store: Store, count: int, version: int) -> PlanSummary:
    from speech_backfill.accounts import AccountKey, StorageAccount, StorageAccounts
    from speech_backfill.plan.planner import Planner
    from speech_backfill.plan.request import PlanRequest

    manifest = folder / "manifest.csv"
    with manifest.open("w") as file:
        file.write("uri,etag,size_bytes,duration_seconds,agent\n")
        for number in range(count):
            etag = f"0x{number:015X}{version if number % _CHANGED == 7 else 1}"
            file.write(f"{_url(number)},{etag},480000,15.0,agent-{number % 37}\n")
    accounts = StorageAccounts.of([StorageAccount("account", _ACCOUNT, AccountKey("a2V5"))])
    request = PlanRequest(partition=_PARTITION, run_key=f"run-{version}", source=str(manifest))
    return Planner(ledger, store, accounts, _settings(folder)).plan(request)


def _url(number: int) -> str:
    return f"{_ACCOUNT}/audio/calls/{number // 100_000:04}/call-{number:08}.wav"


def _merge(ledger: Ledger, store: Store, shard: Shard, folder: Path) -> None:
    """Leave what a merge of *shard* leaves: outcomes, a part of transcripts, merged.json, and the ledger's transcriptions."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from speech_backfill import paths
    from speech_backfill.chunk_files import read_chunk
    from speech_backfill.model import Outcome
    from speech_backfill.tables.outcomes import OutcomesWriter
    from speech_backfill.tables.rows import OutcomeRow
    from speech_backfill.tables.schema import TRANSCRIPTS

    counts: Counter[str] = Counter()
    stem = paths.shard_folder(shard.plan_id, shard.round, shard.index)
    constants = {"channel": 0, "speech_ms": 14_000, "phrase_count": 3, "display": "Yes, this is she. " * 50}
    with (
        OutcomesWriter(folder / "outcomes.parquet") as outcomes,
        pq.ParquetWriter(folder / "transcripts.parquet", TRANSCRIPTS) as transcripts,
    ):
        for placement in ledger.shard_placements(shard):
            transcription_id = _submitted(ledger, placement)
            texts: list[tuple[str, str]] = []
            ended = datetime.now(UTC)
            for file in read_chunk(store, placement.chunk.chunk_id):
                code = _fails(file.url, shard.round)
                there = code is None
                outcome = Outcome.TRANSCRIBED if there else Outcome.FAILED
                row = OutcomeRow(
                    file_id=file.file_id,
                    audio_url=file.url,
                    audio_etag=file.etag,
                    size_bytes=file.size_bytes,
                    outcome=outcome,
                    error_code=code,
                    error_message=None if there else "the service said no more of it than this",
                    can_retry=code == "Transient",
                    duration_ms=15_000 if there else None,
                    channels=1 if there else None,
                    phrases=3 if there else None,
                    words=40 if there else None,
                    locale="en-US",
                    options_id=placement.chunk.options.options_id,
                    resource=_RESOURCE,
                    transcription_id=transcription_id,
                    attempt=placement.attempt,
                    chunk_id=placement.chunk.chunk_id,
                    result_object=paths.raw_results(placement.chunk.chunk_id, placement.attempt)
                    if there
                    else None,
                    merged_at=ended,
                )
                outcomes.add(row)
                counts[outcome.value] += 1
                counts["can_retry"] += row.can_retry
                counts["audio_ms"] += row.duration_ms or 0
                if there:
                    texts.append((file.file_id, file.url))
            columns: dict[str, list[str]] = {
                "file_id": [one for one, _ in texts],
                "audio_url": [one for _, one in texts],
            }
            arrays = [
                pa.array(columns[one.name], one.type)
                if one.name in columns
                else pa.repeat(pa.scalar(constants.get(one.name), one.type), len(texts))
                for one in TRANSCRIPTS
            ]
            transcripts.write_table(pa.Table.from_arrays(arrays, schema=TRANSCRIPTS))
    described = {}
    rows_of = {"outcomes": shard.files, "transcripts": counts["transcribed"]}
    for name, many in rows_of.items():
        local = folder / f"{name}.parquet"
        store.upload(local, f"{stem}/{name}.parquet")
        described[name] = {"path": f"{stem}/{name}.parquet", "rows": many, "bytes": local.stat().st_size}
        local.unlink()
    told_counts = {"files": shard.files, "missing": 0} | {
        name: counts[name] for name in ("transcribed", "failed", "can_retry", "audio_ms")
    }
    store.put(f"{stem}/merged.json", json.dumps({"counts": told_counts, "parts": described}).encode())


def _fails(url: str, round_: int) -> str | None:
    """The error code of a file in a round, if it fails there."""
    number = int(url.rpartition("-")[2].removesuffix(".wav"))
    # Among the files that change, too.
    if number % _FAILED == 3:
        return "InvalidData"
    return "Transient" if round_ == 0 and (number // _CHANGED) % _CURED == 7 else None


def _submitted(ledger: Ledger, placement: Placement) -> str:
    """Note in the ledger that the placement was submitted and has ended; returns the service's id of it."""
    from speech_backfill.ledger.records import Reserved
    from speech_backfill.ledger.reservations import Reservations
    from speech_backfill.ledger.submissions import Submissions
    from speech_backfill.model import Status

    reserved = Reservations(ledger).reserve(
        placement, owner="bench", lease_seconds=60.0, resources=[_RESOURCE]
    )
    assert isinstance(reserved, Reserved), reserved
    submissions = Submissions(ledger)
    transcription_id = f"{placement.chunk.chunk_id[:8]}-{placement.attempt:04}-4000-8000-000000000000"
    submitted = submissions.record_submitted(reserved.record, transcription_id)
    assert submitted.ref is not None
    submissions.record_status(
        submitted.ref, Status.SUCCEEDED, ended_at=time.time(), billed_ms=placement.chunk.audio_ms
    )
    return transcription_id


def _ledger(folder: Path) -> Ledger:
    from speech_backfill.ledger.ledger import Ledger
    from speech_backfill.ledger.resources import Resources

    ledger = Ledger.open(f"sqlite:///{folder / 'ledger.db'}", time.time)
    Resources(ledger).register(_RESOURCE, window=4, region=_RESOURCE)
    return ledger


def _store(folder: Path) -> Store:
    from speech_backfill.store import Store

    return Store.open(str(folder / "store"))


def _settings(folder: Path) -> Any:
    from speech_backfill.settings import Settings

    return Settings(store=str(folder / "store"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
