"""Planning streams: its memory follows a fixed bound, not the number of lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from audio_files import wav
from fakes.blob_server import blob_server

INCLUDE = Path(__file__).resolve().parents[3] / "include"
ALLOWED_MB = 380
"""Beyond what the imports take. 128 MB of it may be DuckDB's."""

_SCRIPT = """
import resource, sys, time
from speech_backfill.accounts import AccountKey, StorageAccount, StorageAccounts
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.plan.planner import Planner
from speech_backfill.plan.request import PlanRequest
from speech_backfill.settings import Settings
from speech_backfill.store import Store
import duckdb, pyarrow.parquet
accounts = StorageAccounts.of([StorageAccount("acct", sys.argv[1], AccountKey("a2V5"))])
ledger, store = Ledger.open("sqlite:///ledger.db", time.time), Store.open("store")
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
request = PlanRequest(partition="all", run_key="run", source="manifest.csv")
plan = Planner(ledger, store, accounts, Settings()).plan(request)
print(plan.to_submit, plan.chunks, plan.headers_read, peak() - before, int('pandas' in sys.modules))
"""


def _grown_mb(folder: Path, lines: int) -> int:
    with blob_server() as blobs:
        blobs.all_others = wav(bytes(16_000))
        return _planned(folder, lines, blobs.endpoint)


def _planned(folder: Path, lines: int, endpoint: str) -> int:
    with (folder / "manifest.csv").open("w") as manifest:
        manifest.write("uri,etag,size_bytes\n")
        for number in range(lines):
            name = f"calls/2026/11/01/recording-{number:09}.wav"
            manifest.write(f"{endpoint}/audio/{name},0x8DC{number:012X},{number + 1}\n")
    answer = subprocess.run(
        [sys.executable, "-c", _SCRIPT, endpoint],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(INCLUDE)},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    submitted, chunks, read, grown, with_pandas = map(int, answer.stdout.split())
    assert (submitted, chunks, read) == (lines, lines // 1000, 400)
    assert not with_pandas, "some call has imported pandas, 40 MB that a plan has no use for"
    return grown


def test_two_hundred_thousand_lines_are_planned_in_bounded_memory(tmp_path: Path) -> None:
    assert _grown_mb(tmp_path, 200_000) < ALLOWED_MB


@pytest.mark.skipif(
    "MILLION_LINES" not in os.environ, reason="takes half a minute: set MILLION_LINES=1 to run it"
)
def test_a_million_lines_are_planned_in_the_same_memory(tmp_path: Path) -> None:
    assert _grown_mb(tmp_path, 1_000_000) < ALLOWED_MB
