"""One poller for many waiters, against the in-memory service, in time that the tests own."""

import asyncio
from itertools import pairwise

import httpx
import pytest

from fakes.speech_service import FakeSpeechService
from speech_backfill.speech.client import SpeechClient
from speech_backfill.speech.retries import ONE_TRY
from speech_backfill.watch import poller as module
from speech_backfill.watch.decide import Ended, Overdue, Seen
from speech_backfill.watch.poller import shared_poller


class World:
    """A service, its clock, and things that happen to it at set times."""

    def __init__(self):
        self.service = FakeSpeechService()
        self.clock = self.service.clock
        self.start = self.clock()
        self.resolved = 0
        self.reports = []
        self.events = []

    async def resolve(self):
        self.resolved += 1
        return self.service.resource()

    def connect(self, resource):
        async def transport(request):
            for at, happen in self.events:
                if self.clock() - self.start >= at:
                    happen()
            self.events = [event for event in self.events if self.clock() - self.start < event[0]]
            answer = self.service._answer(request)
            for _ in range(10):  # others get their turn while an answer is on its way
                await asyncio.sleep(0)
            return answer

        return SpeechClient(
            resource,
            clock=self.clock,
            sleep=self.clock.sleep,
            transport=httpx.MockTransport(transport),
            retries=ONE_TRY,
        )

    def at(self, seconds, happen):
        self.events.append((seconds, happen))

    def poller(self, name="speech"):
        return shared_poller(
            name, self.resolve, connect=self.connect, clock=self.clock, sleep=self.clock.sleep
        )

    async def wait(self, *wanted, deadline=100_000.0, poll=60.0, first=30.0, until="all"):
        async with self.poller() as poller:
            return await poller.wait(
                wanted,
                deadline_at=self.start + deadline,
                poll_interval_seconds=poll,
                first_look_seconds=first,
                until=until,
                report=self.reports.append,
            )

    @property
    def elapsed(self):
        return self.clock() - self.start


@pytest.fixture
def world():
    return World()


async def test_many_transcriptions_are_seen_with_one_list(world):
    ids = [world.service.add(status="Succeeded") for _ in range(90)]

    seen = await world.wait(*ids)

    assert isinstance(seen, Ended)
    assert set(seen.seen.values()) == {Seen.SUCCEEDED}
    assert world.service.calls == {"list": 1}
    assert world.elapsed == 30


async def test_after_the_first_look_only_what_has_changed_is_listed(world):
    ended = world.service.add(created_at=world.start - 5000, status="Succeeded")
    young = world.service.add(created_at=world.start - 1000)
    world.at(100, lambda: world.service.end(young))

    await world.wait(ended, young)

    filters = [request.url.params["filter"] for request in world.service.requests]
    assert filters[0] == "createdDateTime ge 2025-12-29T00:00:30Z"
    # Ten minutes before the look before it, which was made after 30 s: lists may lag.
    assert filters[-1].startswith("lastActionDateTime ge 2025-12-31T23:5")
    assert world.service.calls["get"] == 0


async def test_a_look_costs_one_request_however_much_waits(world):
    """A thousand unfinished ones are ten pages; what has changed of them is one."""
    ids = [world.service.add(created_at=world.start - 3600 + n) for n in range(1000)]
    world.at(900, lambda: [world.service.end(one) for one in ids])

    await world.wait(*ids)

    assert world.service.calls["list"] <= 10 + 900 / 60 + 10
    assert world.service.calls["get"] == 0


async def test_what_a_list_of_changes_misses_is_seen_in_the_next_whole_look(world):
    """It ended long before the moment that the service gives: such a thing must not wait for its deadline."""
    mine = world.service.add(created_at=world.start)

    def ends_unseen():
        world.service.end(mine)
        world.service.jobs[mine].last_action_at = world.start - 90_000

    world.at(200, ends_unseen)

    seen = await world.wait(mine)

    assert seen == Ended({mine: Seen.SUCCEEDED})
    assert world.elapsed < module.WHOLE_EVERY_SECONDS + 3 * 60 * 1.1


async def test_a_service_that_ignores_the_filter_is_looked_at_whole(world):
    world.service.ignores_filters = True
    old = world.service.add(created_at=world.start - 50_000, status="Succeeded")
    mine = world.service.add(created_at=world.start)
    world.at(300, lambda: world.service.end(mine))

    seen = await world.wait(mine, old)

    assert seen == Ended({mine: Seen.SUCCEEDED, old: Seen.SUCCEEDED})


async def test_the_pace_of_the_ends_tells_when_to_look_next(world):
    """Forty are done one after the other in ten minutes each: whoever waits for the last is not woken for the first."""
    ids = [world.service.add(created_at=world.start + n) for n in range(40)]
    for number, one in enumerate(ids):
        world.at(600 * (number + 1), lambda one=one: world.service.end(one))

    await world.wait(ids[-1], *ids[:-1])

    assert world.service.calls["list"] < 80
    assert world.elapsed <= 600 * 40 + 60 * 1.1


async def test_the_others_on_the_resource_do_not_cost_pages(world):
    for _ in range(1000):
        world.service.add("somebody else's")
    mine = world.service.add(status="Succeeded")

    await world.wait(mine)

    assert world.service.calls == {"list": 1, "get": 1}


async def test_waiters_share_looks(world):
    ids = [world.service.add() for _ in range(20)]
    world.at(600, lambda: [world.service.end(one) for one in ids])

    async def one_waiter(number):
        return await world.wait(ids[number])

    ends = await asyncio.gather(*(one_waiter(number) for number in range(20)))

    assert all(isinstance(end, Ended) for end in ends)
    assert world.service.calls["list"] <= 1 + world.elapsed / 60
    assert world.resolved == 1


async def test_looks_stand_a_poll_interval_apart(world):
    mine, other = world.service.add(), world.service.add()
    times = []
    answer = world.service._answer

    def noted(request):
        times.append(world.elapsed)
        return answer(request)

    world.service._answer = noted
    world.at(900, lambda: (world.service.end(mine), world.service.end(other)))

    await asyncio.gather(
        world.wait(mine, first=30), world.wait(other, first=50), world.wait(mine, other, first=10)
    )

    assert len(times) > 5
    assert min(after - before for before, after in pairwise(times)) >= 60


async def test_a_newcomer_does_not_hurry_the_next_look(world):
    first, newcomer = world.service.add(), world.service.add(status="Succeeded")
    world.at(10_000, lambda: world.service.end(first))
    times = []

    async def later():
        await world.clock.sleep(40)
        await world.wait(newcomer, first=0)
        times.append(world.elapsed)

    waiting = asyncio.create_task(world.wait(first, first=30))
    await later()
    waiting.cancel()

    assert times[0] >= 90


async def test_whoever_has_ended_does_not_wait_for_the_others(world):
    quick, slow = world.service.add(), world.service.add()
    world.at(100, lambda: world.service.end(quick))
    world.at(2000, lambda: world.service.end(slow))
    ended_at = {}

    async def wait(name, one):
        await world.wait(one)
        ended_at[name] = world.elapsed

    await asyncio.gather(wait("quick", quick), wait("slow", slow))

    assert ended_at["quick"] < 300
    assert 2000 <= ended_at["slow"] < 2300


async def test_failed_looks_are_reported_and_borne(world):
    mine = world.service.add()
    world.service.script("list", httpx.Response(503), httpx.ConnectError, httpx.Response(200, text="<html>"))
    world.at(0, lambda: world.service.end(mine, failed=("InvalidData", "no audio")))

    end = await world.wait(mine)

    assert end == Ended({mine: Seen.FAILED})
    assert [("The last look failed" in line) for line in world.reports] == [True, True, True, False]


async def test_a_service_that_is_down_is_asked_ever_more_rarely(world):
    mine = world.service.add()
    world.service.script("list", *[httpx.Response(503)] * 1000)

    end = await world.wait(mine, deadline=3600)

    assert end == Overdue({}, (mine,))
    assert world.service.calls["list"] < 15


async def test_a_rotated_key_is_picked_up(world):
    mine = world.service.add(status="Succeeded")
    world.service.script("list", httpx.Response(401))

    end = await world.wait(mine)

    assert isinstance(end, Ended)
    assert world.resolved == 2


async def test_a_connection_that_can_not_be_resolved_is_borne(world):
    mine = world.service.add(status="Succeeded")
    resolve = world.resolve
    failures = iter([True, True])

    async def moody():
        if next(failures, False):
            raise RuntimeError("the API server restarts")
        return await resolve()

    world.resolve = moody

    assert isinstance(await world.wait(mine), Ended)
    assert "the API server restarts" in world.reports[0]


async def test_a_new_transcription_is_not_gone_because_the_service_is_slow_to_show_it(world):
    mine = world.service.add()
    hidden = world.service.jobs.pop(mine)
    world.at(90, lambda: world.service.jobs.setdefault(mine, hidden))
    world.at(500, lambda: world.service.end(mine))

    assert await world.wait(mine) == Ended({mine: Seen.SUCCEEDED})


async def test_a_transcription_that_the_service_denies_for_long_is_gone(world):
    assert await world.wait("never-there") == Ended({"never-there": Seen.GONE})
    assert 150 <= world.elapsed < 300


async def test_list_lag_is_made_up_for_by_asking(world):
    world.service.list_lag_seconds = 10_000
    mine = world.service.add(status="Succeeded")

    assert isinstance(await world.wait(mine), Ended)
    assert world.service.calls == {"list": 1, "get": 1}


async def test_one_transcription_that_can_not_be_asked_for_does_not_hide_the_others(world):
    world.service.list_lag_seconds = 10_000
    ids = sorted(world.service.add(status="Succeeded") for _ in range(3))
    world.service.script("get", httpx.Response(503))

    await world.wait(*ids)

    assert world.service.calls["get"] == 4


async def test_the_deadline_names_the_overdue(world):
    done, stuck = world.service.add(status="Succeeded"), world.service.add(status="Running")

    end = await world.wait(done, stuck, deadline=3600)

    assert end == Overdue({done: Seen.SUCCEEDED, stuck: Seen.RUNNING}, (stuck,))
    assert 3600 <= world.elapsed < 3700


async def test_an_end_beats_a_deadline_that_has_long_passed(world):
    mine = world.service.add(status="Succeeded")

    assert isinstance(await world.wait(mine, deadline=-1000), Ended)
    assert world.elapsed == 30


async def test_room_is_made_by_the_first_end(world):
    first, second = world.service.add(), world.service.add()
    world.at(300, lambda: world.service.end(second))

    end = await world.wait(first, second, until="any")

    assert end == Ended({first: Seen.NOT_STARTED, second: Seen.SUCCEEDED})


async def test_the_last_waiter_takes_the_poller_along(world):
    mine = world.service.add(status="Succeeded")

    await world.wait(mine)

    assert not module._POLLERS.get(asyncio.get_running_loop())


async def test_a_cancelled_waiter_leaves_the_others_waiting(world):
    mine, other = world.service.add(), world.service.add()
    world.at(500, lambda: world.service.end(other))
    given_up = asyncio.create_task(world.wait(mine))
    staying = asyncio.create_task(world.wait(other))
    world.at(100, given_up.cancel)

    assert await staying == Ended({other: Seen.SUCCEEDED})
    with pytest.raises(asyncio.CancelledError):
        await given_up


async def test_looking_never_changes_anything(world):
    ids = [world.service.add() for _ in range(3)]

    await world.wait(*ids, deadline=5000)

    assert {request.method for request in world.service.requests} == {"GET"}


async def test_the_last_look_is_one_that_began_after_the_deadline(world):
    """A look that began before a waiter came did not ask for its ids; with its deadline past it would be its last."""
    world.service.list_lag_seconds = 10_000
    mine, late = world.service.add(status="Succeeded"), world.service.add(status="Succeeded")
    joined = []

    def join_meanwhile(request):
        world.clock.now += 5
        joined.append(asyncio.create_task(world.wait(late, deadline=-1, first=0)))
        return world.service._get(request)

    world.service.script("get", join_meanwhile)
    await world.wait(mine)

    assert await joined[0] == Ended({late: Seen.SUCCEEDED})


async def test_many_deadlines_at_once_are_met_with_few_looks(world):
    ids = [world.service.add(status="Running") for _ in range(50)]

    ends = await asyncio.gather(*(world.wait(one, deadline=40) for one in ids))

    assert all(isinstance(end, Overdue) for end in ends)
    assert world.service.calls["list"] < 10
