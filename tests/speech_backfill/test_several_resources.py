"""Several resources, one of them in trouble: what can go on elsewhere goes on, what may stand there waits for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate

import httpx
import pytest

from speech_backfill.errors import ClockWrong, NothingTaken, SettingsError
from speech_backfill.ledger.line import Line
from speech_backfill.ledger.records import Placement, TranscriptionRecord
from speech_backfill.ledger.resources import ASIDE_SECONDS
from speech_backfill.model import Shard
from speech_backfill.post import Poster
from speech_backfill.speech.errors import NotFound, RequestRefused, Unauthorized
from speech_backfill.submit import NotYet, Submitted
from tests.speech_backfill.campaign import Bad, Campaign

NAMES = [f"call {n:02}.wav" for n in range(12)]
"""Four chunks of three."""


def planned(campaign: Campaign) -> Shard:
    (shard,) = campaign.pipeline.shards(campaign.plan(NAMES).plan_id)
    return shard


@pytest.fixture
def two(campaign_with: Callable[..., Campaign]) -> Campaign:
    return campaign_with(resources={"east": 8, "west": 8}, max_shards=1)


def jobs(campaign: Campaign) -> dict[str, int]:
    return {name: len(service.jobs) for name, service in campaign.services.items()}


@pytest.mark.parametrize(
    "answer", [httpx.ConnectError, httpx.Response(401), httpx.Response(404), httpx.Response(429)]
)
def test_what_one_certainly_does_not_take_goes_to_the_other(two: Campaign, answer: object) -> None:
    shard = planned(two)
    two.services["east"].script("submit", answer)  # type: ignore[arg-type]

    assert isinstance(two.pipeline.submit(shard), Submitted)

    assert jobs(two) == {"east": 0, "west": 4}
    assert two.services["east"].calls["submit"] == 1


def test_a_resource_in_trouble_is_tried_again_later(two: Campaign) -> None:
    shard = planned(two)
    two.services["east"].script("submit", httpx.ConnectError)
    two.pipeline.submit(shard)
    two.clock.now += 3600
    later = two.plan([f"later {n}.wav" for n in range(6)], partition="later")

    for one in two.pipeline.shards(later.plan_id):
        assert isinstance(two.pipeline.submit(one), Submitted)

    assert jobs(two)["east"] > 0


def test_a_chunk_whose_answer_was_lost_waits_for_its_resource_while_the_others_go_on(two: Campaign) -> None:
    """East accepts one, says nothing, and is gone: that chunk is not submitted elsewhere, the other three are."""
    shard = planned(two)
    east = two.services["east"]

    def accepted_and_gone(request: httpx.Request) -> httpx.Response:
        for _ in range(40):
            east.script("list", httpx.ConnectError)
            east.script("submit", httpx.ConnectError)
        raise httpx.ReadTimeout("gone", request=request)

    east.script_after("submit", accepted_and_gone)

    answer = two.pipeline.submit(shard)

    assert isinstance(answer, NotYet)
    assert not answer.no_room
    assert jobs(two) == {"east": 1, "west": 3}
    two.clock.now = max(two.clock.now, answer.until)
    assert isinstance(two.pipeline.submit(shard), NotYet)
    assert jobs(two) == {"east": 1, "west": 3}
    east._before.clear()
    two.clock.now += 4000
    assert isinstance(two.pipeline.submit(shard), Submitted)
    assert jobs(two) == {"east": 1, "west": 3}


@pytest.mark.parametrize("answer", [httpx.ConnectError, httpx.Response(503)])
def test_with_every_resource_out_of_reach_the_task_waits_until_the_first_is_tried_again(
    two: Campaign, answer: object
) -> None:
    shard = planned(two)
    for service in two.services.values():
        service.script("submit", answer)  # type: ignore[arg-type]
        service.script("list", *[answer] * 20)  # type: ignore[arg-type]

    waits = two.pipeline.submit(shard)

    assert isinstance(waits, NotYet)
    assert 0 < waits.until - two.clock.now <= ASIDE_SECONDS
    for service in two.services.values():
        service._before.clear()
    two.clock.now += 600
    assert isinstance(two.pipeline.submit(shard), Submitted)
    assert sum(jobs(two).values()) == 4


def test_the_wait_names_every_resource_and_what_is_wrong_with_it(two: Campaign) -> None:
    shard = planned(two)
    for service in two.services.values():
        service.script("submit", httpx.ConnectError)
    waits = two.pipeline.submit(shard)
    assert isinstance(waits, NotYet)
    assert "east was not reached" in waits.reason
    assert "west was not reached" in waits.reason


def test_with_no_resource_left_that_a_person_need_not_mend_the_task_fails_and_says_why(two: Campaign) -> None:
    shard = planned(two)
    two.services["east"].script("submit", httpx.Response(401))
    two.services["west"].script("submit", httpx.Response(404))
    with pytest.raises((Unauthorized, NotFound)):
        two.pipeline.submit(shard)
    assert isinstance(two.pipeline.submit(shard), Submitted)


def waited(campaign: Campaign, shard: Shard) -> float:
    """Hours until it fails, coming back whenever it says."""
    began, said = campaign.clock.now, ""
    for _ in range(1000):
        try:
            answer = campaign.pipeline.submit(shard)
        except NothingTaken as error:
            said = str(error)
            break
        assert isinstance(answer, NotYet)
        campaign.clock.now = max(campaign.clock.now, answer.until)
    assert "west was not reached" in said
    return (campaign.clock.now - began) / 3600


def test_a_wait_for_resources_ends_when_the_deadline_of_transcriptions_has_passed(two: Campaign) -> None:
    shard = planned(two)
    for service in two.services.values():
        service.script("submit", *[httpx.ConnectError] * 2000)
    assert 48 <= waited(two, shard) < 50
    with pytest.raises(NothingTaken):
        two.pipeline.submit(shard)
    for service in two.services.values():
        service._before.clear()
    assert isinstance(two.pipeline.submit(shard), Submitted)


def test_a_chunk_in_doubt_waits_as_long_for_the_one_resource_that_may_have_it(
    campaign_with: Callable[..., Campaign],
) -> None:
    """The west has taken it or not, and is gone; that the east works is of no use to it."""
    campaign = campaign_with(resources={"west": 8, "east": 8}, max_shards=1)
    shard = planned(campaign)
    west = campaign.services["west"]

    def gone(request: httpx.Request) -> httpx.Response:
        west.script("list", *[httpx.ConnectError] * 5000)
        west.script("submit", *[httpx.ConnectError] * 5000)
        raise httpx.ReadTimeout("gone", request=request)

    west.script_after("submit", gone)
    assert 48 <= waited(campaign, shard) < 50
    assert jobs(campaign) == {"west": 1, "east": 3}


def test_a_mended_connection_is_used_at_once_where_it_is_the_only_one(campaign: Campaign) -> None:
    shard = campaign.pipeline.shards(campaign.plan(NAMES[:3]).plan_id)[0]
    campaign.service.script("submit", httpx.Response(401))
    with pytest.raises(Unauthorized):
        campaign.pipeline.submit(shard)
    assert isinstance(campaign.pipeline.submit(shard), Submitted)


def test_a_request_that_is_refused_for_what_it_asks_is_not_carried_elsewhere(two: Campaign) -> None:
    shard = planned(two)
    two.services["east"].script(
        "submit", httpx.Response(400, json={"code": "InvalidRequest", "message": "no"})
    )
    with pytest.raises(RequestRefused):
        two.pipeline.submit(shard)
    assert two.services["west"].calls["submit"] == 0


def test_throttling_everywhere_is_waited_for_and_fails_nothing(two: Campaign) -> None:
    shard = planned(two)
    for service in two.services.values():
        service.script("submit", httpx.Response(429, headers={"Retry-After": "7"}))
    answer = two.pipeline.submit(shard)
    assert isinstance(answer, NotYet)
    assert answer.until - two.clock.now <= 7


# --- residency ------------------------------------------------------------------------------------


def tagged(campaign: Campaign, **residencies: str) -> Campaign:
    resources = tuple(
        replace(one, residency=residencies.get(one.name, "")) for one in campaign.pipeline.resources
    )
    return replace(campaign, pipeline=replace(campaign.pipeline, resources=resources))


def test_a_column_says_where_a_file_may_go(two: Campaign) -> None:
    campaign = tagged(two, west="eu")
    rows = ["uri,etag,size_bytes,duration_ms,residency"]
    for number, where in enumerate(["eu", "", "eu", "", "eu", ""]):
        rows.append(f"https://acct.blob.core.windows.net/audio/{number}.wav,e1,32000,2000,{where}")
    path = campaign.folder / "where.csv"
    path.write_text("\n".join(rows) + "\n")
    summary = campaign.plan(source=str(path))
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    campaign.submit(shard)
    eu = campaign.services["west"].jobs.values()
    assert any(all(f"/{n}.wav" in "".join(job.body["contentUrls"]) for n in (0, 2, 4)) for job in eu)
    assert not any(
        "/0.wav" in "".join(job.body["contentUrls"]) for job in campaign.services["east"].jobs.values()
    )


def test_a_residency_that_nobody_has_stops_the_plan(two: Campaign) -> None:
    with pytest.raises(SettingsError, match="no Speech resource has"):
        two.plan(NAMES, residency="moon")


def test_a_repair_keeps_the_residency_of_its_files(two: Campaign) -> None:
    campaign = tagged(two, west="eu")
    said: dict[str, int] = {}

    def says(url: str) -> object:
        said[url] = said.get(url, 0) + 1
        return Bad("Internal") if url.endswith("00.wav") and said[url] < 3 else "words"

    campaign.says = says
    report = campaign.run(NAMES[:3], residency="eu", repairs=1)
    assert report.can_retry == 1
    again = campaign.run(None, only_failed=True, run_key="repair")
    assert again.transcribed == 3
    assert (campaign.services["east"].calls["submit"], campaign.services["west"].calls["submit"]) == (0, 3)


# --- the line -------------------------------------------------------------------------------------


def test_who_finds_no_room_waits_for_half_a_window_and_the_next_for_more(
    campaign_with: Callable[..., Campaign],
) -> None:
    """A window of four, three shards of four chunks: the second waits for two ends, the third for those four and two more."""
    campaign = campaign_with(resources={"east": 4}, files_per_transcription=1, max_shards=3)
    first, second, third = campaign.pipeline.shards(campaign.plan(NAMES).plan_id)
    assert isinstance(campaign.pipeline.submit(first), Submitted)
    waits = campaign.pipeline.submit(second)
    assert isinstance(waits, NotYet)
    assert (waits.no_room, waits.ends, len(waits.waiting_for)) == (True, 2, 4)
    behind = campaign.pipeline.submit(third)
    assert isinstance(behind, NotYet)
    assert behind.no_room
    assert (
        behind.waiting_for == ()
    )  # four stand before it, which is all that can end now: it waits for a time
    assert behind.until > campaign.clock.now

    for job in list(campaign.service.jobs.values())[:2]:
        campaign.finish(job, campaign.service)
    waits = campaign.pipeline.submit(second)
    assert isinstance(waits, NotYet)
    assert campaign.posts == 6
    behind = campaign.pipeline.submit(third)
    assert isinstance(behind, NotYet)
    assert (behind.ends, len(behind.waiting_for)) == (4, 4)  # two before it, two of its own


def test_a_shard_that_is_submitted_leaves_the_line(campaign_with: Callable[..., Campaign]) -> None:
    campaign = campaign_with(resources={"east": 2}, files_per_transcription=3, max_shards=2)
    first, second = campaign.pipeline.shards(campaign.plan(NAMES).plan_id)
    campaign.pipeline.submit(first)
    assert isinstance(campaign.pipeline.submit(second), NotYet)
    campaign.end_all()
    assert isinstance(campaign.pipeline.submit(second), Submitted)
    other = campaign.plan(["x.wav"], partition="other")
    answer = campaign.pipeline.submit(campaign.pipeline.shards(other.plan_id)[0])
    assert isinstance(answer, NotYet)
    assert answer.ends == 1


# --- clocks ---------------------------------------------------------------------------------------


def test_a_worker_whose_clock_is_wrong_submits_nothing_more(two: Campaign) -> None:
    """Its look-ups would miss what it has submitted: three days ahead of the service is more than is allowed."""
    shard = planned(two)
    late = formatdate(two.clock.now - 3 * 86_400, usegmt=True)
    for service in two.services.values():
        service.headers["date"] = late
    with pytest.raises(ClockWrong, match="ahead of"):
        two.pipeline.submit(shard)
    assert set(jobs(two).values()) == {1}  # the first answer of each tells


def test_a_worker_killed_on_its_way_to_the_second_leaves_no_trace_of_the_first(
    two: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its intent names the second alone: a look-up must not ask for it at the endpoint of the first."""
    shard = planned(two)
    two.services["east"].script("submit", httpx.Response(429))

    class Killed(BaseException):
        pass

    content_urls, asked = Poster._content_urls, []

    def killed_at_the_second(self: Poster, placement: Placement, record: TranscriptionRecord) -> object:
        asked.append(placement)
        if len(asked) == 2:
            raise Killed
        return content_urls(self, placement, record)

    with monkeypatch.context() as patched:
        patched.setattr(Poster, "_content_urls", killed_at_the_second)
        with pytest.raises(Killed):
            two.pipeline.submit(shard)
    two.clock.now += 3600

    assert isinstance(two.pipeline.submit(shard), Submitted)
    assert sum(jobs(two).values()) == 4


def test_a_shard_that_waits_for_something_else_stands_in_nobodys_way(two: Campaign) -> None:
    """It gives its place in line up as soon as it needs no room."""
    shard = planned(two)
    line = Line(two.pipeline.ledger)
    line.stand(shard, chunks=4, pause=lambda _: 3600)
    two.services["east"].script_after("submit", httpx.ReadTimeout)
    two.services["east"].list_lag_seconds = 60.0

    assert isinstance(two.pipeline.submit(shard), NotYet)

    other = replace(shard, index=shard.index + 1)
    assert line.stand(other, chunks=1, pause=lambda _: 1)[0] == 0
