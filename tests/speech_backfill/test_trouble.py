"""What trouble of one resource costs the others: nothing, as far as their chunks may go elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest
import sqlalchemy as sa

from speech_backfill.ledger.line import Line
from speech_backfill.ledger.reservations import Reservations
from speech_backfill.ledger.resources import Resources
from speech_backfill.marks import leave_mark
from speech_backfill.model import Shard
from speech_backfill.room import Room
from speech_backfill.speech.errors import RequestRefused, Unauthorized
from speech_backfill.submit import NotYet, Submitted
from tests.speech_backfill.campaign import Campaign

NAMES = [f"call {n:02}.wav" for n in range(12)]
"""Four chunks of three."""

F0 = httpx.Response(
    400,
    json={
        "code": "InvalidRequest",
        "message": "Only Standard",
        "innerError": {"code": "InvalidSubscription", "message": "Only Standard"},
    },
)


def planned(campaign: Campaign, names: list[str] = NAMES, **changes: object) -> Shard:
    (shard,) = campaign.pipeline.shards(campaign.plan(names, **changes).plan_id)
    return shard


@pytest.fixture
def two(campaign_with: Callable[..., Campaign]) -> Campaign:
    return campaign_with(resources={"east": 8, "west": 8}, max_shards=1)


def tagged(campaign: Campaign, **residencies: str) -> Campaign:
    resources = tuple(
        replace(one, residency=residencies.get(one.name, "")) for one in campaign.pipeline.resources
    )
    return replace(campaign, pipeline=replace(campaign.pipeline, resources=resources))


def always(campaign: Campaign, resource: str, operation: str, answer: object) -> None:
    for _ in range(500):
        campaign.services[resource].script(operation, answer)  # type: ignore[arg-type]


def troubles(campaign: Campaign, resource: str) -> int:
    with campaign.pipeline.ledger.engine.connect() as connection:
        query = sa.text("SELECT troubles FROM resources WHERE resource = :one")
        return int(connection.execute(query, {"one": resource}).scalar_one())


def test_a_region_that_takes_no_submissions_is_left_alone_though_it_can_be_listed(two: Campaign) -> None:
    shard = planned(two)
    always(two, "east", "submit", httpx.Response(503))
    for _ in range(6):
        answer = two.pipeline.submit(shard)
        if isinstance(answer, Submitted):
            break
        two.clock.now = max(two.clock.now, answer.until)
    assert isinstance(answer, Submitted)
    assert (len(two.services["east"].jobs), len(two.services["west"].jobs)) == (0, 4)
    assert two.services["east"].calls["submit"] <= 2
    assert troubles(two, "east") >= 1


def test_an_answer_lost_once_is_forgotten_with_the_next_that_comes(two: Campaign) -> None:
    two.services["east"].script_after("submit", httpx.ReadTimeout)
    assert isinstance(two.pipeline.submit(planned(two)), Submitted)
    two.clock.now += 3600
    two.submit(planned(two, [f"later {n}.wav" for n in range(12)], partition="later"))
    assert troubles(two, "east") == 0


def test_a_tier_that_has_no_batch_transcription_stops_nothing_elsewhere(two: Campaign) -> None:
    always(two, "east", "submit", F0)
    assert isinstance(two.pipeline.submit(planned(two)), Submitted)
    assert len(two.services["west"].jobs) == 4


def test_such_a_tier_everywhere_is_said_for_good(two: Campaign) -> None:
    always(two, "east", "submit", F0)
    always(two, "west", "submit", F0)
    with pytest.raises(RequestRefused, match="Standard"):
        two.pipeline.submit(planned(two))


def test_what_passes_by_itself_is_waited_for_whatever_else_a_person_must_mend(two: Campaign) -> None:
    """West may be back in a minute, whatever the key of east."""
    shard = planned(two)
    always(two, "east", "submit", httpx.Response(401))
    two.services["west"].script("submit", httpx.ConnectError)
    waits = two.pipeline.submit(shard)
    assert isinstance(waits, NotYet)
    two.clock.now = waits.until
    assert isinstance(two.pipeline.submit(shard), Submitted)
    assert len(two.services["west"].jobs) == 4


def test_files_whose_only_allowed_resource_is_shut_to_us_fail_the_task(two: Campaign) -> None:
    campaign = tagged(two, west="eu", east="us")
    always(campaign, "west", "submit", httpx.Response(401))
    with pytest.raises(Unauthorized):
        campaign.pipeline.submit(planned(campaign, NAMES[:3], residency="eu"))


def test_a_repair_goes_back_to_the_resource_in_trouble_where_every_other_is_shut(two: Campaign) -> None:
    shard = planned(two, NAMES[:3])
    with two.pipeline.ledger.engine.begin() as connection:
        connection.execute(sa.text("UPDATE placements SET away_from = 'east'"))
    always(two, "west", "submit", httpx.Response(401))
    assert isinstance(two.pipeline.submit(shard), Submitted)
    assert len(two.services["east"].jobs) == 1


def test_one_that_throttles_after_other_trouble_is_left_alone_as_well(campaign: Campaign) -> None:
    shard = planned(campaign, NAMES[:3])
    Resources(campaign.pipeline.ledger).register("east", window=4, region="")
    Resources(campaign.pipeline.ledger).set_aside("east", "trouble")
    campaign.clock.now += 3600
    campaign.service.script("submit", httpx.Response(429, headers={"Retry-After": "900"}))

    answer = campaign.pipeline.submit(shard)

    assert isinstance(answer, NotYet)
    assert campaign.service.calls["submit"] == 1
    assert answer.until - campaign.clock.now == pytest.approx(900, abs=60)


def test_what_another_ledger_marked_waits_for_the_resource_that_can_not_be_asked(two: Campaign) -> None:
    """West is down, and may have it: east is not blamed, and nothing is submitted."""
    shard = planned(two, NAMES[:3])
    (placement,) = two.pipeline.ledger.shard_placements(shard)
    other = two.clone(two.folder.parent / "other")
    other.pipeline.submit(shard)
    record = other.submissions.of(placement)
    assert record is not None
    leave_mark(two.store, replace(record, intent_at=record.intent_at - 1), now=two.clock.now)
    for service in two.services.values():
        service.jobs.clear()
    always(two, "west", "list", httpx.ConnectError)
    before = two.posts

    assert isinstance(two.pipeline.submit(shard), NotYet)

    assert two.posts == before
    assert (troubles(two, "east"), troubles(two, "west")) == (0, 1)


def test_a_region_that_fails_what_it_takes_gets_little_more_of_it(
    campaign_with: Callable[..., Campaign],
) -> None:
    """The east takes everything and fails it within a minute; the west needs ten for each."""
    campaign = campaign_with(resources={"east": 4, "west": 4}, files_per_transcription=3, max_shards=1)
    shard = planned(campaign, [f"call {n:03}.wav" for n in range(120)])
    east, west = campaign.services["east"], campaign.services["west"]
    for minute in range(1000):
        if isinstance(campaign.pipeline.submit(shard), Submitted):
            break
        campaign.clock.now += 60
        for job in [one for one in east.jobs.values() if one.status == "NotStarted"]:
            east.end(job.transcription_id, failed=("InvalidData", "the recordings could not be read"))
        open_jobs = [one for one in west.jobs.values() if one.status == "NotStarted"]
        if minute % 10 == 9 and open_jobs:
            campaign.finish(open_jobs[0], west)
    assert len(east.jobs) + len(west.jobs) == 40
    assert len(east.jobs) <= 4 + 6 + minute // 30 + 1  # a window, six tries ever later, then two an hour
    assert len(west.jobs) >= 15


def test_files_that_fail_alone_by_their_own_fault_blame_no_region(
    campaign_with: Callable[..., Campaign],
) -> None:
    campaign = campaign_with(resources={"east": 8, "west": 8}, files_per_transcription=1, max_shards=1)
    shard = planned(campaign)
    campaign.pipeline.submit(shard)
    for service in campaign.services.values():
        for job in service.jobs.values():
            service.end(job.transcription_id, failed=("InvalidData", "it can't be decoded"))
    campaign.pipeline.merge(shard)
    assert (troubles(campaign, "east"), troubles(campaign, "west")) == (0, 0)


# --- looking for room -----------------------------------------------------------------------------


def test_a_dead_region_is_asked_for_room_once_and_then_left_alone(
    campaign_with: Callable[..., Campaign],
) -> None:
    campaign = campaign_with(resources={"east": 1, "west": 1}, files_per_transcription=3, max_shards=1)
    first = planned(campaign, NAMES[:6], partition="first")
    assert isinstance(campaign.pipeline.submit(first), Submitted)
    always(campaign, "east", "list", httpx.ConnectError)
    second = planned(campaign, [f"more {n}.wav" for n in range(6)], partition="second")
    assert isinstance(campaign.pipeline.submit(second), NotYet)
    asked = campaign.services["east"].calls["list"]
    assert asked > 0
    campaign.end_all()
    answer = campaign.pipeline.submit(second)
    assert isinstance(answer, NotYet)
    assert campaign.services["east"].calls["list"] == asked  # it is set aside
    assert len(campaign.services["west"].jobs) == 2  # whose end was seen


def test_a_region_that_hangs_keeps_nobody_from_the_room_of_another(
    campaign_with: Callable[..., Campaign], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are asked at once: west answers while east is silent."""
    campaign = campaign_with(resources={"east": 1, "west": 1}, files_per_transcription=3, max_shards=1)
    assert isinstance(campaign.pipeline.submit(planned(campaign, NAMES[:6], partition="first")), Submitted)
    campaign.end_all()
    monkeypatch.setattr("speech_backfill.chunk_submission._ROOM_SECONDS", 0.2)
    silent = asyncio.Event()
    make = Room.make

    async def hang_in_the_east(room: Room, resource: str) -> None:
        if resource == "east":
            silent.set()
            await asyncio.Event().wait()
        await make(room, resource)

    monkeypatch.setattr(Room, "make", hang_in_the_east)
    second = planned(campaign, ["more.wav"], partition="second")
    assert isinstance(campaign.pipeline.submit(second), Submitted)
    assert silent.is_set()
    assert len(campaign.services["west"].jobs) == 2


# --- the line -------------------------------------------------------------------------------------


def test_files_of_one_residency_do_not_wait_behind_those_of_another(
    campaign_with: Callable[..., Campaign],
) -> None:
    campaign = tagged(
        campaign_with(resources={"east": 2, "west": 4}, files_per_transcription=1, max_shards=1),
        east="us",
        west="eu",
    )
    many = planned(campaign, [f"us {n:02}.wav" for n in range(12)], residency="us", partition="us")
    few = planned(campaign, [f"eu {n}.wav" for n in range(6)], residency="eu", partition="eu")
    assert isinstance(campaign.pipeline.submit(many), NotYet)
    waits = campaign.pipeline.submit(few)
    assert isinstance(waits, NotYet)
    # Two of four are missing: it waits for the ends of its own region, half a window of it at the most.
    assert {one.resource for one in waits.waiting_for} == {"west"}
    assert waits.ends == 2


def test_a_shard_that_fails_leaves_the_line(two: Campaign) -> None:
    shard = planned(two)
    line = Line(two.pipeline.ledger)
    line.stand(shard, chunks=4, pause=lambda _: 3600)
    for service in two.services.values():
        service.script("submit", httpx.Response(401))
    with pytest.raises(Unauthorized):
        two.pipeline.submit(shard)
    other = replace(shard, index=shard.index + 1)
    assert line.stand(other, chunks=1, pause=lambda _: 1)[0] == 0


def test_a_chunk_that_was_not_taken_goes_back_where_every_other_is_full(two: Campaign) -> None:
    """Its first answer was lost in the east and the list shows nothing of it; the west has no room, and the east has."""
    campaign = replace(
        two,
        pipeline=replace(
            two.pipeline,
            resources=tuple(
                replace(one, window=1) if one.name == "west" else one for one in two.pipeline.resources
            ),
        ),
    )
    campaign.services["east"].script("submit", httpx.Response(503))
    shard = planned(campaign, NAMES[:6])
    waits = campaign.pipeline.submit(
        shard
    )  # one in doubt in the east, the other in the west, which is full now
    assert isinstance(waits, NotYet)
    campaign.clock.now = waits.until
    assert isinstance(campaign.pipeline.submit(shard), Submitted)
    assert (len(campaign.services["east"].jobs), len(campaign.services["west"].jobs)) == (1, 1)


def test_a_look_that_began_before_the_list_had_its_time_proves_nothing(campaign: Campaign) -> None:
    """It took so long that the time was over when it ended: what was accepted meanwhile it may have missed."""
    shard = planned(campaign, NAMES[:3])
    service = campaign.service
    service.list_lag_seconds = 1e6

    def slow(_: httpx.Request) -> httpx.Response:
        campaign.clock.now += 3600
        return httpx.Response(200, json={"values": []})

    service.script_after("submit", httpx.ReadTimeout)
    service.script_after("list", slow)
    waits = campaign.pipeline.submit(shard)
    assert isinstance(waits, NotYet)
    assert service.calls["submit"] == 1
    service.list_lag_seconds = 0.0
    assert isinstance(campaign.pipeline.submit(shard), Submitted)
    assert service.calls["submit"] == 1


def test_a_list_that_takes_long_is_no_trouble(
    campaign_with: Callable[..., Campaign], monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = campaign_with(resources={"east": 1}, files_per_transcription=3, max_shards=1)
    assert isinstance(campaign.pipeline.submit(planned(campaign, NAMES[:3], partition="first")), Submitted)
    monkeypatch.setattr("speech_backfill.chunk_submission._ROOM_SECONDS", 0.1)

    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Room, "make", hang)
    answer = campaign.pipeline.submit(planned(campaign, ["more.wav"], partition="second"))
    assert isinstance(answer, NotYet)
    assert answer.no_room
    assert troubles(campaign, "east") == 0


def test_one_in_trouble_that_throttles_is_not_tried_again_at_once(campaign: Campaign) -> None:
    Resources(campaign.pipeline.ledger).register("east", window=4, region="")
    Resources(campaign.pipeline.ledger).set_aside("east", "an answer was lost")
    for _ in range(50):
        campaign.service.script("submit", httpx.Response(429))
    answer = campaign.pipeline.submit(planned(campaign, NAMES[:3]))
    assert isinstance(answer, NotYet)
    assert campaign.service.calls["submit"] == 1


def test_a_chunk_that_another_holds_waits_although_its_residency_is_nobodys_any_more(
    two: Campaign,
) -> None:
    eu = tagged(two, west="eu")
    shard = planned(eu, NAMES[:3], residency="eu")
    (placement,) = eu.pipeline.ledger.shard_placements(shard)
    for one in eu.pipeline.resources:
        Resources(eu.pipeline.ledger).register(
            one.name, window=one.window, region="", residency=one.residency
        )
    Reservations(eu.pipeline.ledger).reserve(
        placement, owner="other", lease_seconds=60, resources=["east", "west"]
    )
    assert isinstance(two.pipeline.submit(shard), NotYet)
