"""Delay from a transcription's end to the end of the task that waited for it, at the default interval of a minute.

    python -m bench resume_delay [--waits 36]

Real Airflow, one wait for each of 36 transcriptions, which the emulator's region ends one after the other at moments of its
own. Counted until the resumed task has concluded: the look, the event, the scheduler and the worker's start are all in it.
"""

from __future__ import annotations

import argparse
import statistics
from datetime import datetime
from urllib.parse import quote

from bench.figures import Figure, at_most, table
from bench.regions import SECONDS, four_regions
from local import dag_run

INTERVAL_SECONDS = 60.0
AUDIO_SPEED = 4.0
SETTINGS = {
    "SPEECH_RECOGNISER": "synthetic",
    "SPEECH_BACKFILL_FILES_PER_TRANSCRIPTION": "1",
    "SPEECH_BACKFILL_POLL_INTERVAL_SECONDS": str(INTERVAL_SECONDS),
    "SPEECH_BACKFILL_FIRST_LOOK_SECONDS": "30",
    "SPEECH_BACKFILL_KEEP_RAW_RESULTS": "false",
}


def main(arguments: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench resume_delay", description=__doc__)
    parser.add_argument("--waits", type=int, default=36)
    found = rows(waits=parser.parse_args(arguments).waits)
    print(table(found))
    return 0 if all(one.good for one in found) else 1


def rows(*, waits: int = 36) -> list[Figure]:
    """One run at the default interval."""
    one_resource = {"SPEECH_BACKFILL_SPEECH_CONNECTIONS": "speech_eastus"}
    with four_regions(
        window=waits, audio_speed=AUDIO_SPEED, settings=SETTINGS, airflow_settings=one_resource
    ) as regions:
        api = regions.stack.airflow.api
        source = regions.upload_manifest("delays.csv", waits)
        run_id = regions.trigger(source, "delays")
        ended = dag_run.follow(api, run_id, print, also=lambda: "", timeout_seconds=1800)
        if ended.state != "success":
            raise RuntimeError(dag_run.failed_task_logs(api, ended))
        where = f"/dags/{dag_run.DAG_ID}/dagRuns/{quote(run_id, safe='')}"
        tasks = api.get(f"{where}/taskInstances?limit=1000")["task_instances"]
        submitted = {
            one["map_index"]: api.get(
                f"{where}/taskInstances/transcribe.submit/xcomEntries/return_value?map_index={one['map_index']}"
            )["value"]
            for one in tasks
            if one["task_id"] == "transcribe.submit"
        }
        ends = {one["id"]: one["ended_at"] for one in regions.get("transcriptions")["values"]}
    delays = []
    for one in tasks:
        if one["task_id"] == "transcribe.wait" and one["state"] == "success":
            concluded = datetime.fromisoformat(one["end_date"]).timestamp()
            delays.append(
                concluded - max(ends[ref["transcription_id"]] for ref in submitted[one["map_index"]])
            )
    median = statistics.median(delays)
    spread = max(SECONDS) / AUDIO_SPEED
    print(
        f"\n{len(delays)} waits, transcriptions of up to {spread:.0f} s each, interval {INTERVAL_SECONDS:.0f} s"
    )
    print(f"delays             {', '.join(f'{one:.0f}' for one in sorted(delays))} s")
    what = "delay from a transcription's end to the resumed task, default interval, median"
    return [at_most(what, 0.6, median / INTERVAL_SECONDS, f"of the interval ({median:.1f} s)")]
