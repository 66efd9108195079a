"""Run a partition from plan to publication in one process, without Airflow: the same steps, in a loop.

Shards merge while others wait. A run that is interrupted is simply started again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from speech_backfill.errors import StillRunning
from speech_backfill.merge import ShardMerged
from speech_backfill.model import Shard
from speech_backfill.pipeline import Pipeline
from speech_backfill.plan.request import PlanRequest
from speech_backfill.publish.report import RunReport
from speech_backfill.submit import NotYet, Submitted


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a round has come, in shards."""

    round: int
    shards: int
    submitted: int
    merged: int
    note: str = ""

    @property
    def text(self) -> str:
        """One line for a person."""
        repair = f"repair {self.round}: " if self.round else ""
        note = f" ({self.note})" if self.note else ""
        return f"{repair}{self.submitted} of {self.shards} shards submitted, {self.merged} merged{note}"


def run_partition(
    pipeline: Pipeline,
    request: PlanRequest,
    *,
    tell: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> RunReport | None:
    """Plan, submit, wait, merge, reconcile, repair and publish; None after a dry run. *tell* gets a line now and then."""
    summary = pipeline.plan(request)
    tell(summary.text)
    if request.dry_run:
        return None
    shards = pipeline.shards(summary.plan_id)
    for round_ in range(pipeline.settings.repair_rounds + 1):
        _round(pipeline, round_, shards, tell=tell, sleep=sleep)
        if round_ < pipeline.settings.repair_rounds:
            shards = pipeline.reconcile(summary.plan_id, round_)
            if not shards:
                break
    return pipeline.publish(summary.plan_id)


def _round(
    pipeline: Pipeline,
    round_: int,
    shards: list[Shard],
    *,
    tell: Callable[[str], None],
    sleep: Callable[[float], None],
) -> None:
    """Submit and merge *shards* as window and service allow."""
    unsubmitted = list(shards)
    unmerged: list[Shard] = []
    merged: list[ShardMerged] = []
    told = ""
    while unsubmitted or unmerged:
        note, later = "", []
        for shard in unsubmitted:
            match pipeline.submit(shard):
                case Submitted():
                    unmerged.append(shard)
                case NotYet(reason=reason, no_room=no_room, shut=shut):
                    note = reason
                    later.append(shard)
                    if (no_room or shut) and len({one.residency for one in pipeline.resources}) == 1:
                        later.extend(one for one in unsubmitted if one not in later and one not in unmerged)
                        break
        unsubmitted, waiting = later, []
        for shard in unmerged:
            try:
                merged.append(pipeline.merge(shard))
            except StillRunning:
                waiting.append(shard)
        unmerged = waiting
        progress = Progress(round_, len(shards), len(shards) - len(unsubmitted), len(merged), note).text
        if progress != told:
            tell(progress)
            told = progress
        if unsubmitted or unmerged:
            sleep(pipeline.settings.poll_interval_seconds)
