"""The client of one Speech resource: submit once, look as often as needed, never change what a caller did not name.

Calls that may be repeated are repeated by the retry policy; a submission is exactly one POST and never repeated here.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

import httpx

from speech_backfill.model import Clock, Status, TranscriptionOptions
from speech_backfill.speech import api
from speech_backfill.speech.api import Page, ResultEntry, Transcription
from speech_backfill.speech.connection import Connection, Timeouts, retry_after_seconds
from speech_backfill.speech.errors import (
    AnswerLost,
    NotFound,
    NotSent,
    RequestRefused,
    ResultNotFound,
    ServiceUnavailable,
    SpeechServiceError,
    Throttled,
    UnreadableAnswer,
)
from speech_backfill.speech.rate import RequestRate
from speech_backfill.speech.resource import SpeechResource
from speech_backfill.speech.results import MAX_RESULT_BYTES, BlobHost, ResultDownloads
from speech_backfill.speech.retries import RetryPolicy

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Deleted:
    """It is not at the service any more; perhaps it never was."""

    transcription_id: str


@dataclass(frozen=True, slots=True)
class NotDeletableYet:
    """It has not ended; the service deletes only what has."""

    transcription_id: str


class SpeechClient:
    """Typed calls to *resource*, as an async context manager."""

    def __init__(
        self,
        resource: SpeechResource,
        *,
        clock: Clock = time.time,
        transport: httpx.AsyncBaseTransport | None = None,
        blob_host: BlobHost | None = None,
        timeouts: Timeouts | None = None,
        retries: RetryPolicy | None = None,
        rate: RequestRate | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        max_result_bytes: int = MAX_RESULT_BYTES,
    ) -> None:
        """*transport*, *blob_host*, *clock* and *sleep* are for tests to own; *rate* may be shared by clients of one resource."""
        timeouts = timeouts or Timeouts()
        self.resource = resource
        self.advised_wait_seconds: float | None = None
        """What the last look's Retry-After said; None where it said nothing."""
        self._large_pages = True
        """Until the service refuses them."""
        self._clock = clock
        self._sleep = sleep
        self._timeouts = timeouts
        self._retries = retries or RetryPolicy()
        # Whoever owns the sleep owns the time; otherwise a clock set back must not stall us.
        monotonic = time.monotonic if sleep is asyncio.sleep else clock
        self._rate = rate or RequestRate(monotonic=monotonic, sleep=sleep)
        self._connection = Connection(resource, clock=clock, timeouts=timeouts, transport=transport)
        self._downloads = ResultDownloads(
            resource.name, timeouts=timeouts, max_bytes=max_result_bytes, blob_host=blob_host
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connection.aclose()
        await self._downloads.aclose()

    async def submit(
        self,
        *,
        options: TranscriptionOptions,
        content_urls: Sequence[str],
        display_name: str,
        custom_properties: Mapping[str, str],
        time_to_live_hours: int,
        timeout_seconds: float,
    ) -> Transcription:
        """Ask for a transcription: one POST, no repeat, answered within *timeout_seconds* (waiting for our turn included).

        Certain that nothing happened: RequestRefused, Unauthorized, NotFound, Throttled, NotSent. Not certain:
        AnswerLost, and then the token must be looked for. A cancelled call is as uncertain as a lost answer.
        """
        action = f"submit {display_name}"
        name = self.resource.name
        body = api.submit_body(
            options,
            content_urls,
            display_name=display_name,
            custom_properties=custom_properties,
            time_to_live_hours=time_to_live_hours,
        )
        sending = False
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._rate.admit()
                sending = True
                response = await self._connection.submit(
                    self._connection.address(api.submit_path()),
                    json=body,
                    params=self._version,
                    action=action,
                )
        except TimeoutError as error:
            if not sending:
                raise NotSent(
                    resource=name,
                    action=action,
                    detail=f"no turn within {timeout_seconds:.0f} s: many requests",
                ) from error
            raise AnswerLost(
                resource=name, action=action, detail=f"no answer within {timeout_seconds:.0f} s"
            ) from error
        except Throttled as error:
            self._rate.pause(error.retry_after_seconds or 1.0)
            raise
        try:
            return api.parse_transcription(response.content)
        except api.Malformed as error:
            raise AnswerLost(
                resource=name, action=action, detail=f"{response.status_code} came, but {error}"
            ) from error

    async def find(self, display_name: str, *, created_after: float) -> list[Transcription]:
        """Every transcription named *display_name*, created at *created_after* or later; oldest first.

        The whole list is read and every match checked here, for the service may ignore a filter. An answer that can't
        be read raises: it is never taken for "none". An empty list right after a lost answer proves nothing yet: the
        list may lag, so look again after a grace time.
        """
        wanted = api.list_filter(display_name=display_name, created_after=created_after)
        found: dict[str, Transcription] = {}
        for _ in range(2):
            pages_read = 0
            async for page in self._pages(wanted):
                pages_read += 1
                for one in page:
                    if one.display_name == display_name and one.created_at >= int(created_after):
                        found[one.transcription_id] = one
            if found or pages_read == 1:
                break
            # Over several pages, what is deleted meanwhile hides others: "none" is believed when it is said twice.
        return sorted(found.values(), key=lambda one: (one.created_at, one.transcription_id))

    async def list(
        self, *, created_after: float | None = None, status: Status | None = None
    ) -> AsyncIterator[Transcription]:
        """Transcriptions of this resource, each once, page by page as they are asked for; the filter is checked here too.

        Paging is by offset: what is deleted meanwhile can hide others, so delete only after the list has ended.
        """
        seen: set[str] = set()
        first = int(created_after) if created_after is not None else float("-inf")
        async for page in self._pages(api.list_filter(created_after=created_after, status=status)):
            for one in page:
                if (
                    one.transcription_id not in seen
                    and one.created_at >= first
                    and status in {None, one.status}
                ):
                    seen.add(one.transcription_id)
                    yield one

    async def list_pages(
        self, *, created_after: float | None = None, changed_after: float | None = None
    ) -> AsyncIterator[tuple[Transcription, ...]]:
        """The same list a page at a time, for callers that weigh what another page costs.

        *changed_after*: only those whose status was entered then or later; the caller checks, for the filter may be ignored.
        """
        wanted = api.list_filter(created_after=created_after, changed_after=changed_after)
        async for page in self._pages(wanted):
            yield page

    async def probe(self) -> None:
        """The cheapest look there is, to learn whether endpoint, credential and network work."""
        await self._look(
            lambda: self._page(
                self._connection.address(api.transcriptions_path()),
                {**self._version, "top": "1"},
                api.parse_transcriptions,
                "list transcriptions",
                self._timeouts.answer_seconds,
            )
        )

    @property
    def clock_offset_seconds(self) -> float | None:
        """How far the service's clock is ahead of ours, by its last answer; None where it has not said."""
        return self._connection.clock_offset_seconds

    async def get(self, transcription_id: str) -> Transcription:
        """One transcription; raises NotFound where the service does not know it (any more)."""
        action = f"show transcription {transcription_id}"

        async def once() -> Transcription:
            response = await self._connection.call(
                "GET",
                self._connection.address(api.transcriptions_path(transcription_id)),
                params=self._version,
                action=action,
            )
            self.advised_wait_seconds = retry_after_seconds(response)
            return self._parsed(api.parse_transcription, response, action)

        return await self._look(once)

    async def delete(self, transcription_id: str) -> Deleted | NotDeletableYet:
        """Delete a transcription that has ended, with its results. One that is unknown counts as deleted."""
        action = f"delete transcription {transcription_id}"

        async def once() -> Deleted | NotDeletableYet:
            try:
                await self._connection.call(
                    "DELETE",
                    self._connection.address(api.transcriptions_path(transcription_id)),
                    params=self._version,
                    action=action,
                )
            except NotFound:
                return Deleted(transcription_id)
            except RequestRefused as error:
                if error.code == api.DELETE_NOT_ALLOWED or error.http_status == 409:
                    return NotDeletableYet(transcription_id)
                raise
            return Deleted(transcription_id)

        return await self._look(once)

    async def files(self, transcription_id: str) -> AsyncIterator[ResultEntry]:
        """Every file of an ended transcription, with fresh links; the report stands anywhere among them."""
        seen: set[tuple[str, str]] = set()
        async for page in self._file_pages(transcription_id):
            for entry in page.values:
                identity = (entry.kind, entry.content_url.split("?", 1)[0])
                if identity not in seen:
                    seen.add(identity)
                    yield entry

    async def fetch(self, content_url: str) -> bytes:
        """The bytes of a result file. Raises ResultExpired where its SAS has ended: list the files again then.

        A file that is not there right after success is waited for a little; raises ResultNotFound if it stays away.
        """
        tries_made = 0
        while True:
            tries_made += 1
            try:
                return await self._downloads.fetch(content_url)
            except ResultNotFound as error:
                late = ServiceUnavailable(
                    resource=self.resource.name, action="give a result file", detail="404"
                )
                delay = self._retries.delay_seconds(late, tries_made=tries_made, draw=random.random())
                if delay is None:
                    raise error from None
            except SpeechServiceError as error:
                delay = self._retries.delay_seconds(error, tries_made=tries_made, draw=random.random())
                if delay is None:
                    raise
            await self._sleep(delay)

    @property
    def _version(self) -> dict[str, str]:
        return {"api-version": self.resource.api_version}

    async def _pages(self, wanted: str | None) -> AsyncIterator[tuple[Transcription, ...]]:
        """Pages of transcriptions; a service that does not know our filter is asked for everything instead."""
        path, action, seconds = (
            api.transcriptions_path(),
            "list transcriptions",
            self._timeouts.answer_seconds,
        )
        params = {**self._version, "filter": wanted} if wanted else self._version
        try:
            async for page in self._walk(path, params, api.parse_transcriptions, action, seconds):
                yield page.values
        except RequestRefused as error:
            if wanted is None or error.code != api.UNSUPPORTED_FILTER:
                raise
            async for page in self._walk(path, self._version, api.parse_transcriptions, action, seconds):
                yield page.values

    async def _file_pages(self, transcription_id: str) -> AsyncIterator[Page[ResultEntry]]:
        """Pages of files, large ones: a list of files is slow, and every page counts against the request limit."""
        path, action, seconds = (
            api.files_path(transcription_id),
            f"list the files of transcription {transcription_id}",
            self._timeouts.files_seconds,
        )
        if self._large_pages:
            large = {**self._version, "top": str(api.FILES_PAGE)}
            try:
                async for page in self._walk(path, large, api.parse_files, action, seconds):
                    yield page
                return
            except RequestRefused as error:
                if error.code != api.UNSUPPORTED_PAGINATION:
                    raise
                self._large_pages = False
        async for page in self._walk(path, self._version, api.parse_files, action, seconds):
            yield page

    async def _walk(
        self,
        path: str,
        params: Mapping[str, str],
        parse: Callable[[bytes], Page[Answer]],
        action: str,
        timeout_seconds: float,
    ) -> AsyncIterator[Page[Answer]]:
        """Page after page. Links carry their own query; one that leads back would never end and raises."""
        url, query, walked = self._connection.address(path), params, set[str]()
        while True:
            page = await self._look(
                lambda url=url, query=query: self._page(url, query, parse, action, timeout_seconds)  # type: ignore[misc]
            )
            yield page
            if page.next_link is None:
                return
            url, query = self._connection.own(page.next_link), {}
            if url in walked:
                raise UnreadableAnswer(
                    resource=self.resource.name, action=action, detail="a next page that was already read"
                )
            walked.add(url)

    async def _page(
        self,
        url: str,
        params: Mapping[str, str],
        parse: Callable[[bytes], Page[Answer]],
        action: str,
        timeout_seconds: float,
    ) -> Page[Answer]:
        response = await self._connection.call(
            "GET", url, params=params, action=action, timeout_seconds=timeout_seconds
        )
        self.advised_wait_seconds = retry_after_seconds(response)
        return self._parsed(parse, response, action)

    def _parsed(self, parse: Callable[[bytes], Answer], response: httpx.Response, action: str) -> Answer:
        try:
            return parse(response.content)
        except api.Malformed as error:
            raise UnreadableAnswer(resource=self.resource.name, action=action, detail=str(error)) from error

    async def _look(self, once: Callable[[], Awaitable[Answer]]) -> Answer:
        """Make a call that may be repeated, as often as the policy says."""
        tries_made = 0
        while True:
            await self._rate.admit()
            tries_made += 1
            try:
                return await once()
            except SpeechServiceError as error:
                delay = self._retries.delay_seconds(error, tries_made=tries_made, draw=random.random())
                if delay is None:
                    raise
                if isinstance(error, Throttled):
                    self._rate.pause(delay)
                await self._sleep(delay)
