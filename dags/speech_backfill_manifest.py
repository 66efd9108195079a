"""# From the form: transcribe a manifest or a container prefix

Name a **source** and a **partition**, press *Trigger*, and the partition appears in the tables as a whole.

* **Source**: a manifest (`.csv`, `.jsonl`, `.parquet`, or `.txt` with one URI a line), as `az://container/path`, `https://…`,
  `abfss://…` or a path on the workers; or a container with a prefix that ends in `/`, filtered by globs.
  A manifest needs one column of URIs (`uri`, `url`, `audio_url`, …). Known columns (`locale`, `channels`, `duration`, `size`,
  `etag`, …) are used for each file; all others are carried into the table `outcomes`.
* **Partition**: the name under which the result stands in the tables. The same name again adds to it: done files are
  skipped, changed recordings are replaced.
* **Dry run** logs files, audio hours, price, when it would be done and task instances, and keeps them in the store as
  `estimates/<partition>/<run id>.json`. It plans and submits nothing.
* **Budget** stops the submission before it is exceeded. The run then fails with what is left; trigger it again with a
  higher budget and it goes on from there.
* **Only failed** submits what failed or is missing in the published partition and can be tried again; the source is not read.
* **Reprocess** submits, and pays for, everything once more.

The steps and their meaning are those of `speech_backfill_daily`. Clearing any task at any moment is safe: what is
submitted is found again and never paid for twice.
"""

from __future__ import annotations

from airflow.sdk import Param, PartitionedAtRuntime, dag, task

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
    dag_id="speech_backfill_manifest",
    dag_display_name="Speech backfill: manifest",
    doc_md=__doc__,
    schedule=PartitionedAtRuntime(),
    catchup=False,
    max_active_runs=8,
    default_args=DEFAULTS,
    tags=[*TAGS, "on demand"],
    params={
        "source": Param(
            None,
            type=["null", "string"],
            title="Source",
            description="Manifest, or container prefix ending in /: az://recordings/calls/2026/. Not needed for Only failed.",
        ),
        "partition": Param(
            "",
            type="string",
            title="Partition",
            description="Name of the partition in the tables, such as support-2019.",
        ),
        **options_form(section="Options"),
        **limits_form(section="Limits"),
        "only_failed": Param(
            False,
            type="boolean",
            title="Only failed",
            description="Only what failed or is missing in the published partition; the source is not read.",
            section="Limits",
        ),
        "reprocess": REPROCESS,
        "include_globs": Param(
            [],
            type=["null", "array"],
            items={"type": "string"},
            title="Include",
            description="Globs below the prefix, one a line, such as **/*.wav. Empty: all audio suffixes.",
            section="Reading the source",
        ),
        "exclude_globs": Param(
            [],
            type=["null", "array"],
            items={"type": "string"},
            title="Exclude",
            description="Globs below the prefix, one a line.",
            section="Reading the source",
        ),
        "uri_column": Param(
            None,
            type=["null", "string"],
            title="URI column",
            description="The manifest's column of URIs. Empty: uri, url, audio_url, audio_filepath, path or file.",
            section="Reading the source",
        ),
    },
)
def speech_backfill_manifest() -> None:
    """One manifest or prefix, from audio files to tables."""

    @task
    def plan() -> list[dict[str, object]]:
        return steps.plan_manifest()

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


speech_backfill_manifest()
