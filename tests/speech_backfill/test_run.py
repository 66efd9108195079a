"""A partition run in one process: it waits, goes on after an interruption, and says how far it is."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from speech_backfill.run import run_partition
from tests.speech_backfill.campaign import Bad, Campaign

NAMES = [f"call {n:02}.wav" for n in range(8)]


def _sleeper(campaign: Campaign, *, ends: bool = True) -> Callable[[float], None]:
    """Sleeping lets time pass, and one transcription at each resource end."""

    def sleep(seconds: float) -> None:
        campaign.clock.now += seconds
        for service in campaign.services.values():
            open_jobs = [one for one in service.jobs.values() if one.status == "NotStarted"]
            if open_jobs and ends:
                campaign.finish(open_jobs[0], service)

    return sleep


@pytest.mark.parametrize("window", [1, 2, 4])
@pytest.mark.parametrize("shards", [1, 3])
def test_any_window_and_any_number_of_shards_comes_to_an_end(
    campaign_with: Callable[..., Campaign], window: int, shards: int
) -> None:
    campaign = campaign_with(resources={"east": window}, max_shards=shards, files_per_transcription=2)
    lines: list[str] = []
    report = run_partition(
        campaign.pipeline, campaign.request(NAMES), tell=lines.append, sleep=_sleeper(campaign)
    )
    assert report is not None
    assert (report.transcribed, campaign.posts) == (8, 4)
    assert lines[-1] == f"{shards} of {shards} shards submitted, {shards} merged"
    assert len(set(lines)) == len(lines), "nothing is said twice in a row"


def test_a_repair_is_run_within_the_same_run(campaign: Campaign) -> None:
    tries: dict[str, int] = {}

    def says(one: str) -> object:
        tries[one] = tries.get(one, 0) + 1
        return Bad("Timeout") if tries[one] == 1 and one.endswith("3.wav") else "words"

    campaign.says = says
    lines: list[str] = []
    report = run_partition(
        campaign.pipeline, campaign.request(NAMES), tell=lines.append, sleep=_sleeper(campaign)
    )
    assert report is not None
    assert report.transcribed == 8
    assert any(one.startswith("repair 1: 1 of 1") for one in lines)


def test_what_never_ends_is_given_up_and_the_run_ends(campaign_with: Callable[..., Campaign]) -> None:
    campaign = campaign_with(resources={"east": 1}, deadline_hours=0.1, repair_rounds=0)
    report = run_partition(
        campaign.pipeline,
        campaign.request(NAMES),
        tell=lambda _: None,
        sleep=_sleeper(campaign, ends=False),
    )
    assert report is not None
    assert (report.missing, report.given_up) == (8, 3)


def test_a_run_comes_to_its_end_though_its_only_region_fails_everything(
    campaign_with: Callable[..., Campaign],
) -> None:
    campaign = campaign_with(resources={"east": 1}, max_shards=2, files_per_transcription=1)

    def sleep(seconds: float) -> None:
        campaign.clock.now += seconds
        for job in campaign.service.jobs.values():
            if job.status == "NotStarted":
                campaign.service.end(job.transcription_id, failed=("Internal", "no"))

    report = run_partition(campaign.pipeline, campaign.request(NAMES), tell=lambda _: None, sleep=sleep)
    assert report is not None
    assert (report.failed, campaign.posts) == (8, 16)  # each once more, in the repair


def test_a_run_waits_for_a_region_that_is_down_and_says_so(campaign_with: Callable[..., Campaign]) -> None:
    """One shard of three asks: the others would meet the same."""
    campaign = campaign_with(resources={"east": 4}, max_shards=3, files_per_transcription=2)
    for _ in range(5):
        campaign.service.script("submit", httpx.ConnectError)
    lines: list[str] = []
    turns: list[int] = []

    def sleep(seconds: float) -> None:
        turns.append(campaign.service.calls["submit"])
        _sleeper(campaign)(seconds)

    report = run_partition(campaign.pipeline, campaign.request(NAMES), tell=lines.append, sleep=sleep)
    assert report is not None
    assert (report.transcribed, campaign.posts) == (8, 5 + 4)
    assert turns[:5] == [1, 2, 3, 4, 5]
    said = [one for one in lines if "east was not reached" in one]
    assert said == [lines[1]]
    assert said[0].startswith("0 of 3 shards submitted, 0 merged (")


def test_an_interrupted_run_goes_on_where_it_was(campaign_with: Callable[..., Campaign]) -> None:
    campaign = campaign_with(resources={"east": 1})
    naps = 0

    def interrupted(seconds: float) -> None:
        nonlocal naps
        naps += 1
        if naps == 2:
            raise KeyboardInterrupt
        _sleeper(campaign)(seconds)

    with pytest.raises(KeyboardInterrupt):
        run_partition(campaign.pipeline, campaign.request(NAMES), tell=lambda _: None, sleep=interrupted)
    report = run_partition(
        campaign.pipeline, campaign.request(NAMES), tell=lambda _: None, sleep=_sleeper(campaign)
    )
    assert report is not None
    assert (report.transcribed, campaign.posts) == (8, 3)


def test_a_dry_run_ends_after_the_plan(campaign: Campaign) -> None:
    lines: list[str] = []
    request = campaign.request(NAMES, dry_run=True)
    assert run_partition(campaign.pipeline, request, tell=lines.append) is None
    assert len(lines) == 1
    assert campaign.posts == 0
