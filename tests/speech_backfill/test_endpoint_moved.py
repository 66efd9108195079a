"""A connection that is pointed at another endpoint while its transcriptions are under way: nothing is lost or paid twice."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from fakes.speech_service import FakeSpeechService
from speech_backfill.errors import EndpointMoved
from speech_backfill.speech.client import SpeechClient
from speech_backfill.speech.resource import SpeechResource
from speech_backfill.submit import NotYet, Submitted
from tests.speech_backfill.campaign import Campaign

NAMES = ["call 1.wav", "call 2.wav"]


def pointed_at(campaign: Campaign, service: FakeSpeechService, *, host: str | None = None) -> Campaign:
    """The same installation, its only connection entered with another endpoint that leads to *service*."""
    (before,) = campaign.pipeline.resources
    moved = replace(before, endpoint=f"https://{host or service.host}")

    def open_client(resource: SpeechResource) -> SpeechClient:
        return SpeechClient(
            resource,
            clock=campaign.clock,
            transport=service.transport(),
            blob_host=service.blob_host(),
            sleep=campaign.clock.sleep,
        )

    pipeline = replace(campaign.pipeline, resources=(moved,), open_client=open_client)
    return replace(campaign, pipeline=pipeline, services={before.name: service})


def another(campaign: Campaign) -> FakeSpeechService:
    return FakeSpeechService(name="east", host="another.example", clock=campaign.clock)


def lose_the_answer(campaign: Campaign) -> None:
    """The next submission is carried out, and neither its answer nor the list tells of it for a minute."""
    campaign.service.script_after("submit", httpx.ReadTimeout)
    campaign.service.list_lag_seconds = 60.0


def test_a_lost_answer_is_not_believed_to_be_no_answer_by_another_endpoint(campaign: Campaign) -> None:
    summary = campaign.plan(NAMES)
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    lose_the_answer(campaign)
    assert isinstance(campaign.pipeline.submit(shard), NotYet)
    moved = pointed_at(campaign, another(campaign))
    campaign.clock.now += 5000

    with pytest.raises(EndpointMoved, match=r"submitted to https://east\.example"):
        moved.pipeline.submit(shard)

    assert moved.posts == 0
    campaign.clock.now += 200  # the lease of the look-up that raised
    assert isinstance(campaign.pipeline.submit(shard), Submitted)
    assert campaign.posts == 1


def test_a_transcription_that_another_endpoint_does_not_know_is_not_given_up(campaign: Campaign) -> None:
    summary = campaign.plan(NAMES)
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    campaign.pipeline.submit(shard)
    campaign.end_all()
    moved = pointed_at(campaign, another(campaign))
    campaign.clock.now += 5000

    with pytest.raises(EndpointMoved, match="Point east back"):
        moved.pipeline.merge(shard)

    assert campaign.pipeline.merge(shard).transcribed == 2


def test_another_name_of_the_same_resource_goes_on_as_before(campaign: Campaign) -> None:
    """The regional host and the custom subdomain are two endpoints of one resource: what is found is found."""
    summary = campaign.plan(NAMES)
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    lose_the_answer(campaign)
    campaign.pipeline.submit(shard)
    campaign.clock.now += 5000
    renamed = pointed_at(campaign, campaign.service, host="custom.example")

    assert isinstance(renamed.pipeline.submit(shard), Submitted)

    renamed.end_all()
    assert renamed.pipeline.merge(shard).transcribed == 2
    assert renamed.posts == 1
