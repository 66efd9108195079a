"""The client against the Speech emulator over real sockets: two readings of the contract must agree."""

import asyncio
import time

import httpx
import pytest

from speech_backfill.model import Status, TranscriptionOptions
from speech_backfill.speech.client import Deleted, NotDeletableYet, SpeechClient
from speech_backfill.speech.connection import Timeouts
from speech_backfill.speech.errors import (
    AnswerLost,
    NotFound,
    RequestRefused,
    ResultExpired,
    Throttled,
    Unauthorized,
)
from speech_backfill.speech.resource import SpeechKey, SpeechResource
from speech_backfill.speech.retries import RetryPolicy
from speech_backfill.watch.decide import Ended, Seen
from speech_backfill.watch.poller import shared_poller
from speech_emulator.config import from_mapping
from speech_emulator.server import running

SETTINGS = {
    "resources": [
        {"name": "west", "key": "west-key"},
        {"name": "north", "key": "north-key", "region": "norway"},
    ],
    "recogniser": {"kind": "synthetic"},
    "queue": {"start_delay_seconds": 0.1},
    "limits": {"page_size": 5},
    "throttle": {"enabled": False},
}


@pytest.fixture
def emulator():
    with running(from_mapping(SETTINGS)) as base:
        yield base


@pytest.fixture
def resource(emulator):
    return SpeechResource(name="west", endpoint=f"{emulator}/west", credential=SpeechKey("west-key"))


@pytest.fixture
async def client(resource):
    async with SpeechClient(resource, retries=RetryPolicy(first_delay_seconds=0.01)) as one:
        yield one


async def submit(client, token="token", **changes):
    values = {
        "options": TranscriptionOptions(),
        "content_urls": [
            f"https://acct.blob.core.windows.net/audio/{number}.wav?sig=s" for number in range(8)
        ],
        "display_name": token,
        "custom_properties": {"chunk": "c1"},
        "time_to_live_hours": 48,
        "timeout_seconds": 30.0,
    }
    return await client.submit(**(values | changes))


async def ended(resource, *ids):
    async def resolve():
        return resource

    async with shared_poller(resource.name, resolve) as poller:
        return await poller.wait(
            ids, deadline_at=time.time() + 30, poll_interval_seconds=0.1, first_look_seconds=0.1
        )


async def fault(emulator, kind, **rule):
    async with httpx.AsyncClient() as http:
        answer = await http.post(f"{emulator}/admin/faults", json={"kind": kind, **rule})
        assert answer.status_code == 201, answer.text


async def test_a_transcription_lives_from_submission_to_deletion(resource, client):
    made = await submit(client)
    assert made.status in {Status.NOT_STARTED, Status.RUNNING}
    assert made.custom_properties["chunk"] == "c1"

    assert await ended(resource, made.transcription_id) == Ended({made.transcription_id: Seen.SUCCEEDED})
    seen = await client.get(made.transcription_id)
    entries = [one async for one in client.files(made.transcription_id)]
    bodies = await asyncio.gather(*(client.fetch(one.content_url) for one in entries))

    assert seen.status is Status.SUCCEEDED
    assert seen.duration_ms > 0
    assert sum(one.is_result for one in entries) == 8
    assert sum(one.is_report for one in entries) == 1
    assert all(body.startswith(b"{") for body in bodies)
    assert await client.delete(made.transcription_id) == Deleted(made.transcription_id)
    with pytest.raises(NotFound):
        await client.get(made.transcription_id)


async def test_every_option_is_accepted(client):
    options = TranscriptionOptions(
        candidate_locales=("en-US", "de-DE"),
        max_speakers=3,
        channels=(0,),
        word_times=True,
        display_word_times=True,
        profanity="Removed",
        punctuation="Automatic",
    )

    assert (await submit(client, options=options)).status in {Status.NOT_STARTED, Status.RUNNING}


async def test_a_lost_answer_is_found_again_by_its_token(emulator, client):
    for number in range(12):
        await submit(client, f"other-{number}")
    await fault(emulator, "answer_lost", operation="submit", times=1)

    with pytest.raises(AnswerLost):
        await submit(client, "mine")

    found = await client.find("mine", created_after=time.time() - 600)
    assert [one.display_name for one in found] == ["mine"]


async def test_a_filter_that_is_ignored_finds_no_foreign_transcription(emulator, client):
    for number in range(7):
        await submit(client, f"other-{number}")
    await fault(emulator, "filter_ignored")

    assert await client.find("mine", created_after=time.time() - 600) == []


async def test_resources_do_not_see_each_other(emulator, client):
    await submit(client, "mine")
    north = SpeechResource(name="north", endpoint=f"{emulator}/north", credential=SpeechKey("north-key"))

    async with SpeechClient(north) as other:
        assert [one async for one in other.list()] == []
    assert [one.display_name async for one in client.list()] == ["mine"]


async def test_an_unfinished_transcription_is_not_deleted(emulator, client):
    await fault(emulator, "never_ends")
    made = await submit(client)

    assert await client.delete(made.transcription_id) == NotDeletableYet(made.transcription_id)


async def test_a_wrong_key_is_told_from_a_wrong_body(resource, client):
    wrong = SpeechResource(name="west", endpoint=resource.endpoint, credential=SpeechKey("no"))
    async with SpeechClient(wrong) as stranger:
        with pytest.raises(Unauthorized):
            await stranger.probe()
    with pytest.raises(RequestRefused):
        await submit(client, time_to_live_hours=1)


async def test_an_unknown_api_version_is_refused(resource):
    old = SpeechResource(
        name="west", endpoint=resource.endpoint, credential=SpeechKey("west-key"), api_version="3.2"
    )
    async with SpeechClient(old) as client:
        with pytest.raises(RequestRefused):
            await client.probe()


async def test_trouble_passes_without_the_caller_noticing(emulator, client):
    made = await submit(client)
    await fault(emulator, "http_status", operation="get", status=503, times=2)
    await fault(emulator, "connection_reset", operation="get", times=1)

    assert (await client.get(made.transcription_id)).display_name == "token"


async def test_a_throttled_submission_was_not_carried_out(emulator, client):
    await fault(emulator, "http_status", operation="submit", status=429, retry_after=3, times=1)

    with pytest.raises(Throttled) as caught:
        await submit(client, "mine")

    assert caught.value.retry_after_seconds == 3
    assert await client.find("mine", created_after=time.time() - 600) == []


@pytest.mark.parametrize(("largest_top", "requests"), [(1000, 1), (8, 1 + 2)])
async def test_a_service_decides_how_large_a_page_of_files_may_be(largest_top, requests):
    settings = {**SETTINGS, "guesses": {"largest_top": largest_top}}
    with running(from_mapping(settings)) as base:
        resource = SpeechResource(name="west", endpoint=f"{base}/west", credential=SpeechKey("west-key"))
        async with SpeechClient(resource) as client, httpx.AsyncClient() as http:
            made = await submit(client)
            await ended(resource, made.transcription_id)

            entries = [one async for one in client.files(made.transcription_id)]

            state = (await http.get(f"{base}/admin/state")).json()
    assert len(entries) == 8 + 1
    assert state["requests"]["list_files"] == requests


DOWNLOAD_TROUBLES = {
    "connection_reset": {"operation": "download"},
    "answer_lost": {"operation": "download"},
    "result_not_found": {"first": 2},
    "result_truncated": {"how": "connection"},
    "http_status": {"operation": "download", "status": 503},
    "hang": {"operation": "download", "seconds": 60},
}


@pytest.mark.parametrize("kind", DOWNLOAD_TROUBLES)
async def test_trouble_of_a_download_passes_and_the_file_is_whole(emulator, resource, client, kind):
    made = await submit(client)
    await ended(resource, made.transcription_id)
    entry = await anext(client.files(made.transcription_id))
    whole = await client.fetch(entry.content_url)
    await fault(emulator, kind, times=2, **DOWNLOAD_TROUBLES[kind])

    timeouts, retries = Timeouts(download_seconds=0.3), RetryPolicy(first_delay_seconds=0.01)
    async with SpeechClient(resource, timeouts=timeouts, retries=retries) as hasty:
        assert await hasty.fetch(entry.content_url) == whole
    async with httpx.AsyncClient() as http:
        state = (await http.get(f"{emulator}/admin/state")).json()
    assert state["requests"]["download"] == 1 + 2 + 1


async def test_an_expired_link_is_replaced_by_listing_again(emulator, resource, client):
    made = await submit(client)
    await ended(resource, made.transcription_id)
    entry = await anext(client.files(made.transcription_id))
    await fault(emulator, "result_expires", times=1)

    with pytest.raises(ResultExpired):
        await client.fetch(entry.content_url)
    fresh = entry
    while (
        fresh.content_url == entry.content_url
    ):  # a link's end is a whole second: within one it stays the same
        fresh = await anext(client.files(made.transcription_id))

    assert await client.fetch(fresh.content_url)
