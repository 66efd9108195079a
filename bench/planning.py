"""Planning manifests of which nine tenths are done: peak memory, and whether time grows with the rows only.

    python -m bench planning [--rows 1000000 10000000]

Each plan is a process of its own, from the CSV manifest to the placements in the ledger. What was done before is a published
partition of the same name with an outcome, its index and its reason for every file, as a publication leaves them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Figure, at_most, table, told

DONE_OF_TEN = 9
MOST_MB = 512
LINEAR = 1.2
ROWS = (1_000_000, 10_000_000)

_PARTITION = "backfill"
_ACCOUNT = "https://account.blob.core.windows.net"
_BATCH = 100_000
_PLAN_BEFORE = "0" * 24
_PER_CHUNK = 1000


def main(arguments: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench planning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--plan", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.plan:
        print(json.dumps(_plan(given.plan)))
        return 0
    found = rows(sizes=given.rows)
    print(table(found))
    return 0 if all(one.good for one in found) else 1


def rows(*, sizes: list[int] | None = None) -> list[Figure]:
    """One plan for each of *sizes*, the smallest first."""
    found: list[Figure] = []
    micros: list[float] = []
    for count in sorted(sizes or ROWS):
        with tempfile.TemporaryDirectory(prefix="speech-backfill-planning-") as name:
            folder = Path(name)
            began = time.monotonic()
            _manifest(folder, count)
            _published(folder, count // 10 * DONE_OF_TEN)
            print(f"{count:,} rows made in {time.monotonic() - began:.0f} s", file=sys.stderr)
            ran = subprocess.run(
                [sys.executable, "-m", "bench", "planning", "--plan", str(folder)],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
        came = json.loads(ran.stdout.splitlines()[-1])
        assert came["carried"] == count // 10 * DONE_OF_TEN, came
        assert came["to_submit"] == count - came["carried"], came
        micros.append(came["cpu_seconds"] / count * 1e6)
        done = f"{came['carried']:,} of them done"
        found.append(
            at_most(f"planning {count:,} manifest rows, {done}, peak memory", MOST_MB, came["peak_mb"], "MB")
        )
        found.append(
            told(
                f"planning {count:,} manifest rows, CPU",
                micros[-1],
                f"µs a row ({came['wall_seconds']:.0f} s in all)",
            )
        )
    if len(micros) > 1:
        found.append(
            at_most(
                "planning, growth of CPU a row from the fewest to the most",
                LINEAR,
                micros[-1] / micros[0],
                "x",
            )
        )
    return found


def _files(count: int) -> Iterator[tuple[int, str, str]]:
    for number in range(count):
        yield (
            number,
            f"{_ACCOUNT}/audio/calls/{number // 100_000:04}/call-{number:08}.wav",
            f"0x{number:016X}",
        )


def _manifest(folder: Path, count: int) -> None:
    with (folder / "manifest.csv").open("w") as file:
        file.write("uri,etag,size_bytes,duration_seconds,agent\n")
        for number, url, etag in _files(count):
            file.write(f"{url},{etag},480000,15.0,agent-{number % 37}\n")


def _published(folder: Path, count: int) -> None:
    """A published partition in which the first *count* files of the manifest are transcribed."""
    import msgspec
    import pyarrow as pa
    import pyarrow.parquet as pq

    from speech_backfill import paths
    from speech_backfill.ledger.records import PartitionRecord
    from speech_backfill.model import AudioFile, TranscriptionOptions
    from speech_backfill.plan.prior import INDEX
    from speech_backfill.tables.layout import partition_file, table_directory
    from speech_backfill.tables.published import PublishedPart, PublishedPartition
    from speech_backfill.tables.schema import OUTCOMES, SCHEMA_VERSION

    ledger, store = _ledger(folder), _store(folder)
    options_id = TranscriptionOptions().options_id
    part, index = folder / "outcomes.parquet", folder / "index.parquet"
    constants = {
        "size_bytes": 480_000,
        "outcome": "transcribed",
        "can_retry": False,
        "duration_ms": 15_000,
        "channels": 1,
        "phrases": 3,
        "words": 40,
        "locale": "en-US",
        "options_id": options_id,
        "resource": "westeurope",
        "attempt": 1,
    }
    with (
        pq.ParquetWriter(part, OUTCOMES, compression="zstd") as outcomes,
        pq.ParquetWriter(index, INDEX, compression="zstd") as ids,
    ):
        batch: list[tuple[int, str, str, str]] = []

        def flush() -> None:
            numbers, urls, etags, file_ids = zip(*batch, strict=True)
            chunks = [f"{number // _PER_CHUNK:032x}" for number in numbers]
            columns = {
                "file_id": file_ids,
                "audio_url": urls,
                "audio_etag": etags,
                "transcription_id": [f"00000000-0000-0000-0000-{one[-12:]}" for one in chunks],
                "chunk_id": chunks,
                "manifest_position": numbers,
                "manifest_columns": [[("agent", f"agent-{number % 37}")] for number in numbers],
                "result_object": [f"raw/{_PLAN_BEFORE}/{one}.zst" for one in chunks],
                "part": [f"{_PLAN_BEFORE}-r0-s{number // 1_000_000:04}" for number in numbers],
            }
            arrays = [
                pa.array(columns[one.name], one.type)
                if one.name in columns
                else pa.repeat(pa.scalar(constants.get(one.name), one.type), len(batch))
                for one in OUTCOMES
            ]
            outcomes.write_table(pa.Table.from_arrays(arrays, schema=OUTCOMES))
            ids.write_table(pa.table({"file_id": pa.array(file_ids, pa.string())}, schema=INDEX))
            batch.clear()

        for number, url, etag in _files(count):
            batch.append((number, url, etag, AudioFile(url=url, etag=etag).file_id(options_id)))
            if len(batch) == _BATCH:
                flush()
        if batch:
            flush()
    path = f"{table_directory('outcomes', _PARTITION)}{_PLAN_BEFORE}.parquet"
    size = part.stat().st_size
    store.upload(part, path)
    store.upload(index, paths.index(_PARTITION, _PLAN_BEFORE))
    part.unlink()
    index.unlink()
    store.put(
        partition_file(_PARTITION),
        msgspec.json.encode(
            PublishedPartition(
                schema_version=SCHEMA_VERSION,
                partition=_PARTITION,
                version=1,
                tables={"outcomes": [PublishedPart(path, count, size)]},
                plan_id=_PLAN_BEFORE,
            )
        ),
    )
    ledger.record_published(
        PartitionRecord(
            partition=_PARTITION,
            version=1,
            plan_id=_PLAN_BEFORE,
            published_at=time.time(),
            files=count,
            transcribed=count,
            failed=0,
            missing=0,
            can_retry=0,
            first_url=f"{_ACCOUNT}/audio/calls/0000",
            last_url=f"{_ACCOUNT}/audio/calls/9999",
        )
    )


def _ledger(folder: Path):
    from speech_backfill.ledger.ledger import Ledger

    return Ledger.open(f"sqlite:///{folder / 'ledger.db'}", time.time)


def _store(folder: Path):
    from speech_backfill.store import Store

    return Store.open(str(folder / "store"))


def _plan(folder: Path) -> dict[str, float]:
    from speech_backfill.accounts import AccountKey, StorageAccount, StorageAccounts
    from speech_backfill.plan.planner import Planner
    from speech_backfill.plan.request import PlanRequest
    from speech_backfill.settings import Settings

    accounts = StorageAccounts.of([StorageAccount("account", _ACCOUNT, AccountKey("a2V5"))])
    planner = Planner(_ledger(folder), _store(folder), accounts, Settings(store=str(folder / "store")))
    began, cpu = time.monotonic(), time.process_time()
    plan = planner.plan(PlanRequest(partition=_PARTITION, run_key="run", source=str(folder / "manifest.csv")))
    return {
        "to_submit": plan.to_submit,
        "carried": plan.carried,
        "wall_seconds": time.monotonic() - began,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
