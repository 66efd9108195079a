"""Files per second, and CPU per task instance, of a whole run through real Airflow with the synthetic recogniser.

    python -m bench airflow_run [--files 20000]

The synthetic recogniser makes its text from the URL, so this measures everything but recognition: planning, submission,
waiting through the triggerer, downloads, merge, publication, and Airflow itself (LocalExecutor, SQLite).
"""

from __future__ import annotations

import argparse
import csv
import io
import platform
import time
from collections import Counter
from urllib.parse import quote

from azure.storage.blob import BlobServiceClient

from bench.figures import Figure, table, told
from local import azurite, dag_run
from local.scratch import cpu_seconds, running
from local.stack import RECORDINGS_CONTAINER


def main(arguments: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench airflow_run", description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    rows(files=parser.parse_args(arguments).files)
    return 0


def rows(*, files: int = 20_000) -> list[Figure]:
    """One run, whose rates depend on the machine: there is no goal for them."""
    settings = {
        "SPEECH_RECOGNISER": "synthetic",
        "SPEECH_BACKFILL_FILES_PER_TRANSCRIPTION": "1000",
        "SPEECH_BACKFILL_POLL_INTERVAL_SECONDS": "5",
    }
    with running(**settings) as stack:
        _upload_manifest(azurite.connection_string(stack.ports.azurite), stack.ports.azurite, files)
        api = stack.airflow.api
        dag_run.wait_for_dag(api, timeout_seconds=180)
        before, began = cpu_seconds(stack), time.monotonic()
        run_id = dag_run.start(
            api, dag_run.configuration(f"az://{RECORDINGS_CONTAINER}/bench/manifest.csv", "bench")
        )
        ended = dag_run.follow(api, run_id, print, also=lambda: "", timeout_seconds=3600)
        seconds = time.monotonic() - began
        used = {name: value - before.get(name, 0.0) for name, value in cpu_seconds(stack).items()}
        if ended.state != "success":
            raise RuntimeError(dag_run.failed_task_logs(api, ended))
        run_path = f"/dags/{dag_run.DAG_ID}/dagRuns/{quote(run_id, safe='')}"
        report = api.get(f"{run_path}/taskInstances/publish/xcomEntries/return_value")["value"]
    states = Counter(one.state for one in ended.tasks)
    ran = states["done"]
    ours = {name: value for name, value in used.items() if name not in {"azurite", "speech-emulator"}}
    print(f"\nmachine            {platform.machine()}, Python {platform.python_version()}")
    print(f"audio files        {files:,}; outcomes {report}")
    print(f"task instances     {ran} succeeded, {sum(states.values()) - ran} skipped")
    print(f"wall               {seconds:.1f} s from trigger to success")
    for name, value in sorted(
        used.items()
    ):  # task processes are the scheduler's children, so they count there
        print(f"CPU {name:<15} {value:.1f} s")
    cpu, what = sum(ours.values()), f"run of {files:,} files through Airflow"
    figures = [
        told(f"{what}, task instances", ran, "succeeded"),
        told(f"{what}, from trigger to success", files / seconds, f"files a second ({seconds:.0f} s)"),
        told(f"{what}, CPU of Airflow and our code a task instance", cpu / ran, "s"),
        told(f"{what}, CPU of Airflow and our code for 1,000 files", cpu / files * 1000, "s"),
    ]
    print(table(figures))
    return figures


def _upload_manifest(connection_string: str, port: int, files: int) -> None:
    """A manifest with sizes and etags, so that planning looks no blob up: the audio itself does not exist."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["uri", "etag", "size", "duration", "agent"])
    for number in range(files):
        url = (
            f"{azurite.endpoint(port)}/{RECORDINGS_CONTAINER}/bench/{number % 100:02d}/call-{number:07d}.wav"
        )
        rows.writerow([url, f"0x{number:016X}", 480_000, 15.0, f"agent-{number % 37}"])
    with BlobServiceClient.from_connection_string(connection_string) as service:
        blob = service.get_blob_client(RECORDINGS_CONTAINER, "bench/manifest.csv")
        blob.upload_blob(text.getvalue().encode(), overwrite=True)
