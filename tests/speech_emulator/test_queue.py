"""One transcription at a time per region, and the ways in which its order and pace can be set."""

import asyncio

import pytest

from speech_emulator.recognisers.model import Recognised

TWO_REGIONS = [
    {"name": "a", "key": "local-emulator-key", "region": "eastus"},
    {"name": "b", "key": "local-emulator-key", "region": "eastus"},
    {"name": "c", "key": "local-emulator-key", "region": "westeurope"},
]


async def submit(service, prefix, name, submission):
    path = f"{prefix}/speechtotext/transcriptions:submit"
    answer = await service.request("POST", path, json=submission(displayName=name))
    return answer.json()


async def statuses(service, made):
    return [(await service.shown(one))["status"] for one in made]


async def test_a_region_works_on_one_transcription_at_a_time_whichever_resource_sent_it(
    service_with, submission
):
    service = await service_with({"resources": TWO_REGIONS, "queue": {"overhead_seconds": 100}})
    made = [await submit(service, prefix, prefix, submission) for prefix in ("/a", "/b", "/c")]
    await service.advance(1)
    assert await statuses(service, made) == ["Running", "Running", "Running"]
    await service.advance(100)
    assert await statuses(service, made) == ["Succeeded", "Running", "Succeeded"]
    await service.advance(100)
    assert await statuses(service, made) == ["Succeeded", "Succeeded", "Succeeded"]


async def test_waiting_can_show_as_not_started(service_with):
    service = await service_with(
        {"queue": {"overhead_seconds": 10}, "guesses": {"running_while_queued": False}}
    )
    made = [await service.submit(), await service.submit()]
    await service.advance(1)
    assert await statuses(service, made) == ["Running", "NotStarted"]
    await service.advance(10)
    assert await statuses(service, made) == ["Succeeded", "Running"]


async def test_audio_takes_its_time(service_with):
    queue = {"audio_speed": 5, "start_delay_seconds": 0}
    service = await service_with(
        {
            "queue": queue,
            "recogniser": {
                "kind": "synthetic",
                "synthetic_shortest_seconds": 50,
                "synthetic_longest_seconds": 50,
            },
        }
    )
    made = await service.submit(contentUrls=["https://x.test/1", "https://x.test/2"])
    await service.settle()
    await service.advance(19.9)
    assert await statuses(service, [made]) == ["Running"]
    await service.advance(0.2)
    assert await statuses(service, [made]) == ["Succeeded"]


@pytest.mark.parametrize(
    ("order", "expected"), [("fifo", ["0", "1", "2"]), ("lifo", ["2", "1", "0"]), ("random", None)]
)
async def test_the_order_can_be_chosen(service_with, order, expected):
    queue = {"order": order, "overhead_seconds": 10, "seed": 3}
    service = await service_with({"queue": queue, "guesses": {"running_while_queued": False}})
    made = {str(number): await service.submit(displayName=str(number)) for number in range(3)}
    await service.advance(1)
    ended = []
    for _ in range(3):
        await service.advance(10)
        for name, one in made.items():
            if name not in ended and (await service.shown(one))["status"] == "Succeeded":
                ended.append(name)
    assert sorted(ended) == ["0", "1", "2"]
    assert expected is None or ended == expected


async def test_an_overtaken_transcription_ends_last(service_with):
    service = await service_with({"queue": {"overhead_seconds": 10}})
    await service.fault("overtaken", match="first")
    made = [await service.submit(displayName=name) for name in ("first", "second", "third")]
    await service.advance(1)
    await service.advance(10)
    await service.advance(10)
    assert await statuses(service, made) == ["Running", "Succeeded", "Succeeded"]
    await service.advance(10)
    assert await statuses(service, made) == ["Succeeded"] * 3


async def test_one_that_never_ends_lets_others_pass_unless_told_to_block(service):
    await service.fault("never_ends", match="stuck")
    made = [await service.submit(displayName="stuck"), await service.submit(displayName="fine")]
    await service.advance(1)
    await service.advance(10**7)
    assert await statuses(service, made[:1]) == ["Running"]
    await service.fault("never_ends", match="wall", blocks_region=True)
    made = [await service.submit(displayName="wall"), await service.submit(displayName="behind")]
    await service.advance(1)
    await service.advance(10**6)
    assert await statuses(service, made) == ["Running", "Running"]


async def test_a_recogniser_that_breaks_fails_its_file_only(service_with):
    class Breaking:
        workers = 2
        keeps_results = True

        async def recognise(self, url, request):
            if url.endswith("/2"):
                raise ZeroDivisionError
            return Recognised(1000, (0,), ())

        async def aclose(self):
            pass

    service = await service_with(recogniser=Breaking())
    made = await service.submit(contentUrls=[f"https://x.test/{n}" for n in range(4)])
    await service.advance(1)
    assert (await service.shown(made))["status"] == "Succeeded"
    results = await service.results(made)
    assert set(results) == {"contenturl_0.json", "contenturl_1.json", "contenturl_3.json", "report.json"}
    assert results["report.json"]["details"][2]["errorKind"] == "Internal"
    assert results["contenturl_0.json"]["recognizedPhrases"] == []
    assert results["contenturl_0.json"]["combinedRecognizedPhrases"] == []


class Counting:
    """A recogniser that notes what it was asked and stops at a file for ever."""

    workers = 1
    keeps_results = True

    def __init__(self, stops_at=None):
        self.asked = []
        self.stops_at = stops_at

    async def recognise(self, url, request):
        self.asked.append(url)
        if url == self.stops_at:
            await asyncio.Event().wait()
        return Recognised(1000, (0,), ())

    async def aclose(self):
        pass


async def test_a_restarted_emulator_goes_on_with_the_files_that_were_not_done(service_with, tmp_path):
    raw = {"server": {"data": str(tmp_path)}}
    urls = [f"https://x.test/{number}" for number in range(4)]
    first, second = Counting(stops_at=urls[2]), Counting()
    service = await service_with(raw, recogniser=first)
    made = await service.submit(contentUrls=urls)
    await service.advance(1)
    assert first.asked == urls[:3]
    service.emulator.store.close()
    again = await service_with(raw, recogniser=second)
    again.clock.advance(10)
    again.emulator.queues["eastus"].wake()
    await again.settle()
    assert second.asked == urls[2:]
    assert (await again.shown(made))["status"] == "Succeeded"
    assert len(await again.files(made)) == 5
    assert (await again.state())["billed_audio_seconds"] == 4


@pytest.mark.parametrize("order", ["fifo", "lifo"])
async def test_nothing_is_begun_beside_what_is_being_processed(service_with, order):
    recogniser = Counting(stops_at="https://x.test/first")
    service = await service_with({"queue": {"order": order}}, recogniser=recogniser)
    for name in ("first", "second"):
        await service.submit(contentUrls=[f"https://x.test/{name}"])
        await service.advance(1)
    assert recogniser.asked == ["https://x.test/first"]


async def test_a_region_that_is_down_answers_nothing_begins_nothing_and_goes_on_when_it_is_back(
    service_with, submission
):
    service = await service_with({"resources": TWO_REGIONS, "queue": {"overhead_seconds": 100}})
    east = [await submit(service, "/a", name, submission) for name in ("one", "two")]
    west = await submit(service, "/c", "three", submission)
    await service.advance(1)
    assert (await service.request("POST", "/admin/regions/eastus:stop")).status_code == 204

    down = await service.request(
        "GET", f"/a/speechtotext/transcriptions/{east[0]['self'][-53:].split('?')[0]}"
    )
    assert down.status_code == 503
    assert (await service.request("GET", "/b/speechtotext/transcriptions")).status_code == 503
    await service.advance(1000)
    assert await statuses(service, [west]) == ["Succeeded"]
    state = (await service.request("GET", "/admin/state")).json()
    assert state["stopped_regions"] == ["eastus"]

    assert (await service.request("POST", "/admin/regions/eastus:start")).status_code == 204
    await service.advance(1)
    assert await statuses(service, east) == ["Succeeded", "Running"]
    await service.advance(100)
    assert await statuses(service, east) == ["Succeeded", "Succeeded"]


async def test_a_region_that_there_is_not_can_not_go_down(service):
    assert (await service.request("POST", "/admin/regions/moon:stop")).status_code == 404
