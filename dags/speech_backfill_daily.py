"""# Every night: transcribe the day that has ended

Each run transcribes one **partition**: one day of audio files. The files come from the container and prefix in
`SPEECH_BACKFILL_DAILY_SOURCE`, a template over the partition's date such as `az://recordings/calls/{date:%Y/%m/%d}/`.

    plan → [ submit → wait → merge ] for each shard → reconcile → [ … ] repair → publish

1. **plan** lists the prefix, leaves out what is transcribed already, and cuts the rest into chunks and shards.
   It pays for nothing. A prefix or container that is missing or empty fails here, clearly.
2. **submit** asks the Speech service for the shard's transcriptions. **wait** waits for them without holding a worker:
   minutes, or a day. **merge** writes the shard's part files, while other shards still wait.
3. **reconcile** accounts for every audio file and plans the repair of those that can be tried again.
4. **publish** makes the day visible in the tables as a whole, writes the run report and tells the asset
   `speech_backfill_tables`.

**A range of days:** `airflow backfill create --dag-id speech_backfill_daily --from-date 2026-11-01 --to-date 2026-11-30`,
or *Trigger → Backfill* in this page. **One day by hand:** trigger with that day as partition key, `2026-11-01`.

**A day failed:** mend what the plan task's log names, then clear the failed tasks, or make a backfill over the day with
`--reprocess-behavior failed`. Days that succeeded are left alone. Clearing any task at any moment is safe: what is
submitted is found again and never paid for twice.

**Files arrived late:** trigger the day again: only the new files are submitted.
"""

from __future__ import annotations

import pendulum
from airflow.sdk import CronPartitionTimetable, dag, task

from azure_speech import steps
from azure_speech.dag_parts import (
    DEFAULTS,
    REPROCESS,
    TABLES,
    TAGS,
    limits_form,
    options_form,
    repair,
    transcribe,
)


@dag(
    dag_id="speech_backfill_daily",
    dag_display_name="Speech backfill: daily",
    doc_md=__doc__,
    # Midnight, and no other hour: Airflow dates a manual partition at midnight and a scheduled one at the cron's hour, so
    # with another hour a backfill would run a day again that was run by hand.
    schedule=CronPartitionTimetable("0 0 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d"),
    start_date=pendulum.datetime(2020, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=4,
    default_args=DEFAULTS,
    tags=[*TAGS, "nightly"],
    params={**options_form(section="Options"), **limits_form(section="Limits"), "reprocess": REPROCESS},
)
def speech_backfill_daily() -> None:
    """One day, from audio files to tables."""

    @task
    def plan() -> list[dict[str, object]]:
        return steps.plan_day()

    @task(trigger_rule="all_done")
    def reconcile() -> list[dict[str, object]]:
        return steps.reconcile()

    @task(trigger_rule="none_failed", outlets=[TABLES])
    def publish() -> dict[str, object]:
        return steps.publish_run()

    first = transcribe.expand(shard=plan())
    repairs = reconcile()
    again = repair.expand(shard=repairs)
    published = publish()
    first >> repairs
    first >> published
    again >> published


speech_backfill_daily()
