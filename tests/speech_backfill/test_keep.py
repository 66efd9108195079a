"""A shard that takes longer than results live: what ended early is kept before the service purges it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest

from fakes.speech_service import KEY, SIGNATURE, Job
from speech_backfill.collect import Collector
from speech_backfill.errors import EndpointMoved
from speech_backfill.model import Shard
from speech_backfill.submit import NotYet, Submitted
from tests.speech_backfill.campaign import ACCOUNT_KEY, Absent, Bad, Campaign, Spoilt, url

NAMES = [f"call {number:02}.wav" for number in range(9)]
HOUR = 3600.0


@pytest.fixture
def slow(campaign_with: Callable[..., Campaign]) -> Campaign:
    """Three chunks of three files, one after the other."""
    return campaign_with(resources={"east": 1}, max_shards=1)


def jobs(campaign: Campaign) -> list[Job]:
    return sorted(campaign.service.jobs.values(), key=lambda job: job.created_at)


def begun(campaign: Campaign) -> Shard:
    """The first chunk has ended, the second is under way, the third waits for room."""
    (shard,) = campaign.pipeline.shards(campaign.plan(NAMES).plan_id)
    assert isinstance(campaign.pipeline.submit(shard), NotYet)
    campaign.end_all()
    assert isinstance(campaign.pipeline.submit(shard), NotYet)
    return shard


def to_the_end(campaign: Campaign, shard: Shard) -> None:
    """Submit the rest; by its end the service has purged the first transcription."""
    first = jobs(campaign)[0].transcription_id
    campaign.end_all()
    assert isinstance(campaign.pipeline.submit(shard), Submitted)
    campaign.clock.now += campaign.pipeline.settings.time_to_live_hours * HOUR
    campaign.end_all()
    campaign.service.forget(first)


def kept(campaign: Campaign, folder: str = "raw/") -> int:
    return sum(1 for _ in campaign.store.list(folder))


def test_what_ended_long_before_its_shard_is_transcribed_though_the_service_has_purged_it(
    slow: Campaign,
) -> None:
    shard = begun(slow)
    slow.clock.now += 44 * HOUR
    assert isinstance(slow.pipeline.submit(shard), NotYet)
    to_the_end(slow, shard)

    merged = slow.pipeline.merge(shard)

    assert (merged.transcribed, slow.posts) == (9, 3)
    slow.pipeline.publish(shard.plan_id)
    assert slow.texts() == {name: f"words of {name}" for name in NAMES}
    assert kept(slow) == 3
    assert kept(slow, "kept/") == 0


def test_young_results_are_left_to_the_merge_and_old_ones_are_fetched_once(slow: Campaign) -> None:
    shard = begun(slow)
    for hours, fetches in ((40, 0), (3, 4), (1, 4)):  # three results and the report
        slow.clock.now += hours * HOUR
        slow.pipeline.submit(shard)
        assert slow.service.calls["fetch"] == fetches
    assert kept(slow) == 1


def test_the_last_turn_keeps_what_would_be_too_old_when_the_shard_should_be_done(
    campaign_with: Callable[..., Campaign],
) -> None:
    """Each transcription has 45 hours of audio, for which a region is given 18."""
    slow = campaign_with(resources={"east": 2}, files_per_transcription=1, max_shards=1)
    (shard,) = slow.pipeline.shards(slow.plan(hours_of_audio(45, "a", "b", "c")).plan_id)
    assert isinstance(slow.pipeline.submit(shard), NotYet)
    slow.clock.now += 9 * HOUR
    slow.finish(jobs(slow)[0], slow.service)
    slow.clock.now += 10 * HOUR
    assert kept(slow) == 0

    assert isinstance(slow.pipeline.submit(shard), Submitted)

    assert kept(slow) == 1, "the last one is given 36 hours, and a quarter of the time to live is 42"


def hours_of_audio(hours: int, *names: str) -> list[list[str]]:
    return [[url(one), "e1", "32000", str(hours * 3_600_000), ""] for one in names]


def test_a_shard_that_is_all_submitted_has_turns_until_what_ends_lives_until_its_merge(
    campaign_with: Callable[..., Campaign],
) -> None:
    slow = campaign_with(resources={"east": 4}, files_per_transcription=1, max_shards=1)
    (shard,) = slow.pipeline.shards(slow.plan(hours_of_audio(120, *"abcd")).plan_id)
    start, hours = slow.clock.now, 60  # half the assumed speed
    turns = 0
    while not isinstance(answer := slow.pipeline.submit(shard), Submitted):
        turns += 1
        assert len(answer.waiting_for) == answer.ends
        assert "all is submitted" in answer.reason
        slow.clock.now = answer.until
        worked(slow, start, hours)
    assert 3 <= turns <= 5
    assert kept(slow) >= 1
    slow.clock.now = start + 4 * hours * HOUR
    worked(slow, start, hours)

    assert slow.pipeline.merge(shard).transcribed == 4
    assert slow.posts == 4


def worked(campaign: Campaign, start: float, hours: int) -> None:
    """The region has needed so many hours for each, and the service has purged what ended a time to live ago."""
    for number, job in enumerate(jobs(campaign), 1):
        ends = start + number * hours * HOUR
        if ends <= campaign.clock.now and job.status == "NotStarted":
            campaign.finish(job, campaign.service)
            job.last_action_at = ends
        if ends + campaign.pipeline.settings.time_to_live_hours * HOUR <= campaign.clock.now:
            campaign.service.forget(job.transcription_id)


def test_where_the_deadline_outlasts_results_all_that_has_ended_is_kept_at_the_last_turn(
    campaign_with: Callable[..., Campaign],
) -> None:
    slow = campaign_with(
        resources={"east": 2}, files_per_transcription=1, max_shards=1, time_to_live_hours=48
    )
    (shard,) = slow.pipeline.shards(slow.plan(hours_of_audio(12, "a", "b")).plan_id)
    start = slow.clock.now
    while not isinstance(answer := slow.pipeline.submit(shard), Submitted):
        assert answer.until > slow.clock.now
        slow.clock.now += HOUR
        slow.finish(jobs(slow)[0], slow.service)
    assert kept(slow) == 1
    slow.clock.now = start + 60 * HOUR
    slow.service.forget(jobs(slow)[0].transcription_id)

    merged = slow.pipeline.merge(shard)

    assert (merged.transcribed, merged.missing) == (1, 1), "the other one was given up"


def test_a_moved_endpoint_ends_the_turns_for_the_merge_tells_a_person(
    campaign_with: Callable[..., Campaign],
) -> None:
    slow = campaign_with(resources={"east": 4}, files_per_transcription=1, max_shards=1)
    (shard,) = slow.pipeline.shards(slow.plan(hours_of_audio(120, *"abcd")).plan_id)
    assert isinstance(slow.pipeline.submit(shard), NotYet)
    (resource,) = slow.pipeline.resources
    for job in jobs(slow):
        slow.service.forget(job.transcription_id)
    elsewhere = replace(resource, endpoint="https://another.example")
    moved = replace(slow, pipeline=replace(slow.pipeline, resources=(elsewhere,)))
    moved.clock.now += HOUR
    assert isinstance(moved.pipeline.submit(shard), Submitted)
    with pytest.raises(EndpointMoved):
        moved.pipeline.merge(shard)


def test_all_that_ends_early_ends_the_turns(campaign_with: Callable[..., Campaign]) -> None:
    slow = campaign_with(resources={"east": 4}, files_per_transcription=1, max_shards=1)
    (shard,) = slow.pipeline.shards(slow.plan(hours_of_audio(120, *"abcd")).plan_id)
    assert isinstance(slow.pipeline.submit(shard), NotYet)
    slow.clock.now += HOUR
    slow.end_all()
    assert isinstance(slow.pipeline.submit(shard), Submitted)


def test_the_reasons_of_its_report_outlive_the_purge_and_what_was_not_read_is_not_paid_again(
    slow: Campaign,
) -> None:
    answers = {"00.wav": Bad("Transient"), "01.wav": Spoilt(), "02.wav": Absent()}
    slow.says = lambda one: answers.get(one[-6:], "words")
    shard = begun(slow)
    slow.clock.now += 44 * HOUR
    slow.pipeline.submit(shard)
    to_the_end(slow, shard)

    merged = slow.pipeline.merge(shard)

    assert (merged.transcribed, merged.failed, merged.missing, merged.can_retry) == (6, 1, 2, 1)
    slow.pipeline.publish(shard.plan_id)
    rows = slow.rows()
    assert [rows[name]["error_code"] for name in NAMES[:3]] == ["Transient", "ResultsPurged", "ResultsPurged"]


def test_one_that_failed_as_a_whole_says_so_after_the_purge(slow: Campaign) -> None:
    (shard,) = slow.pipeline.shards(slow.plan(NAMES).plan_id)
    slow.pipeline.submit(shard)
    slow.service.end(jobs(slow)[0].transcription_id, failed=("Timeout", "too slow for sig=secret"))
    slow.pipeline.submit(shard)
    slow.clock.now += 44 * HOUR
    slow.pipeline.submit(shard)
    to_the_end(slow, shard)

    merged = slow.pipeline.merge(shard)

    assert (merged.transcribed, merged.failed, merged.can_retry) == (6, 3, 3)
    assert b"sig=secret" not in b"".join(slow.everything_written().values())


@pytest.mark.parametrize("operation", ["get", "files", "fetch"])
def test_a_failure_to_keep_them_fails_no_submission_and_is_made_good_at_the_next_turn(
    slow: Campaign, operation: str
) -> None:
    shard = begun(slow)
    slow.clock.now += 44 * HOUR
    for _ in range(20):
        slow.service.script(operation, httpx.Response(503))
    assert isinstance(slow.pipeline.submit(shard), NotYet)
    assert kept(slow) == 0
    slow.service._before.clear()
    assert isinstance(slow.pipeline.submit(shard), NotYet)
    assert kept(slow) == 1


def test_neither_does_a_fault_of_ours(slow: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = begun(slow)
    slow.clock.now += 44 * HOUR

    async def broken(_: Collector) -> None:
        raise ValueError

    monkeypatch.setattr(Collector, "listing", broken)
    assert isinstance(slow.pipeline.submit(shard), NotYet)
    assert kept(slow) == 0


def test_it_takes_no_longer_than_a_turn_may(slow: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = begun(slow)
    slow.clock.now += 44 * HOUR

    async def hang(_: Collector) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Collector, "listing", hang)
    monkeypatch.setattr("speech_backfill.keep._SECONDS", 0.05)
    assert isinstance(slow.pipeline.submit(shard), NotYet)
    assert kept(slow) == 0


def test_one_that_is_purged_already_is_not_asked_for(slow: Campaign) -> None:
    shard = begun(slow)
    slow.clock.now += 200 * HOUR
    slow.service.forget(jobs(slow)[0].transcription_id)
    slow.end_all()
    gets = slow.service.calls["get"]
    assert isinstance(slow.pipeline.submit(shard), Submitted)
    assert slow.service.calls["get"] == gets


def test_where_raw_results_are_not_wanted_they_are_kept_only_until_the_partition_is_published(
    slow: Campaign,
) -> None:
    campaign = slow.with_settings(keep_raw_results=False)
    shard = begun(campaign)
    campaign.clock.now += 44 * HOUR
    campaign.pipeline.submit(shard)
    assert kept(campaign) == 1
    to_the_end(campaign, shard)
    assert campaign.pipeline.merge(shard).transcribed == 9
    campaign.pipeline.publish(shard.plan_id)
    assert (kept(campaign), kept(campaign, "kept/")) == (0, 0)
    assert not [row for row in campaign.rows().values() if isinstance(row["result_object"], str)]


def test_what_is_kept_carries_no_secret(slow: Campaign) -> None:
    slow.says = lambda one: (
        Bad(message=f"could not get {one}?sig=a-leaked-signature") if one.endswith("00.wav") else "words"
    )
    shard = begun(slow)
    slow.clock.now += 44 * HOUR
    slow.pipeline.submit(shard)
    assert kept(slow, "kept/") == 1
    written = b"".join([*slow.everything_written().values(), slow.raw()])
    for secret in ("sig=", "a-leaked-signature", ACCOUNT_KEY, KEY, SIGNATURE):
        assert secret.encode() not in written
