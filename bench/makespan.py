"""Makespan of 1,000 transcriptions over four regions through real Airflow, against the ideal schedule; --outage: one region dies.

    python -m bench makespan [--transcriptions 1000] [--outage SECONDS]

The emulator's regions work one transcription at a time, as the service says its own do. The ideal schedule keeps all four
busy from the first submission on and ends them together: the sum of all processing times, divided by four.
"""

from __future__ import annotations

import argparse
import threading
import time
from dataclasses import replace

from bench.figures import Figure, at_most, table
from bench.regions import REGIONS, Regions, four_regions
from local import dag_run

FILES_EACH = 3
AUDIO_SPEED = 62.0
"""Three files have about 105 s of audio, so a transcription takes 1.7 s: a scale of about one to a thousand."""

GOAL = 1.15
WINDOW = 24
PER_SHARD = 21
"""What 1,000 transcriptions come to in the 48 shards that are the default: fewer get fewer shards, not smaller ones."""
SETTINGS = {
    "SPEECH_RECOGNISER": "synthetic",
    "SPEECH_BACKFILL_FILES_PER_TRANSCRIPTION": str(FILES_EACH),
    # What was on its way to a region that goes down is in doubt until these are over: three minutes by default, the tenth
    # part of a transcription there, and the time of a hundred at this scale.
    "SPEECH_BACKFILL_SUBMIT_TIMEOUT_SECONDS": "10",
    "SPEECH_BACKFILL_LOOKUP_GRACE_SECONDS": "10",
    "SPEECH_BACKFILL_LEASE_SECONDS": "20",
    "SPEECH_BACKFILL_POLL_INTERVAL_SECONDS": "2",
    "SPEECH_BACKFILL_FIRST_LOOK_SECONDS": "10",
    "SPEECH_BACKFILL_AUDIO_SPEED": str(AUDIO_SPEED),
}


def main(arguments: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench makespan", description=__doc__)
    parser.add_argument("--transcriptions", type=int, default=1000)
    parser.add_argument("--outage", type=float, default=0.0, help="seconds for which one region is down")
    parsed = parser.parse_args(arguments)
    found = rows(transcriptions=parsed.transcriptions, outage_seconds=parsed.outage)
    print(table(found))
    return 0 if all(one.good for one in found) else 1


def rows(*, transcriptions: int = 1000, outage_seconds: float = 0.0) -> list[Figure]:
    """One run, measured by what the emulator has seen."""
    shards = {"SPEECH_BACKFILL_MAX_SHARDS": str(max(1, round(transcriptions / PER_SHARD)))}
    with four_regions(window=WINDOW, audio_speed=AUDIO_SPEED, settings=SETTINGS | shards) as regions:
        source = regions.upload_manifest("makespan.csv", transcriptions * FILES_EACH)
        api = regions.stack.airflow.api
        began = time.time()
        run_id = regions.trigger(source, "makespan")
        outage = _Outage(regions, outage_seconds, after=transcriptions // 4)
        outage.start()
        ended = dag_run.follow(api, run_id, _seldom(print), also=lambda: "", timeout_seconds=3600)
        outage.join()
        if ended.state != "success":
            raise RuntimeError(dag_run.failed_task_logs(api, ended))
        seconds = time.time() - began
        made = regions.get("transcriptions")["values"]
        state = regions.get("state")
        outcomes = api.get(
            f"/dags/{dag_run.DAG_ID}/dagRuns/{run_id.replace(':', '%3A').replace('+', '%2B')}"
            "/taskInstances/publish/xcomEntries/return_value"
        )["value"]
    first = min(one["created_at"] for one in made)
    last = max(one["ended_at"] for one in made)
    work = sum(one["billed_ms"] for one in made) / 1000 / AUDIO_SPEED
    capacity = len(REGIONS)
    ideal = (work + outage.seconds) / capacity
    makespan = last - first
    by_region = {region: sum(one["resource"] == region for one in made) for region in REGIONS}
    submits = [one for one in ended.tasks if one.task_id == "transcribe.submit"]
    print(f"\ntranscriptions     {len(made):,}, by region {by_region}")
    print(
        f"ideal schedule     {ideal:.1f} s (work of {work:.1f} s, {capacity} regions, {outage.seconds:.0f} s of outage)"
    )
    print(f"makespan           {makespan:.1f} s from the first submission to the last end")
    for region in REGIONS:
        mine = [one for one in made if one["resource"] == region]
        if mine:
            print(f"  {region:<16} {_idle(mine, first=first, last=last)}")
    print(
        f"the whole run      {seconds:.1f} s, plan and publication included; {len(ended.tasks)} task instances, {len(submits)} shards"
    )
    print(f"accounting         {outcomes}")
    print(
        f"submitted twice    {len(state['duplicates'])}; 429s {state['throttled']}; requests {state['requests']}"
    )
    right = (
        outcomes["transcribed"] == transcriptions * FILES_EACH
        and not state["duplicates"]
        and len(made) == transcriptions
    )
    what = f"makespan of {transcriptions:,} transcriptions over 4 regions against the ideal schedule"
    if outage_seconds:
        what += f", one region down for {outage.seconds:.0f} s"
    ratio = makespan / ideal
    figure = at_most(what, GOAL, ratio, f"({makespan:.0f} s against {ideal:.0f} s)")
    return [figure if right else replace(figure, good=False)]


def _idle(made: list[dict], *, first: float, last: float) -> str:
    """Where one region's time went: before its first transcription began, after its last one, and between."""
    spans = sorted((one["ended_at"] - one["billed_ms"] / 1000 / AUDIO_SPEED, one["ended_at"]) for one in made)
    busy = sum(end - begin for begin, end in spans)
    before, after = spans[0][0] - first, last - spans[-1][1]
    between = max(0.0, last - first - busy - before - after)
    return f"busy {busy:.1f} s; idle {before:.1f} s before, {between:.1f} s between, {after:.1f} s after"


class _Outage(threading.Thread):
    """One region goes down once so much is accepted, and comes back after a while."""

    def __init__(self, regions: Regions, seconds: float, *, after: int) -> None:
        super().__init__(daemon=True)
        self._regions = regions
        self._after = after
        self.seconds = seconds

    def run(self) -> None:
        if not self.seconds:
            return
        while self._regions.get("state")["accepted"] < self._after:
            time.sleep(1)
        self._regions.post(f"regions/{REGIONS[1]}:stop")
        print(f"outage   {REGIONS[1]} is down")
        began = time.time()
        time.sleep(self.seconds)
        self._regions.post(f"regions/{REGIONS[1]}:start")
        self.seconds = time.time() - began
        print(f"outage   {REGIONS[1]} is back after {self.seconds:.0f} s")


def _seldom(say):
    """*say*, but not more than every ten seconds."""
    last = [0.0]

    def said(line: str) -> None:
        if time.monotonic() - last[0] >= 10:
            last[0] = time.monotonic()
            say(line)

    return said
