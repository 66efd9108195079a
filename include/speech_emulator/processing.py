"""Working through one transcription: its files, the time it takes, its end; which one is next is not decided here."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import msgspec

from speech_emulator import containers, faults
from speech_emulator.clock import Clock
from speech_emulator.config import Settings
from speech_emulator.errors import encode
from speech_emulator.recognisers.model import FileFailedError, Recogniser
from speech_emulator.results import Results, request_of
from speech_emulator.store import AudioFile, Store, Transcription

_BATCH = 200


class Processor:
    """Takes a running transcription to its end."""

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        store: Store,
        recogniser: Recogniser,
        results: Results,
        client: httpx.AsyncClient,
        ended: Callable[[Transcription], None],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._store = store
        self._recogniser = recogniser
        self._results = results
        self._client = client
        self._ended = ended

    async def run(self, row: Transcription) -> None:
        """Transcribe what has no outcome yet, wait as long as configured, and record the end."""
        began = self._clock.now()
        planned = life_faults(row)
        whole = next((fault for fault in planned if isinstance(fault, faults.FailsWhole)), None)
        try:
            if not row.files_known:
                await self._find_files(row)
            if whole is None:
                await self._files(row, planned)
        except FileFailedError as failure:
            whole = faults.FailsWhole(code=failure.kind, message=failure.message)
        await self._take_time(row, planned, began)
        await self._finish(row, planned, whole)

    async def _find_files(self, row: Transcription) -> None:
        assert row.container_url is not None
        limits, found, size = self._settings.limits, [], 0
        async for name, length in containers.blobs(self._client, row.container_url):
            found.append((containers.blob_url(row.container_url, name, with_query=True), name))
            size += length
            if len(found) > limits.container_blobs or size > limits.container_bytes:
                raise FileFailedError(
                    "QuotaViolation", "The container holds too many blobs or too many bytes."
                )
        self._store.add_container_files(row.id, found)

    async def _files(self, row: Transcription, planned: list[Any]) -> None:
        waiting: list[AudioFile] = []
        done: list[AudioFile] = []
        for file in self._store.files(row.id, pending=True):
            forced = self._forced(file, planned)
            if forced is not None:
                done.append(forced)
            else:
                waiting.append(file)
        self._store.finish_files(row.id, done)
        if not self._recogniser.keeps_results and row.destination_url is None:
            await self._derive(row, waiting)
            return
        queue = iter(waiting)
        async with asyncio.TaskGroup() as group:
            for _ in range(max(1, self._recogniser.workers)):
                group.create_task(self._work(row, lambda: next(queue, None)))

    async def _derive(self, row: Transcription, waiting: list[AudioFile]) -> None:
        """Files whose results need no storing, many at a time."""
        request = request_of(row)
        for start in range(0, len(waiting), _BATCH):
            done = [
                replace(
                    file,
                    outcome="succeeded",
                    duration_ms=(await self._recogniser.recognise(file.url, request)).duration_ms,
                    finished_at=self._clock.now(),
                )
                for file in waiting[start : start + _BATCH]
            ]
            self._store.finish_files(row.id, done)
            await asyncio.sleep(0)

    async def _work(self, row: Transcription, take: Callable[[], AudioFile | None]) -> None:
        while (file := take()) is not None:
            self._store.finish_files(row.id, [await self._one(row, file)])

    async def _one(self, row: Transcription, file: AudioFile) -> AudioFile:
        try:
            recognised = await self._recogniser.recognise(file.url, request_of(row))
            ended = replace(
                file,
                outcome="succeeded",
                duration_ms=recognised.duration_ms,
                channels=len(recognised.channels),
                finished_at=self._clock.now(),
            )
            content = self._results.render(row, ended, recognised)
            if row.destination_url is not None:
                name = self._results.destination_name(row, file.name)
                place = await containers.put(self._client, row.destination_url, name, content)
                ended = replace(ended, destination=place)
        except FileFailedError as failure:
            return self._failed(file, failure.kind, failure.message)
        except Exception as error:
            # One file that breaks the recogniser must not take the transcription with it.
            return self._failed(file, "Internal", f"An internal error occurred ({type(error).__name__}).")
        self._store.put_result(row.id, file.position, encode(recognised))
        return replace(ended, size=len(content))

    def _forced(self, file: AudioFile, planned: list[Any]) -> AudioFile | None:
        path = unquote(urlsplit(file.url).path)
        for fault in planned:
            if isinstance(fault, faults.FilesLost) and fnmatchcase(path, fault.files):
                return replace(file, outcome="lost", finished_at=self._clock.now())
            if isinstance(fault, faults.FilesFail) and fnmatchcase(path, fault.files):
                return self._failed(file, fault.error_kind, fault.error_message)
        return None

    def _failed(self, file: AudioFile, kind: str, message: str) -> AudioFile:
        now = self._clock.now()
        return replace(file, outcome="failed", error_kind=kind, error_message=message, finished_at=now)

    async def _take_time(self, row: Transcription, planned: list[Any], began: float) -> None:
        queue = self._settings.queue
        seconds = queue.overhead_seconds + sum(f.seconds for f in planned if isinstance(f, faults.Delayed))
        if queue.audio_speed > 0:
            audio_ms = sum(file.duration_ms or 0 for file in self._store.files(row.id))
            seconds += audio_ms / 1000 / queue.audio_speed
        left = self._clock.span(seconds) - (self._clock.now() - began)
        if left > 0:
            await self._clock.sleep(left)

    async def _finish(self, row: Transcription, planned: list[Any], whole: faults.FailsWhole | None) -> None:
        guesses, now = self._settings.guesses, self._clock.now()
        if whole is not None:
            pending = self._store.files(row.id, pending=True)
            self._store.finish_files(
                row.id, [self._failed(file, whole.code, whole.message) for file in pending]
            )
        files = self._store.files(row.id)
        good = [file for file in files if file.outcome == "succeeded"]
        error = None if whole is None else (whole.code, whole.message)
        if error is None and not files:
            error = ("InvalidData", "The recordings URI contains no data.")
        if error is None and not good and guesses.all_failed_is_failed and (bad := _first_failure(files)):
            error = bad
        reported = not any(isinstance(fault, faults.ReportMissing) for fault in planned)
        if error is not None and not guesses.report_for_failed:
            reported = False
        hours = msgspec.json.decode(row.properties)["timeToLiveHours"]
        early = [fault.seconds for fault in planned if isinstance(fault, faults.PurgedEarly)]
        self._store.bill(row.id, sum(self._billed(file) for file in good))
        if reported and row.destination_url is not None:
            await self._put_report(row, files)
        self._store.change(
            row.id,
            status="Succeeded" if error is None else "Failed",
            error_code=error and error[0],
            error_message=error and error[1],
            duration_ms=sum(file.duration_ms or 0 for file in good),
            ended_at=now,
            last_action_at=now,
            purge_at=now + self._clock.span(min(early) if early else hours * 3600),
            has_report=int(reported),
        )
        self._ended(row)

    async def _put_report(self, row: Transcription, files: list[AudioFile]) -> None:
        assert row.destination_url is not None
        name = self._results.destination_name(row, "report.json")
        try:
            await containers.put(self._client, row.destination_url, name, self._results.report_of(row, files))
        except FileFailedError:
            # The results' own writes have failed the same way and are in the outcome already.
            return

    def _billed(self, file: AudioFile) -> int:
        times = (file.channels or 1) if self._settings.guesses.bill_per_channel else 1
        return (file.duration_ms or 0) * times


def life_faults(row: Transcription) -> list[Any]:
    """The faults that were drawn for a transcription when it was accepted."""
    return msgspec.json.decode(row.faults, type=list[faults.LifeFault])


def _first_failure(files: list[AudioFile]) -> tuple[str, str] | None:
    """The transcription's error when no file succeeded: the first file's kind, in the service's words for it."""
    first = next((file for file in files if file.outcome == "failed"), None)
    if first is None:
        return None
    words = {
        "InvalidData": "The recordings URI contains invalid data.",
        "InvalidUri": "The recordings URI is invalid.",
    }
    kind = first.error_kind or "Internal"
    return kind, words.get(kind, first.error_message or "")
