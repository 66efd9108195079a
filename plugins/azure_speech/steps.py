"""The bodies of the DAGs' tasks: each reads what Airflow knows of the run, makes one call to the core, returns ids and counts.

Nothing here decides; nothing heavy is imported before a task runs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from azure_speech.plan_requests import checked_form, daily_request, manifest_request, repair_request
from speech_backfill.errors import SettingsError
from speech_backfill.model import Shard

if TYPE_CHECKING:
    from airflow.sdk import Context

    from speech_backfill.pipeline import Pipeline
    from speech_backfill.plan.request import PlanRequest
    from speech_backfill.settings import Settings

log = logging.getLogger(__name__)

MOST_REPAIRED = 60
"""Partitions that one run of the repair DAG takes on, so that its task instances stay in the low hundreds."""

PLAN_ID = "plan_id"
"""Under this key the plan task pushes its plan's id; after a dry run there is none."""


def plan_day() -> list[dict[str, Any]]:
    """Plan the run's partition, a day; returns its shards."""
    context = get_current_context()
    key = context["dag_run"].partition_key
    if not key:
        raise SettingsError(
            "partition key",
            "this run was triggered without one",
            "Trigger the DAG again with a partition key such as 2026-11-01, or make a backfill over a range of dates.",
        )
    try:
        day = date.fromisoformat(key)
    except ValueError as error:
        raise SettingsError(
            "partition key", f"{key!r} is no date such as 2026-11-01", "Trigger the DAG with a date."
        ) from error
    pipeline = _pipeline()
    conf = _form(context)
    return _plan(pipeline, daily_request(conf, pipeline.settings, day=day, run_id=context["run_id"]))


def plan_manifest() -> list[dict[str, Any]]:
    """Plan the partition that the form asks for; returns its shards."""
    context = get_current_context()
    pipeline = _pipeline()
    conf = _form(context)
    return _plan(pipeline, manifest_request(conf, pipeline.settings, run_id=context["run_id"]))


def plan_repairs() -> list[str]:
    """Plan the repair of the partitions that the form names, or of all that can be repaired; returns the plans' ids."""
    context = get_current_context()
    pipeline = _pipeline()
    conf = _form(context)
    named = [str(one) for one in conf.get("partitions") or ()]
    wanted = named or [one.partition for one in pipeline.ledger.partitions() if one.can_retry]
    if len(wanted) > MOST_REPAIRED:
        log.warning(
            "%d partitions are to be repaired; this run takes the first %d of them, trigger it again for the rest.",
            len(wanted),
            MOST_REPAIRED,
        )
    wanted = wanted[:MOST_REPAIRED]
    pipeline = replace(pipeline, settings=shared_out(pipeline.settings, len(wanted)))
    plans = []
    for partition in wanted:
        summary = pipeline.plan(
            repair_request(conf, pipeline.settings, partition=partition, run_id=context["run_id"])
        )
        log.info("%s", summary.text)
        if not summary.dry_run and summary.to_submit:
            plans.append(summary.plan_id)
    if not plans:
        log.info("Nothing to repair in %s.", ", ".join(wanted) or "any published partition")
    return plans


def shared_out(settings: Settings, plans: int) -> Settings:
    """The *settings* under which so many *plans* have as many shards together as one has, or one each.

    Airflow maps all of them in one list, which may have a thousand entries.
    """
    return replace(settings, max_shards=max(1, settings.max_shards // max(1, plans)))


def shards_of(plan_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The shards of several plans, for mapping."""
    pipeline = _pipeline()
    return [shard.to_dict() for plan_id in plan_ids for shard in pipeline.shards(plan_id)]


def merge(shard: Mapping[str, Any]) -> dict[str, int]:
    """Merge one shard; returns its counts."""
    one = Shard.from_dict(shard)
    _label("shard_label", one.label)
    return _pipeline().merge(one).to_dict()


def reconcile() -> list[dict[str, Any]]:
    """Account for the first round; returns the shards of the repair."""
    plan_id = _plan_id()
    return [] if plan_id is None else [shard.to_dict() for shard in _pipeline().reconcile(plan_id)]


def publish_run() -> dict[str, Any]:
    """Publish the run's plan; returns the report's counts. Skipped after a dry run."""
    plan_id = _plan_id()
    if plan_id is None:
        raise AirflowSkipException("A dry run plans and publishes nothing.")
    return publish(plan_id)


def publish(plan_id: str) -> dict[str, Any]:
    """Publish a plan, name its partition in the asset event, and return the report's counts.

    Fails for good, once it is published, where a budget left files over.
    """
    context = get_current_context()
    report = _pipeline().publish(plan_id)
    _label("partition_label", report.partition)
    log.info("\n%s", report.markdown)
    counts = {
        name: getattr(report, name)
        for name in (
            "partition",
            "plan_id",
            "version",
            "files",
            "transcribed",
            "failed",
            "missing",
            "can_retry",
        )
    }
    if report.shortfall is not None:
        # Everything that the budget allowed is published; the run must be seen to lack the rest, and sends no asset event.
        raise AirflowFailException(str(report.shortfall))
    for asset in context["task"].outlets:
        event = context["outlet_events"][asset]
        event.extra = counts
        if not context["dag_run"].partition_key:
            event.add_partitions([report.partition])
    return counts


def _form(context: Context) -> dict[str, Any]:
    return checked_form(context["params"], fields=context["dag"].params)


def _label(name: str, text: str) -> None:
    """Give `map_index_template` its *text*: Airflow renders it with whatever the task put into its context."""
    cast("dict[str, Any]", get_current_context())[name] = text


def _plan(pipeline: Pipeline, request: PlanRequest) -> list[dict[str, Any]]:
    summary = pipeline.plan(request)
    log.info("%s", summary.text)
    if summary.dry_run:
        return []
    get_current_context()["ti"].xcom_push(key=PLAN_ID, value=summary.plan_id)
    return [shard.to_dict() for shard in pipeline.shards(summary.plan_id)]


def _plan_id() -> str | None:
    found = get_current_context()["ti"].xcom_pull(task_ids="plan", key=PLAN_ID)
    return None if found is None else str(found)


def _pipeline() -> Pipeline:
    from azure_speech.environment import core_pipeline

    return core_pipeline()
