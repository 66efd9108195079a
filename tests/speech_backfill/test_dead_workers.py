"""Intents of workers that died before they sent anything: nobody is bound by them, and they are sent only where all still allows it."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from speech_backfill.errors import SupersededPlan
from speech_backfill.ledger.records import Reserved
from speech_backfill.ledger.reservations import Reservations
from speech_backfill.ledger.resources import Resources
from speech_backfill.model import Shard
from speech_backfill.submit import NotYet, Submitted
from tests.speech_backfill.campaign import Campaign

NAMES = ["a.wav", "b.wav", "c.wav"]
"""One chunk of six seconds."""


def intended(campaign: Campaign, shard: Shard, *, at: str = "east") -> None:
    """A worker has committed its intents for the shard's chunks, and died an hour ago."""
    ledger = campaign.pipeline.ledger
    for one in campaign.pipeline.resources:
        Resources(ledger).register(one.name, window=one.window, region=one.region)
    for placement in ledger.shard_placements(shard):
        answer = Reservations(ledger).reserve(placement, owner="dead", lease_seconds=180, resources=[at])
        assert isinstance(answer, Reserved)
    campaign.clock.now += 3600


def test_it_is_not_sent_beyond_a_budget_that_another_run_has_set_since(campaign: Campaign) -> None:
    (shard,) = campaign.pipeline.shards(campaign.plan(NAMES).plan_id)
    intended(campaign, shard)
    second = campaign.plan(NAMES, run_key="second", budget_hours=0.0001)  # 360 ms

    (again,) = campaign.pipeline.shards(second.plan_id)
    assert campaign.pipeline.submit(again) == Submitted((), stopped=1)
    assert campaign.posts == 0


def test_it_is_not_sent_for_a_plan_that_was_superseded(campaign: Campaign) -> None:
    (shard,) = campaign.pipeline.shards(campaign.plan(NAMES).plan_id)
    intended(campaign, shard)
    campaign.plan(["x.wav"], run_key="second")

    with pytest.raises(SupersededPlan):
        campaign.pipeline.submit(shard)
    assert campaign.posts == 0


def test_it_goes_elsewhere_where_its_resource_takes_nothing_any_more(
    campaign_with: Callable[..., Campaign],
) -> None:
    campaign = campaign_with(resources={"east": 4, "west": 4}, max_shards=1)
    (shard,) = campaign.pipeline.shards(campaign.plan(NAMES).plan_id)
    intended(campaign, shard)
    campaign.services["east"].script("submit", httpx.ConnectError)

    assert isinstance(campaign.pipeline.submit(shard), Submitted)
    assert len(campaign.services["west"].jobs) == 1


def test_it_does_not_keep_the_window_shut_for_others(campaign_with: Callable[..., Campaign]) -> None:
    """Nobody comes back for an open plan's two intents, which are all that its only resource takes."""
    campaign = campaign_with(resources={"east": 2}, max_shards=1, files_per_transcription=1)
    (shard,) = campaign.pipeline.shards(campaign.plan(NAMES[:2]).plan_id)
    intended(campaign, shard)
    (other,) = campaign.pipeline.shards(campaign.plan(["o.wav"], partition="other").plan_id)

    assert isinstance(campaign.pipeline.submit(other), Submitted)
    assert isinstance(campaign.pipeline.submit(shard), NotYet)  # one place is the other's now
    campaign.submit(shard)
    assert campaign.posts == 3


def test_one_that_may_come_back_keeps_its_place_for_another_lease(
    campaign_with: Callable[..., Campaign],
) -> None:
    """Its lease is over, but its task may be on its way to be started again."""
    campaign = campaign_with(resources={"east": 1}, max_shards=1)
    (shard,) = campaign.pipeline.shards(campaign.plan(NAMES).plan_id)
    intended(campaign, shard)
    campaign.clock.now += -3600 + 181
    (other,) = campaign.pipeline.shards(campaign.plan(["o.wav"], partition="other").plan_id)

    assert isinstance(campaign.pipeline.submit(other), NotYet)
    campaign.clock.now += campaign.pipeline.settings.lease_seconds
    assert isinstance(campaign.pipeline.submit(other), Submitted)


def test_a_worker_that_leaves_in_doubt_leaves_no_lease_behind(campaign: Campaign) -> None:
    """Whoever comes next looks at once, when the list has had its time."""
    (shard,) = campaign.pipeline.shards(campaign.plan(NAMES).plan_id)
    campaign.service.script("submit", httpx.ReadTimeout)
    waits = campaign.pipeline.submit(shard)
    assert isinstance(waits, NotYet)
    for _ in range(20):
        campaign.service.script("list", httpx.ConnectError)
    campaign.clock.now = waits.until
    assert isinstance(campaign.pipeline.submit(shard), NotYet)
    campaign.service._before.clear()

    assert isinstance(campaign.pipeline.submit(shard), Submitted)
    assert len(campaign.service.jobs) == 1
