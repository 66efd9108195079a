"""Second transcriptions that nobody met while submitting are found before the report, and deleted after."""

from __future__ import annotations

import httpx
import pytest

from fakes.speech_service import Job
from tests.speech_backfill.campaign import Campaign

NAMES = [f"call {n:02}.wav" for n in range(3)]


def second(campaign: Campaign, at: str = "east") -> tuple[str, Job]:
    """A plan that is merged, and a second transcription of its chunk that a worker sent after a long sleep."""
    summary = campaign.plan(NAMES)
    campaign.round(summary.plan_id)
    (job,) = campaign.services["east"].jobs.values()
    campaign.clock.now += 300
    late = campaign.services[at].add(job.display_name)
    campaign.services[at].jobs[late].body = job.body
    return summary.plan_id, campaign.services[at].jobs[late]


def test_it_is_counted_with_its_cost_kept_out_and_deleted(campaign: Campaign) -> None:
    plan_id, late = second(campaign)
    campaign.finish(late, campaign.service)
    report = campaign.pipeline.publish(plan_id)
    assert report.duplicates == 1
    assert report.duplicate_audio_hours == pytest.approx(6 / 3600)
    assert len(campaign.texts()) == 3
    assert late.transcription_id not in {one["transcription_id"] for one in campaign.rows().values()}
    assert campaign.service.jobs == {}


def test_one_that_has_not_ended_is_deleted_by_a_later_publication(campaign: Campaign) -> None:
    plan_id, late = second(campaign)
    assert campaign.pipeline.publish(plan_id).duplicates == 1
    assert list(campaign.service.jobs) == [late.transcription_id]
    campaign.finish(late, campaign.service)
    campaign.run(["another.wav"], partition="tomorrow")
    assert campaign.service.jobs == {}
    deletes = campaign.service.calls["delete"]
    campaign.run(["a third.wav"], partition="after")
    assert campaign.service.calls["delete"] == deletes + 1  # its own, and nothing that is gone already


def test_one_at_another_resource_is_found_too(campaign_with: object) -> None:
    campaign = campaign_with(resources={"east": 4, "west": 4})  # type: ignore[operator]
    plan_id, _ = second(campaign, at="west")
    assert campaign.pipeline.publish(plan_id).duplicates == 1


def test_the_look_costs_one_list_for_each_resource(campaign: Campaign) -> None:
    summary = campaign.plan(NAMES)
    campaign.round(summary.plan_id)
    before = campaign.service.calls["list"]
    campaign.pipeline.publish(summary.plan_id)
    assert campaign.service.calls["list"] == before + 1
    campaign.pipeline.publish(summary.plan_id)
    assert campaign.service.calls["list"] == before + 1


@pytest.mark.parametrize(
    "answer", [httpx.ConnectError, httpx.Response(401), httpx.Response(200, text="<html>")]
)
def test_a_look_that_fails_does_not_fail_the_run(campaign: Campaign, answer: object) -> None:
    plan_id, _ = second(campaign)
    campaign.service.script("list", *[answer] * 30)  # type: ignore[list-item]
    report = campaign.pipeline.publish(plan_id)
    assert (report.transcribed, report.duplicates) == (3, 0)


def test_what_others_submitted_is_no_duplicate(campaign: Campaign) -> None:
    campaign.service.add()
    report = campaign.run(NAMES)
    assert report.duplicates == 0
    assert len(campaign.service.jobs) == 1
