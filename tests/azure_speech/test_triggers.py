"""Triggers over real sockets: one event each, nothing but looks, and nothing secret in what Airflow stores."""

import asyncio
import json
import time

import pytest

from azure_speech.events import RoomEvent, TranscriptionsEvent
from azure_speech.triggers.room import RoomTrigger
from azure_speech.triggers.transcriptions import TranscriptionsTrigger
from fakes.http_server import served
from fakes.speech_service import KEY, FakeSpeechService
from speech_backfill.model import TranscriptionRef
from speech_backfill.watch.decide import Seen

SOON = {"poll_interval_seconds": 0.05, "first_look_seconds": 0.0}


def waiting(transcriptions, *, within=20.0, **changes):
    return TranscriptionsTrigger(
        **({"transcriptions": transcriptions, "deadline_at": time.time() + within} | SOON | changes)
    )


def for_room(transcriptions, *, within=20.0, **changes):
    return RoomTrigger(**({"transcriptions": transcriptions, "until": time.time() + within} | SOON | changes))


async def fired(trigger):
    events = [event async for event in trigger.run()]
    assert len(events) == 1
    return events[0].payload


@pytest.mark.parametrize("make", [waiting, for_room])
def test_a_trigger_is_made_again_from_what_airflow_stores(make):
    trigger = make({"speech_west": ["a", "b"], "speech_north": ["c"]})

    path, kwargs = trigger.serialize()
    again = type(trigger)(**json.loads(json.dumps(kwargs)))

    assert path == f"{type(trigger).__module__}.{type(trigger).__qualname__}"
    assert again.serialize() == (path, kwargs)


@pytest.mark.parametrize("make", [waiting, for_room])
def test_what_airflow_stores_are_ids_and_numbers(make):
    _, kwargs = make({"speech_west": ["a"]}).serialize()

    assert kwargs.pop("transcriptions") == {"speech_west": ["a"]}
    assert all(isinstance(value, int | float) for value in kwargs.values())


@pytest.mark.usefixtures("endpoint")
async def test_one_event_tells_how_everything_ended(service):
    good, bad, gone = (
        service.add(status="Succeeded"),
        service.add(status="Failed"),
        service.add(status="Succeeded"),
    )

    event = TranscriptionsEvent.read(await fired(waiting({"speech_west": [good, bad, gone]})))

    assert event.refs(Seen.FAILED) == (TranscriptionRef("speech_west", bad),)
    assert set(event.refs(Seen.SUCCEEDED)) == {TranscriptionRef("speech_west", one) for one in (good, gone)}
    assert event.overdue == ()


@pytest.mark.usefixtures("endpoint")
async def test_a_deadline_names_what_has_not_ended_and_leaves_it_alone(service):
    done, stuck = service.add(status="Succeeded"), service.add(status="Running")

    event = TranscriptionsEvent.read(await fired(waiting({"speech_west": [done, stuck]}, within=0.3)))

    assert event.overdue == (TranscriptionRef("speech_west", stuck),)
    assert {request.method for request in service.requests} == {"GET"}


@pytest.mark.usefixtures("endpoint")
async def test_several_resources_are_waited_at_together(service, connect):
    north = FakeSpeechService(name="speech_north", clock=time.time)
    with served(north) as address:
        connect("speech_north", conn_type="azure_speech", host=address, password=KEY)
        here, there = service.add(status="Succeeded"), north.add(status="Succeeded")

        event = TranscriptionsEvent.read(
            await fired(waiting({"speech_west": [here], "speech_north": [there]}))
        )

    assert [one.ref for one in event.transcriptions] == [
        TranscriptionRef("speech_west", here),
        TranscriptionRef("speech_north", there),
    ]


@pytest.mark.usefixtures("endpoint")
async def test_many_triggers_share_their_looks(service):
    ids = [service.add(status="Succeeded") for _ in range(30)]

    await asyncio.gather(*(fired(waiting({"speech_west": [one]}, first_look_seconds=0.1)) for one in ids))

    assert service.calls["list"] < 10
    assert service.calls["get"] == 0


@pytest.mark.usefixtures("endpoint")
async def test_no_event_comes_before_the_first_look(service):
    done = service.add(status="Succeeded")
    started = time.monotonic()

    await fired(waiting({"speech_west": [done]}, first_look_seconds=0.3, within=-100))

    assert time.monotonic() - started >= 0.3


async def test_a_resource_that_can_not_be_reached_never_breaks_the_wait(connect):
    connect("speech_west", conn_type="azure_speech", host="http://127.0.0.1:9", password=KEY)

    event = TranscriptionsEvent.read(await fired(waiting({"speech_west": ["a"]}, within=0.2)))

    assert event.overdue == (TranscriptionRef("speech_west", "a"),)
    assert event.transcriptions[0].seen is None


async def test_a_connection_that_is_not_there_never_breaks_the_wait(connect):
    connect("another", conn_type="http")

    event = TranscriptionsEvent.read(await fired(waiting({"nowhere": ["a"]}, within=0.2)))

    assert event.overdue == (TranscriptionRef("nowhere", "a"),)


@pytest.mark.usefixtures("endpoint")
@pytest.mark.parametrize("make", [waiting, for_room])
async def test_the_end_of_a_task_changes_nothing_at_the_service(service, make):
    mine = service.add(status="Running")
    trigger = make({"speech_west": [mine]})
    wait = asyncio.create_task(fired(trigger))
    assert await asyncio.to_thread(service.asked.wait, 20)

    await trigger.on_kill()
    wait.cancel()
    await asyncio.gather(wait, return_exceptions=True)
    await trigger.cleanup()

    assert service.jobs[mine].status == "Running"
    assert {request.method for request in service.requests} == {"GET"}


@pytest.mark.usefixtures("endpoint")
async def test_room_is_there_when_the_first_of_them_ends(service, connect):
    north = FakeSpeechService(name="speech_north", clock=time.time)
    with served(north) as address:
        connect("speech_north", conn_type="azure_speech", host=address, password=KEY)
        slow, quick = service.add(status="Running"), north.add(status="Succeeded")
        also_slow = north.add(status="Running")

        event = RoomEvent.read(
            await fired(for_room({"speech_west": [slow], "speech_north": [also_slow, quick]}))
        )

    assert event == RoomEvent((TranscriptionRef("speech_north", quick),))


@pytest.mark.usefixtures("endpoint")
async def test_room_is_looked_for_again_at_the_moment_in_any_case(service):
    slow = service.add(status="Running")

    assert RoomEvent.read(await fired(for_room({"speech_west": [slow]}, within=0.2))) == RoomEvent()


async def test_a_moment_alone_is_waited_for():
    started = time.monotonic()

    assert RoomEvent.read(await fired(for_room({}, within=0.2))) == RoomEvent()
    assert time.monotonic() - started >= 0.19


async def test_a_moment_that_has_passed_waits_for_the_first_look():
    started = time.monotonic()

    await fired(for_room({}, within=-5, first_look_seconds=0.2))

    assert time.monotonic() - started >= 0.19


@pytest.mark.usefixtures("endpoint")
async def test_room_is_there_when_enough_of_them_have_ended_wherever(service, connect):
    """Two of four, at two resources; the second ends while the trigger waits for it."""
    north = FakeSpeechService(name="speech_north", clock=time.time)
    with served(north) as address:
        connect("speech_north", conn_type="azure_speech", host=address, password=KEY)
        mine = [service.add(status="Running"), service.add(status="Succeeded")]
        theirs = [north.add(status="Running"), north.add(status="Running")]
        wait = asyncio.create_task(fired(for_room({"speech_west": mine, "speech_north": theirs}, ends=2)))
        while north.calls["list"] < 2:  # noqa: ASYNC110  the server is in another thread
            await asyncio.sleep(0.01)
        assert not wait.done()
        north.end(theirs[1], results={}, report=None)

        event = RoomEvent.read(await wait)

    assert set(event.ended) == {
        TranscriptionRef("speech_west", mine[1]),
        TranscriptionRef("speech_north", theirs[1]),
    }


@pytest.mark.usefixtures("endpoint")
async def test_a_moment_ends_the_wait_for_room_though_too_few_have_ended(service):
    ids = [service.add(status="Succeeded"), service.add(status="Running")]

    event = RoomEvent.read(await fired(for_room({"speech_west": ids}, ends=2, within=0.5)))

    assert event.ended == (TranscriptionRef("speech_west", ids[0]),)
