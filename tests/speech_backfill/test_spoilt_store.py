"""A store or a ledger that is not what it was: said plainly, and nothing is overwritten or paid for again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from speech_backfill import paths
from speech_backfill.errors import UnknownPlan
from speech_backfill.tables.errors import UnreadablePartitionFile
from speech_backfill.tables.layout import partition_file
from tests.speech_backfill.campaign import Campaign

NAMES = ["a.wav", "b.wav"]


def test_a_spoilt_partition_file_stops_a_plan_with_its_name(campaign: Campaign) -> None:
    """Taken for "nothing is published" it would have everything paid again."""
    campaign.run(NAMES)
    campaign.store.put(partition_file("day"), b"{")
    with pytest.raises(UnreadablePartitionFile, match=r"_partitions/day\.json"):
        campaign.plan(NAMES, run_key="again")
    assert campaign.posts == 1


def test_a_part_that_is_gone_stops_a_plan_with_its_name(campaign: Campaign) -> None:
    campaign.run(NAMES)
    (part,) = [one.path for one in campaign.store.list("tables/outcomes/")]
    campaign.store.delete(part)
    with pytest.raises(UnreadablePartitionFile, match="is gone"):
        campaign.plan(NAMES, run_key="again")


def test_a_shard_of_a_plan_that_the_ledger_does_not_know_is_neither_submitted_nor_merged(
    campaign: Campaign,
) -> None:
    """An empty merge would stand where a full one was."""
    summary = campaign.plan(NAMES)
    campaign.round(summary.plan_id)
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    merged = f"{paths.shard_folder(shard.plan_id, 0, 0)}/merged.json"
    before = campaign.store.get(merged)
    unknown = replace(shard, index=7)
    for step in (campaign.pipeline.submit, campaign.pipeline.merge):
        with pytest.raises(UnknownPlan):
            step(unknown)
    assert campaign.store.get(merged) == before
