"""# Repair: submit again what failed or is missing and can be tried again

A published partition may hold audio files that failed for a reason that passes (the service was in trouble, a link had
expired, a deadline went by) or that are missing from the service's answer. This DAG submits just those, in as many
**partitions** as you name, or in all that have any if you name none. Files that failed for good (no audio, corrupt, too
long) are left alone: `reprocess` is there for the person who knows better.

    plan → shards → [ submit → wait → merge ] for each shard → publish, for each partition

One run takes on sixty partitions; its plan task says if there are more. Transcribed files are never submitted here. A partition stays visible as it is until its repair is published as a whole.
"""

from __future__ import annotations

from airflow.sdk import Param, PartitionedAtRuntime, dag, task

from azure_speech import steps
from azure_speech.dag_parts import DEFAULTS, TABLES, TAGS, limits_form, transcribe


@dag(
    dag_id="speech_backfill_repair",
    dag_display_name="Speech backfill: repair",
    doc_md=__doc__,
    schedule=PartitionedAtRuntime(),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=[*TAGS, "on demand"],
    params={
        "partitions": Param(
            [],
            type=["null", "array"],
            items={"type": "string"},
            title="Partitions",
            description="One a line. Empty: every published partition with files that can be tried again.",
        ),
        **limits_form(),
        "reprocess": Param(
            False,
            type="boolean",
            title="Also what failed for good",
            description="Submit, and pay for, files that the service refused for good as well.",
        ),
    },
)
def speech_backfill_repair() -> None:
    """Partitions with failed or missing files, from there to whole."""

    @task
    def plan() -> list[str]:
        return steps.plan_repairs()

    @task
    def shards(plans: list[str]) -> list[dict[str, object]]:
        return steps.shards_of(plans)

    @task(trigger_rule="all_done", outlets=[TABLES], map_index_template="{{ partition_label }}")
    def publish(plan_id: str) -> dict[str, object]:
        return steps.publish(plan_id)

    plans = plan()
    transcribe.expand(shard=shards(plans)) >> publish.expand(plan_id=plans)


speech_backfill_repair()
