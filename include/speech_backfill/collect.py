"""Fetch what the service has for an ended transcription: its report and its result files, in a fixed order, a few at a time.

What is under way and not worked on yet is bounded in number and in bytes. Expired links are renewed by listing the files
again. A file that can't be had costs itself only, but where the host refuses others as well, all of them can't be had for
now, and that is raised: to count them as missing would mean to pay for them again. One that can't be read is downloaded once
more: transcribing its audio again would be paid for, and a download is not.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from speech_backfill.results.errors import InvalidReport
from speech_backfill.results.report import ReportDetail, read_report
from speech_backfill.speech.api import ResultEntry
from speech_backfill.speech.client import SpeechClient
from speech_backfill.speech.errors import (
    ResultExpired,
    ResultNotFound,
    ResultsRefused,
    ResultTooLarge,
    UnreadableAnswer,
)

_RELISTS = 3
"""How often refused links of one file are renewed before it counts as refused."""

_OTHERS = 3
"""So many other files are asked for, the smallest, where one is refused and nothing else has come since."""

AHEAD_BYTES = 64 * 1024 * 1024
"""What the result files under way and those that wait for their turn may hold in memory together, or one that is larger alone."""

_UNLISTED_BYTES = 4 * 1024 * 1024
"""A file of unknown size counts for so much at the least: about two hours of audio with the times of every word."""

_READS = 2
"""How often a report that can't be read is downloaded."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A result file's bytes."""

    entry: ResultEntry
    raw: bytes


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A result file that is listed and can't be had."""

    entry: ResultEntry
    problem: str
    refused: bool = False
    """Whether the host gives others and refuses this one, under links however fresh."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of one transcription: its report, if it can be had, and its result files by name."""

    report: tuple[ReportDetail, ...] | None
    report_problem: str | None
    results: tuple[ResultEntry, ...]


@dataclass(slots=True)
class _Ahead:
    """A download under way, and for how many bytes it counts: those expected, once it is there its own."""

    task: asyncio.Task[Fetched | Unavailable]
    size_bytes: int


def _nothing() -> int:
    return 0


class Collector:
    """Downloads of one transcription."""

    def __init__(
        self,
        client: SpeechClient,
        transcription_id: str,
        *,
        concurrency: int,
        most_bytes: int = AHEAD_BYTES,
    ) -> None:
        """*concurrency* result files are under way at once, no more, and hold *most_bytes* or are one."""
        self._client = client
        self._id = transcription_id
        self.concurrency = concurrency
        self.most_bytes = most_bytes
        self._largest: int | None = None
        self._came = 0
        self._asking = asyncio.Lock()
        self._fresh: dict[str, ResultEntry] = {}
        self._lock = asyncio.Lock()
        self._turn = asyncio.Semaphore(concurrency)

    async def listing(self) -> Listing:
        """List all files and read the report."""
        entries = [one async for one in self._client.files(self._id)]
        results = sorted(
            (one for one in entries if one.kind == "Transcription"), key=lambda one: natural(one.name)
        )
        reports = [one for one in entries if one.kind == "TranscriptionReport"]
        if not reports:
            return Listing(None, "the service wrote no report", tuple(results))
        report, problem = await self._report(reports[0])
        return Listing(report, problem, tuple(results))

    async def results(
        self, entries: Sequence[ResultEntry], *, held: Callable[[], int] = _nothing
    ) -> AsyncGenerator[Fetched | Unavailable]:
        """The result files in the given order, fetched ahead while the caller works on earlier ones.

        *held* says how many bytes of those the caller has not let go of: fewer are fetched ahead then. One is, whatever it says.

        Raises trouble of the service at large, ResultsRefused among it.
        """
        ahead: deque[_Ahead] = deque()
        came = refused = 0
        waiting = deque(entries)
        try:
            while True:
                while waiting and len(ahead) < self.concurrency:
                    size = self._expected_bytes(waiting[0])
                    if ahead and held() + sum(one.size_bytes for one in ahead) + size > self.most_bytes:
                        break
                    ahead.append(self._begun(waiting.popleft(), size))
                if not ahead:
                    return
                found = await ahead.popleft().task
                came += isinstance(found, Fetched)
                if isinstance(found, Unavailable) and found.refused:
                    refused += 1
                    # A report may come where no result does. Most files are known at the end, or where many were refused.
                    if refused > max(1, came) and (
                        not (ahead or waiting) or refused > came + self.concurrency
                    ):
                        raise self._all_refused(found.entry)
                yield found
                del found  # else it would stay in memory until the next one is there
        finally:
            for one in ahead:
                one.task.cancel()
            # Awaited, so that the connections are closed after their last use, not under it.
            await asyncio.gather(*(one.task for one in ahead), return_exceptions=True)

    def _begun(self, entry: ResultEntry, size_bytes: int) -> _Ahead:
        begun = _Ahead(asyncio.create_task(self._fetch(entry)), size_bytes)

        def there(task: asyncio.Task[Fetched | Unavailable]) -> None:
            if not task.cancelled() and task.exception() is None:
                found = task.result()
                begun.size_bytes = len(found.raw) if isinstance(found, Fetched) else 0
                self._largest = max(self._largest or 0, begun.size_bytes)

        begun.task.add_done_callback(there)
        return begun

    def _expected_bytes(self, entry: ResultEntry) -> int:
        """What the list says. Where it says nothing, the first file goes alone, and later ones count as the largest so far."""
        if entry.size_bytes:
            return entry.size_bytes
        return self.most_bytes if self._largest is None else max(self._largest, _UNLISTED_BYTES)

    async def again(self, entry: ResultEntry) -> Fetched | Unavailable:
        """One result file once more, because what came can't be read; under a fresh link where its own has expired."""
        return await self._fetch(entry)

    async def _report(self, entry: ResultEntry) -> tuple[tuple[ReportDetail, ...] | None, str | None]:
        """What the report says, or why it can't be had or read."""
        unreadable = ""
        for _ in range(_READS):
            match await self._fetch(entry):
                case Unavailable(problem=problem):
                    return None, unreadable or problem
                case Fetched(raw=raw):
                    try:
                        return read_report(raw), None
                    except InvalidReport as error:
                        unreadable = str(error)
        return None, unreadable

    async def _fetch(self, entry: ResultEntry) -> Fetched | Unavailable:
        """One file; refused links are renewed. Trouble of the service at large is raised."""
        current = self._fresh.get(entry.name, entry)
        for renewals_left in reversed(range(_RELISTS + 1)):
            came_before = self._came
            try:
                return Fetched(entry, await self._downloaded(current))
            except ResultExpired as error:
                if renewals_left:
                    current = await self._renewed(current)
                    continue
                if self._came == came_before and not await self._others_come(entry):
                    raise self._all_refused(current) from error
                return Unavailable(entry, str(error), refused=True)
            except (ResultNotFound, ResultTooLarge, UnreadableAnswer) as error:
                return Unavailable(entry, str(error))
        raise AssertionError("the last try returns or raises")

    async def _others_come(self, refused: ResultEntry) -> bool:
        """Whether the host gives any other file of the transcription, right after it has refused *refused*."""
        came_before = self._came
        async with self._asking:
            if self._came > came_before:
                return True
            others = [one for one in self._fresh.values() if one.name != refused.name]
            for one in sorted(others, key=lambda one: one.size_bytes or 0)[:_OTHERS]:
                try:
                    await self._downloaded(one)
                except (ResultExpired, ResultNotFound, UnreadableAnswer):
                    continue
                except ResultTooLarge:
                    return True
                return True
        return False

    def _all_refused(self, entry: ResultEntry) -> ResultsRefused:
        name = self._client.resource.name
        return ResultsRefused(resource=name, transcription_id=self._id, url=entry.content_url)

    async def _downloaded(self, entry: ResultEntry) -> bytes:
        """Its bytes, as soon as there is a turn: first and second downloads overlap, and share the concurrency."""
        async with self._turn:
            content = await self._client.fetch(entry.content_url)
        self._came += 1
        return content

    async def _renewed(self, stale: ResultEntry) -> ResultEntry:
        """The same file under a fresh link; whoever comes first lists for all who wait."""
        async with self._lock:
            known = self._fresh.get(stale.name)
            if known is None or known.content_url == stale.content_url:
                self._fresh = {one.name: one async for one in self._client.files(self._id)}
            return self._fresh.get(stale.name, stale)


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key in which contenturl_2 stands before contenturl_10."""
    return tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in re.split(r"([0-9]+)", name)
        if part
    )
