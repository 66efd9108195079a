"""A budget of half the estimate under four days at once through real Airflow, and the one command that lets them go on.

    python -m bench budget [--files 120] [--by backfill|repair]

Dry runs of the command line estimate four days. `airflow backfill create` runs them at the same time, over four emulated
regions, under one named budget of half of that. When all have ended, one command goes on with a budget that suffices, as
the runbook has it: the backfill again with `--reprocess-behavior failed`, or with `--by repair` one run of the repair DAG.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from urllib.parse import quote

from bench.figures import Figure, at_least, at_most, table
from bench.regions import Regions, four_regions
from local import azurite, dag_run
from local.airflow import environment
from local.stack import RECORDINGS_CONTAINER

DAILY, REPAIR = "speech_backfill_daily", "speech_backfill_repair"
DAYS = tuple((date(2026, 3, 2) + timedelta(days=number)).isoformat() for number in range(4))
BUDGET = "march"
LEAST_SPENT = 0.8

FILES_EACH = 3
AUDIO_SPEED = 120.0
"""Three files have about 105 s of audio, so a transcription takes less than a second."""
WINDOW = 4
_FOLDER = "days"
SETTINGS = {
    "SPEECH_RECOGNISER": "synthetic",
    "SPEECH_BACKFILL_FILES_PER_TRANSCRIPTION": str(FILES_EACH),
    "SPEECH_BACKFILL_MAX_SHARDS": "5",
    "SPEECH_BACKFILL_POLL_INTERVAL_SECONDS": "2",
    "SPEECH_BACKFILL_FIRST_LOOK_SECONDS": "10",
    "SPEECH_BACKFILL_AUDIO_SPEED": str(AUDIO_SPEED),
    "SPEECH_BACKFILL_DAILY_SOURCE": f"az://{RECORDINGS_CONTAINER}/{_FOLDER}/{{date:%Y-%m-%d}}.csv",
}
_BACKFILL = ("backfill", "create", "--dag-id", DAILY, "--from-date", DAYS[0], "--to-date", DAYS[-1])
GOING_ON = {
    "backfill": (DAILY, (*_BACKFILL, "--reprocess-behavior", "failed", "--dag-run-conf")),
    "repair": (REPAIR, ("dags", "trigger", REPAIR, "--conf")),
}
"""The DAG whose runs go on, and the command; the form follows."""

_ENOUGH = 1.01
_TIMEOUT_SECONDS = 1800.0


def main(arguments: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench budget",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--files", type=int, default=120, help="audio files a day")
    parser.add_argument("--by", choices=tuple(GOING_ON), default="backfill", help="how the days go on")
    given = parser.parse_args(arguments)
    found = rows(files=given.files, by=given.by)
    print(table(found))
    return 0 if all(one.good for one in found) else 1


def rows(*, files: int = 120, by: str = "backfill") -> list[Figure]:
    """Run out of budget, go on, and count in the service's books."""
    with four_regions(window=WINDOW, audio_speed=AUDIO_SPEED, settings=SETTINGS) as regions:
        days = _Days(regions)
        for day in DAYS:
            regions.upload_manifest(f"{day}.csv", files, folder=_FOLDER, calls=f"{_FOLDER}/{day}")
        estimate = sum(days.estimated_hours(day) for day in DAYS)
        limit = estimate / 2
        print(
            f"estimate           {estimate:.3f} audio hours by four dry runs; budget {BUDGET!r}: {limit:.3f}"
        )

        days.unpause()
        stopped_runs = days.ended(DAILY, (*_BACKFILL, "--dag-run-conf"), limit, runs=len(DAYS))
        stopped, first = regions.get("state"), days.reports()
        for day in DAYS:
            lines = [line for line in days.said("report", day).splitlines() if "udget" in line]
            print("\n".join([f"report of {day}", *(f"  {line}" for line in lines)]))

        dag, command = GOING_ON[by]
        runs = len(DAYS) if dag == DAILY else 1
        finished_runs = days.ended(dag, command, estimate * _ENOUGH, runs=runs)
        finished, last = regions.get("state"), days.reports()
        names = Counter(one["display_name"] for one in regions.get("transcriptions")["values"])
    spent = stopped["billed_audio_seconds"] / 3600
    billed = finished["billed_audio_seconds"] / 3600
    left = len(DAYS) * files - sum(one["transcribed"] for one in first)
    transcribed = sum(one["transcribed"] for one in last)
    # By content as well: a second submission might carry another name.
    twice = max(sum(names.values()) - len(names), finished["files"] - len(DAYS) * files)
    print(
        f"transcriptions     {stopped['accepted']:,} within the budget, {finished['accepted']:,} in the end"
    )
    print(
        f"billed             {spent:.3f} of {limit:.3f} audio hours, {billed:.3f} of {estimate:.3f} in the end"
    )
    what = "budget of half the estimate, four days at once"
    red = sum(one == "failed" for one in stopped_runs)
    short = sum(one["over_budget"] > 0 for one in first)
    told = sum(one["over_budget"] for one in first)
    hours = f"({spent:.3f} of {limit:.3f} audio hours)"
    return [
        at_most(f"{what}: billed of the budget", 1.0, spent / limit, hours),
        at_least(f"{what}: of the budget put to use", LEAST_SPENT, spent / limit, ""),
        at_least(f"{what}: runs of days that lack files, ended and red", short, red, ""),
        at_least(f"{what}: files not transcribed that the reports call left over", left, told, ""),
        at_least(
            f"{what}: files transcribed after one command, with a budget that suffices",
            len(DAYS) * files,
            transcribed if set(finished_runs) == {"success"} else 0,
            "",
        ),
        at_most(f"{what}: submitted twice", 0, twice, ""),
    ]


@dataclass(frozen=True)
class _Days:
    """The days' runs in Airflow, and what the command line says of them."""

    regions: Regions

    def estimated_hours(self, day: str) -> float:
        """What a dry run says."""
        source = f"az://{RECORDINGS_CONTAINER}/{_FOLDER}/{day}.csv"
        said = self.said("plan", source, "--partition", day, "--dry-run", "--json")
        return float(json.loads(said)["audio_hours"])

    def reports(self) -> list[dict[str, Any]]:
        """The run report of each day."""
        return [json.loads(self.said("report", day, "--json")) for day in DAYS]

    def said(self, *arguments: str) -> str:
        """What the product's command line prints."""
        stack = self.regions.stack
        variables = {
            "SPEECH_BACKFILL_ACCOUNT_LOCAL_NAME": azurite.ACCOUNT,
            "SPEECH_BACKFILL_ACCOUNT_LOCAL_ENDPOINT": azurite.endpoint(stack.ports.azurite),
            "SPEECH_BACKFILL_ACCOUNT_LOCAL_KEY": azurite.WELL_KNOWN_KEY,
        }
        command = (sys.executable, "-m", "speech_backfill.cli", *arguments)
        return _output(command, self._environment() | variables)

    def unpause(self) -> None:
        """Let the DAGs run. The daily one begins with last night, which has no manifest here and fails."""
        api = self.regions.stack.airflow.api
        dag_run.wait_for_dag(api, timeout_seconds=180)
        for dag in (DAILY, REPAIR):
            api.patch(f"/dags/{dag}", {"is_paused": False})

    def ended(self, dag: str, command: tuple[str, ...], hours: float, *, runs: int) -> list[str]:
        """Type *command* with a budget of *hours*; the states of the *runs* that it makes, once they have ended."""
        api = self.regions.stack.airflow.api
        began = time.monotonic()
        # Airflow takes a backfill of the same DAG only after it has noted that the one before is done.
        while not all(
            one["completed_at"] for one in api.get(f"/backfills?dag_id={DAILY}")["backfills"]
        ):  # the API tells nobody
            time.sleep(2)
        before = {one["dag_run_id"] for one in self._runs(dag)}
        typed = (*command, json.dumps({"budget_name": BUDGET, "budget_hours": round(hours, 4)}))
        print(f"\n$ airflow {' '.join(typed[:-1])} '{typed[-1]}'")
        _output((sys.executable, "-m", "airflow", *typed), self._environment())
        said = ""
        while time.monotonic() - began < _TIMEOUT_SECONDS:
            made = [one for one in self._runs(dag) if one["dag_run_id"] not in before]
            states = [str(one["state"]) for one in made]
            state = self.regions.get("state")
            progress = f"{dict(Counter(states))}, {state['files']:,} files submitted"
            if progress != said:
                print(f"runs     {time.monotonic() - began:>5.0f} s  {progress}")
                said = progress
            if len(made) == runs and set(states) <= dag_run.ENDED:
                self._tell_failures(dag, [str(one["dag_run_id"]) for one in made])
                return states
            time.sleep(3)
        raise RuntimeError(f"the runs of {dag} have not ended after {_TIMEOUT_SECONDS:.0f} s: {said}")

    def _tell_failures(self, dag: str, run_ids: list[str]) -> None:
        """The last words of each task that has failed: a budget that ran out is one, and the only one that may be."""
        api = self.regions.stack.airflow.api
        for run_id in run_ids:
            found = api.get(f"/dags/{dag}/dagRuns/{quote(run_id, safe='')}/taskInstances?limit=1000")
            run = dag_run.EndedRun(run_id, "", 0.0, dag_run.task_states(found["task_instances"]))
            for one in run.tasks:
                if one.state == "failed":
                    said = dag_run.log_tail(api, run_id, one, lines=1, dag_id=dag).splitlines()
                    print(
                        f"failed   {one.task_id}[{one.map_index}], attempt {one.attempt}: {' '.join(said[-1:])}"
                    )

    def _environment(self) -> dict[str, str]:
        stack = self.regions.stack
        return environment(stack.checkout, stack.ports, stack.keys, os.environ, stack.airflow_settings)

    def _runs(self, dag: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.regions.stack.airflow.api.get(f"/dags/{dag}/dagRuns?limit=100")[
            "dag_runs"
        ]
        return [one for one in found if one["run_type"] in {"backfill", "manual"}]


def _output(command: tuple[str, ...], variables: dict[str, str]) -> str:
    done = subprocess.run(command, check=False, env=variables, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
