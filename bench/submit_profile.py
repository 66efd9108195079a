"""Where the CPU of submitting goes: the body of the submit tasks of one plan, against the Speech emulator, without Airflow.

    python -m bench submit_profile [--files 50000]

Two plans of so many files are cut as by default, into transcriptions of 1,000 and at most 48 shards. The shards of the first
are submitted one after the other and timed, those of the second under py-spy. The ledger is SQLite and the store a local
folder; each URL gets a SAS, signed with an account key. The window has room for everything, so nothing waits but for the
allowance of requests. Imports, once in each process, are told apart.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.figures import table, told
from bench.merge_profile import whose
from local import emulator
from local.checkout import this_checkout
from local.ports import free_port
from local.processes import Service, Supervisor
from local.scratch import ScratchCheckout

_ACCOUNT, _CONTAINER = "https://account.blob.core.windows.net", "recordings"
_KEY = "local-emulator-key"
_SAMPLES_A_SECOND, _SHOWN = 500, 10
_SUBMITTING = "submit_everything "
_ALLOWANCE = "allow (speech_backfill/ledger/resources.py"
"""Runs in a thread of its own, whose stack does not say what for."""

IMPORTS, REST = "imports", "the rest"
STEPS = {
    IMPORTS: r"<frozen importlib",
    "a SAS for each file: `generate_blob_sas`": r"sign \(speech_backfill/accounts\.py",
    "account and path of each file: `locate`": r"locate \(speech_backfill/accounts\.py",
    "the rest of the list of URLs": r"_content_urls \(speech_backfill/post\.py",
    "the chunk's files from the store": r"read_chunk \(speech_backfill/chunk_files\.py",
    "the mark in the store": r"speech_backfill/marks\.py",
    "the request's JSON": r"encode_json \(httpx|submit_body \(speech_backfill/speech/api\.py",
    "HTTP": r"speech_backfill/speech/connection\.py|httpx/|httpcore/|aclose ",
    "the ledger": r"speech_backfill/ledger/",
}
"""The first whose frame is in a stack is what a sample was for."""


def main(arguments: list[str]) -> int:
    """Measure, profile and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench submit_profile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--files", type=int, default=50_000, help="audio files of each plan")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--endpoint", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.work is not None:
        print(json.dumps(submit_everything(given.work, given.endpoint, given.files)))
        return 0
    with (
        tempfile.TemporaryDirectory(prefix="speech-backfill-submit-") as name,
        speech(Path(name)) as endpoint,
    ):
        timed = timed_run(Path(name), endpoint, given.files)
        stacks = sampled_run(Path(name), endpoint, given.files)
    thousands = given.files / 1000
    print(
        table(
            [
                told("audio files", given.files, ""),
                told("transcriptions", timed["transcriptions"], ""),
                told("CPU of submitting 1,000 files", timed["cpu_seconds"] / thousands * 1000, "ms"),
                told("CPU of submitting all, with imports", timed["cpu_seconds"], "s"),
                told("time, the allowance of requests included", timed["wall_seconds"], "s"),
            ]
        )
    )
    for head, samples in (
        ("share of CPU | step", by_step(stacks)),
        ("share of CPU, imports left out | where", by_function(stacks)),
    ):
        print(f"\n| {head} |\n|---:|---|")
        for name, count in samples.most_common(_SHOWN):
            print(f"| {100 * count / samples.total():.1f} % | {name} |")
    return 0


def by_step(stacks: Counter[str]) -> Counter[str]:
    """Samples by what they were for."""
    samples: Counter[str] = Counter()
    for stack, count in stacks.items():
        samples[next((name for name, frame in STEPS.items() if re.search(frame, stack)), REST)] += count
    return samples


def by_function(stacks: Counter[str]) -> Counter[str]:
    """Samples by the innermost function of ours, without imports."""
    samples: Counter[str] = Counter()
    for stack, count in stacks.items():
        if not re.search(STEPS[IMPORTS], stack):
            samples[whose(stack)] += count
    return samples


@contextmanager
def speech(folder: Path) -> Iterator[str]:
    """The endpoint of an emulator without a request limit, whose regions take their time: nothing ends meanwhile."""
    checkout = ScratchCheckout(this_checkout().root, folder / "checkout")
    port = free_port()
    command = (
        *(sys.executable, "-m", "speech_emulator", "--port", str(port)),
        *("--recogniser", "synthetic", "--start-delay", "3600", "--no-throttle"),
    )
    environment = {**os.environ, "PYTHONPATH": str(checkout.root / "include")}
    service = Service("speech-emulator", command, environment, lambda: emulator.is_healthy(port))
    supervisor = Supervisor(checkout.stack / "run", checkout.logs, say=lambda _: None)
    try:
        supervisor.start(service)
        supervisor.wait_until_ready([service], timeout_seconds=60)
        yield f"http://127.0.0.1:{port}"
    finally:
        supervisor.stop()


def timed_run(folder: Path, endpoint: str, files: int) -> dict:
    """What submitting a plan takes, in a process of its own."""
    command = _command(folder, "timed", endpoint, files)
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def sampled_run(folder: Path, endpoint: str, files: int) -> Counter[str]:
    """Stacks of submitting another plan, with how often each was seen at work."""
    raw = folder / "samples.txt"
    recorder = [str(Path(sys.executable).with_name("py-spy")), "record", "--format", "raw", "--function"]
    recorder += ["--rate", str(_SAMPLES_A_SECOND), "--output", str(raw), "--"]
    command = [*recorder, *_command(folder, "sampled", endpoint, files)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode or not raw.exists():
        raise SystemExit(f"py-spy could not record (it needs the right to trace a process): {ran.stderr}")
    stacks: Counter[str] = Counter()
    for line in raw.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        if _SUBMITTING in stack or _ALLOWANCE in stack:
            stacks[stack] += int(count)
    return stacks


def _command(folder: Path, name: str, endpoint: str, files: int) -> list[str]:
    """Submit the plan *name*, which is made here, so that planning is in no figure."""
    own = folder / name
    own.mkdir()
    (own / "manifest.csv").write_text(
        "uri,etag,size_bytes,duration_ms\n"
        + "".join(
            f"{_ACCOUNT}/{_CONTAINER}/2026/{number % 365:03}/{name}-{number:07}.wav,0x{number:016X},48000,3000\n"
            for number in range(files)
        )
    )
    from speech_backfill.model import TranscriptionOptions
    from speech_backfill.plan.request import PlanRequest

    _pipeline(own, endpoint, files).plan(
        PlanRequest(
            partition=name, run_key="run", source=str(own / "manifest.csv"), options=TranscriptionOptions()
        )
    )
    return [
        *(sys.executable, "-m", "bench.submit_profile", "--work", str(own)),
        *("--endpoint", endpoint, "--files", str(files)),
    ]


def _pipeline(folder: Path, endpoint: str, files: int):
    from speech_backfill.accounts import AccountKey, StorageAccount, StorageAccounts
    from speech_backfill.ledger.ledger import Ledger
    from speech_backfill.pipeline import Pipeline
    from speech_backfill.settings import Settings
    from speech_backfill.speech.resource import SpeechKey, SpeechResource
    from speech_backfill.store import Store

    return Pipeline(
        settings=Settings(store=str(folder / "store"), probe_files=0),
        ledger=Ledger.open(f"sqlite:///{folder / 'ledger.db'}", time.time),
        store=Store.open(str(folder / "store")),
        accounts=StorageAccounts.of([StorageAccount("account", _ACCOUNT, AccountKey("a2V5"))]),
        resources=(SpeechResource("local", endpoint, SpeechKey(_KEY), window=files),),
    )


def submit_everything(folder: Path, endpoint: str, files: int) -> dict:
    """Submit every shard of the only plan in *folder*, as the tasks do, one after the other."""
    from speech_backfill.submit import Submitted

    pipeline = _pipeline(folder, endpoint, files)
    (plan_id,) = {path.name for path in (folder / "store" / "plans").iterdir()}
    shards = pipeline.shards(plan_id)
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    transcriptions = 0
    for shard in shards:
        submitted = pipeline.submit(shard)
        assert isinstance(submitted, Submitted), submitted
        transcriptions += len(submitted.refs)
    after, ended = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    return {
        "transcriptions": transcriptions,
        "cpu_seconds": after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime,
        "wall_seconds": ended - began,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
