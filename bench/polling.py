"""Status requests for a backlog of 1,000 transcriptions over 24 simulated hours, against one GET a minute for each.

    python -m bench polling

The poller runs as in the triggerer, for 48 waits at once, against the in-memory service in simulated time. The region
works one transcription after the other, 86 s each; pages hold 100, as the service's do.
"""

from __future__ import annotations

import argparse
import asyncio
import time

import httpx

from bench.figures import Figure, at_most, table, told
from fakes.speech_service import FakeClock, FakeSpeechService
from speech_backfill.speech.client import SpeechClient
from speech_backfill.speech.retries import ONE_TRY
from speech_backfill.watch.poller import shared_poller

HOURS = 24
WAITS = 48
FEW = 6
"""What a region ends in a day at the default settings: a thousand audio files of about a minute each, five times as fast as they last."""


def main(arguments: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench polling", description=__doc__)
    parser.add_argument("--transcriptions", type=int, default=1000)
    found = rows(transcriptions=parser.parse_args(arguments).transcriptions)
    print(table(found))
    return 0 if all(one.good for one in found) else 1


def rows(*, transcriptions: int = 1000) -> list[Figure]:
    """Simulate once."""
    began = time.process_time()
    service, ended_at = asyncio.run(_simulated(transcriptions))
    minutes = sum(int(at - service.clock.start) // 60 for at in ended_at.values())
    looks = service.calls["list"] + service.calls["get"]
    share = looks / minutes
    print(
        f"status requests     {looks:,} ({service.calls['list']:,} lists, {service.calls['get']:,} gets) for {transcriptions:,} "
        f"transcriptions over {HOURS} h: {looks / transcriptions:.2f} each"
    )
    print(f"one GET a minute    {minutes:,}")
    print(f"simulated in        {time.process_time() - began:.1f} s of CPU")
    few, _ = asyncio.run(_simulated(FEW))
    looks_at_few = few.calls["list"] + few.calls["get"]
    print(f"a day of few        {looks_at_few:,} for {FEW} transcriptions")
    what = f"status requests over a {HOURS}-hour simulated backlog of {transcriptions:,} transcriptions, against one GET a minute each"
    return [
        at_most(what, 1.0, share * 100, f"% ({looks:,} against {minutes:,})"),
        told("the same, status requests a transcription", looks / transcriptions, ""),
        told(
            f"where a region ends {FEW} transcriptions in that time, status requests a day", looks_at_few, ""
        ),
    ]


class _Clock(FakeClock):
    """Remembers when it began."""

    def __init__(self) -> None:
        super().__init__()
        self.start = self.now


async def _simulated(transcriptions: int) -> tuple[FakeSpeechService, dict[str, float]]:
    clock = _Clock()
    service = FakeSpeechService(clock=clock)
    each = HOURS * 3600 / transcriptions
    ids = [service.add(f"chunk {number}") for number in range(transcriptions)]
    ended_at = {one: clock.start + each * (number + 1) for number, one in enumerate(ids)}
    waiting = list(ids)

    async def answer(request: httpx.Request) -> httpx.Response:
        while waiting and ended_at[waiting[0]] <= clock():
            one = waiting.pop(0)
            service.end(one)
            service.jobs[one].last_action_at = ended_at[one]
        return service._answer(request)  # noqa: SLF001  its own transport would not let time pass first

    async def resolve():
        return service.resource()

    def connect(resource):
        return SpeechClient(
            resource,
            clock=clock,
            sleep=clock.sleep,
            transport=httpx.MockTransport(answer),
            retries=ONE_TRY,
        )

    async def wait(some: list[str]) -> None:
        async with shared_poller(
            "speech", resolve, connect=connect, clock=clock, sleep=clock.sleep
        ) as poller:
            await poller.wait(
                some,
                deadline_at=clock.start + 10 * 86_400,
                poll_interval_seconds=60.0,
                first_look_seconds=30.0,
                report=lambda _: None,
            )

    share = -(-transcriptions // WAITS)
    shares = [ids[start : start + share] for start in range(0, transcriptions, share)]
    await asyncio.gather(*(wait(some) for some in shares))
    return service, ended_at
