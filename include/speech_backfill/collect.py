"""Fetch what the service has for an ended transcription: its report and its result files, in a fixed order, a few at a time.

Expired links are renewed by listing the files again. A file that can't be had costs itself only. One that can't be read
is downloaded once more: transcribing its audio again would be paid for, and a download is not.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from speech_backfill.results.errors import InvalidReport
from speech_backfill.results.report import ReportDetail, read_report
from speech_backfill.speech.api import ResultEntry
from speech_backfill.speech.client import SpeechClient
from speech_backfill.speech.errors import (
    ResultExpired,
    ResultNotFound,
    ResultTooLarge,
    SpeechServiceError,
    UnreadableAnswer,
)

_RELISTS = 3
"""How often expired links of one file are renewed before the error is passed on."""

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


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of one transcription: its report, if it can be had, and its result files by name."""

    report: tuple[ReportDetail, ...] | None
    report_problem: str | None
    results: tuple[ResultEntry, ...]


class Collector:
    """Downloads of one transcription."""

    def __init__(self, client: SpeechClient, transcription_id: str, *, concurrency: int) -> None:
        """*concurrency* result files are under way at once, no more."""
        self._client = client
        self._id = transcription_id
        self.concurrency = concurrency
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

    async def results(self, entries: Sequence[ResultEntry]) -> AsyncGenerator[Fetched | Unavailable]:
        """The result files in the given order, fetched ahead while the caller works on earlier ones."""
        ahead: deque[asyncio.Task[Fetched | Unavailable]] = deque()
        waiting = iter(entries)
        try:
            while True:
                while len(ahead) < self.concurrency and (entry := next(waiting, None)) is not None:
                    ahead.append(asyncio.create_task(self._fetch(entry)))
                if not ahead:
                    return
                yield await ahead.popleft()
        finally:
            for task in ahead:
                task.cancel()
            # Awaited, so that the connections are closed after their last use, not under it.
            await asyncio.gather(*ahead, return_exceptions=True)

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
        """One file; links are renewed where they expired. Trouble of the service at large is raised."""
        current = self._fresh.get(entry.name, entry)
        for _ in range(_RELISTS):
            try:
                return Fetched(entry, await self._downloaded(current))
            except ResultExpired:
                current = await self._renewed(current)
            except (ResultNotFound, ResultTooLarge, UnreadableAnswer) as error:
                return Unavailable(entry, str(error))
        try:
            return Fetched(entry, await self._downloaded(current))
        except SpeechServiceError as error:
            return Unavailable(entry, str(error))

    async def _downloaded(self, entry: ResultEntry) -> bytes:
        """Its bytes, as soon as there is a turn: first and second downloads overlap, and share the concurrency."""
        async with self._turn:
            return await self._client.fetch(entry.content_url)

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
