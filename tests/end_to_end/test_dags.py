"""The three DAGs through a real scheduler and triggerer. Slow to start (a minute), then seconds for each test."""

from __future__ import annotations

import re

import pytest

from end_to_end.deployment import until
from speech_backfill.tables.layout import quoted

pytestmark = [pytest.mark.airflow, pytest.mark.azurite]

MANIFEST = "speech_backfill_manifest"
DAILY = "speech_backfill_daily"
REPAIR = "speech_backfill_repair"


def test_a_prefix_becomes_a_published_partition(deployment):
    """Ten files in chunks of four: three transcriptions, waited for in the triggerer, merged, published."""
    deployment.upload(*(f"prefix/call {number}.wav" for number in range(10)))
    before = deployment.submitted()

    run = deployment.trigger(MANIFEST, source="az://recordings/prefix/", partition="prefix", locale="en-US")

    assert deployment.ended(MANIFEST, run) == "success"
    assert deployment.submitted() - before == 3
    outcomes = deployment.table("outcomes", "prefix")
    assert len(outcomes) == 10
    assert set(outcomes["outcome"]) == {"transcribed"}
    assert deployment.table("transcripts", "prefix")["file_id"].nunique() == 10
    waits = [one for one in deployment.tasks(MANIFEST, run) if one["task_id"] == "transcribe.wait"]
    assert len(waits) == 3
    assert all(one["trigger"] is None and one["state"] == "success" for one in waits)


def test_a_second_run_of_the_same_partition_submits_nothing(deployment):
    """Done files are recognised by URL, etag and options, whoever asks."""
    deployment.upload(*(f"twice/{number}.wav" for number in range(3)))
    first = deployment.trigger(MANIFEST, source="az://recordings/twice/", partition="twice")
    assert deployment.ended(MANIFEST, first) == "success"
    before = deployment.submitted()

    second = deployment.trigger(MANIFEST, source="az://recordings/twice/", partition="twice")

    assert deployment.ended(MANIFEST, second) == "success"
    assert deployment.submitted() == before
    assert len(deployment.table("outcomes", "twice")) == 3


def test_a_dry_run_submits_and_publishes_nothing(deployment):
    """The plan's log tells files and price; publish is skipped."""
    deployment.upload("dry/1.wav", "dry/2.wav")
    before = deployment.submitted()

    run = deployment.trigger(MANIFEST, source="az://recordings/dry/", partition="dry", dry_run=True)

    assert deployment.ended(MANIFEST, run) == "success"
    assert deployment.submitted() == before
    states = {one["task_id"]: one["state"] for one in deployment.tasks(MANIFEST, run)}
    assert states["publish"] == "skipped"
    log = deployment.log(MANIFEST, run, "plan")
    assert "audio files       2" in log
    assert f"estimates/dry/{quoted(run)}.json" in log


def test_a_field_that_the_form_does_not_have_is_refused(deployment):
    """Airflow itself takes any conf; a slip must not plan the wrong thing."""
    run = deployment.trigger(MANIFEST, source="az://recordings/dry/", partition="slip", local="de-DE")

    assert deployment.ended(MANIFEST, run) == "failed"
    assert "the form has no such field" in deployment.log(MANIFEST, run, "plan")


def test_clearing_a_deferred_wait_pays_nothing_twice(deployment):
    """The new attempt meets the same transcriptions; the old trigger's end harms nothing."""
    deployment.upload(*(f"clear/{number}.wav" for number in range(4)))
    before = deployment.submitted()
    run = deployment.trigger(MANIFEST, source="az://recordings/clear/", partition="clear")

    def deferred():
        found = [one for one in deployment.tasks(MANIFEST, run) if one["state"] == "deferred"]
        return found or None

    until(deferred, 120)
    deployment.stack.airflow.api.post(
        f"/dags/{MANIFEST}/clearTaskInstances",
        {
            "dry_run": False,
            "dag_run_id": run,
            "task_ids": ["transcribe.wait"],
            "only_failed": False,
            "include_downstream": True,
        },
    )

    assert deployment.ended(MANIFEST, run) == "success"
    assert deployment.submitted() - before == 1
    assert len(deployment.table("outcomes", "clear")) == 4


def test_a_backfill_publishes_each_day_and_reprocesses_only_the_failed_one(deployment):
    """Three days, one without its prefix: it fails clearly, is mended, and `reprocess failed` runs that day alone."""
    deployment.upload("nightly/2026/11/01/a.wav", "nightly/2026/11/01/b.wav", "nightly/2026/11/03/c.wav")
    deployment.stack.airflow.api.patch(f"/dags/{DAILY}", {"is_paused": False})
    dates = ("--from-date", "2026-11-01", "--to-date", "2026-11-03")
    deployment.airflow("backfill", "create", "--dag-id", DAILY, *dates)

    def backfilled():
        # Unpausing the DAG also starts last night's own run, which is no part of the backfill.
        return [one for one in deployment.runs(DAILY) if one["run_type"] == "backfill"]

    def all_ended():
        runs = backfilled()
        return runs if len(runs) == 3 and all(one["state"] in {"success", "failed"} for one in runs) else None

    runs = until(all_ended, 400)
    assert {one["partition_key"]: one["state"] for one in runs} == {
        "2026-11-01": "success",
        "2026-11-02": "failed",
        "2026-11-03": "success",
    }
    failed = next(one for one in runs if one["state"] == "failed")
    assert re.search(
        r"holds no audio file|does not exist", deployment.log(DAILY, failed["dag_run_id"], "plan")
    )

    def no_backfill_runs():
        found = deployment.stack.airflow.api.get(f"/backfills?dag_id={DAILY}")["backfills"]
        return True if all(one["completed_at"] for one in found) else None

    until(no_backfill_runs, 120)
    deployment.upload("nightly/2026/11/02/late.wav")
    before = deployment.submitted()
    deployment.airflow("backfill", "create", "--dag-id", DAILY, *dates, "--reprocess-behavior", "failed")

    def one_more_ended():
        found = backfilled()
        return (
            found if len(found) == 4 and all(one["state"] in {"success", "failed"} for one in found) else None
        )

    after = until(one_more_ended, 400)
    new = [one for one in after if one["dag_run_id"] not in {old["dag_run_id"] for old in runs}]
    assert [(one["partition_key"], one["state"]) for one in new] == [("2026-11-02", "success")]
    assert deployment.submitted() - before == 1
    assert len(deployment.table("outcomes", "2026-11-02")) == 1


def test_a_repair_submits_only_what_can_be_tried_again(deployment):
    """One file fails for a passing reason in both rounds of its run; the repair DAG cures it and leaves the rest alone."""
    deployment.upload(*(f"mend/{number}.wav" for number in range(3)), "mend/unlucky.wav")
    deployment.add_fault(
        kind="files_fail", files="*unlucky*", error_kind="Internal", error_message="try again", times=2
    )
    run = deployment.trigger(MANIFEST, source="az://recordings/mend/", partition="mend")
    assert deployment.ended(MANIFEST, run) == "success"
    outcomes = deployment.table("outcomes", "mend").set_index("audio_url")
    assert sorted(outcomes["outcome"]) == ["failed", "transcribed", "transcribed", "transcribed"]
    before = deployment.emulator()["files"]

    repair = deployment.trigger(REPAIR)

    assert deployment.ended(REPAIR, repair) == "success"
    assert set(deployment.table("outcomes", "mend")["outcome"]) == {"transcribed"}
    assert deployment.emulator()["files"] - before == 1
