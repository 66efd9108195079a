"""What the service has handed back for one chunk → one outcome for each of its audio files."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import IO

from speech_backfill.accounts import StorageAccounts
from speech_backfill.chunk_files import ChunkedFile
from speech_backfill.collect import Collector, Fetched, Listing, Unavailable
from speech_backfill.error_classes import OurCode, can_retry
from speech_backfill.errors import AudioUriError
from speech_backfill.ledger.records import Placement, TranscriptionRecord
from speech_backfill.model import Outcome, Status
from speech_backfill.raw_results import write_line
from speech_backfill.results.decode import decode_result
from speech_backfill.results.errors import InvalidResultFile
from speech_backfill.results.model import ResultFile
from speech_backfill.results.source import source_of
from speech_backfill.speech.api import ResultEntry, Transcription
from speech_backfill.speech.errors import without_secrets
from speech_backfill.tables.batches import ResultSummary
from speech_backfill.tables.parts import PartWriter
from speech_backfill.tables.rows import OutcomeRow

log = logging.getLogger(__name__)


_MOST_WAITING = 4
"""Results that wait for a second download or behind one, at the most: they are in memory."""


class ChunkAccounts:
    """The files of one chunk, each to be ticked off once."""

    def __init__(
        self,
        placement: Placement,
        record: TranscriptionRecord | None,
        files: list[ChunkedFile],
        accounts: StorageAccounts,
        *,
        ended_at: float | None,
    ) -> None:
        self.placement = placement
        self._record = record
        self._ended_at = datetime.fromtimestamp(ended_at, UTC) if ended_at else None
        self._accounts = accounts
        # Worked out of the options' content, so once for all files.
        self._options_id = placement.chunk.options.options_id
        self._by_url = {one.url: one for one in files}

    def find(self, source_url: str | None) -> ChunkedFile | None:
        """The file that a source in an answer means, unless it is ticked off already or not ours."""
        if not source_url:
            return None
        found = self._by_url.get(source_url)
        if found is not None:
            return found
        try:
            # The service may encode a URL its own way; what it means decides.
            return self._by_url.get(self._accounts.locate(source_url).url)
        except AudioUriError:
            return None

    def left(self) -> list[ChunkedFile]:
        """Files without an outcome yet."""
        return list(self._by_url.values())

    def row(
        self,
        file: ChunkedFile,
        outcome: Outcome,
        *,
        code: str | None = None,
        message: str | None = None,
        retry: bool | None = None,
        summary: ResultSummary | None = None,
        raw_path: str | None = None,
    ) -> OutcomeRow:
        """Tick *file* off and say what became of it."""
        del self._by_url[file.url]
        record, options = self._record, self.placement.chunk.options
        return OutcomeRow(
            file_id=file.file_id,
            audio_url=file.url,
            audio_etag=file.etag,
            size_bytes=file.size_bytes,
            outcome=outcome,
            error_code=code,
            error_message=message,
            can_retry=outcome is not Outcome.TRANSCRIBED
            and (can_retry(code, message) if retry is None else retry),
            duration_ms=summary.duration_ms if summary else None,
            channels=summary.channels if summary else None,
            phrases=summary.phrases if summary else None,
            words=summary.words if summary else None,
            locale=(summary.locale if summary else None) or options.locale,
            options_id=self._options_id,
            resource=record.resource if record else None,
            transcription_id=record.transcription_id if record else None,
            attempt=record.attempt if record else None,
            chunk_id=self.placement.chunk.chunk_id,
            result_object=raw_path,
            merged_at=self._ended_at,
        )


@dataclass(frozen=True, slots=True)
class ReadResult:
    """A result file as it was read, or why it can't be, and whose it says that it is."""

    fetched: Fetched
    result: ResultFile | InvalidResultFile
    source: str | None

    @property
    def size_bytes(self) -> int:
        """How many bytes it holds, or will once it is there; what was decoded from them comes on top."""
        return len(self.fetched.raw)


@dataclass(frozen=True, slots=True)
class _Again:
    """The second download of a file that was of *size_bytes* at the first, and is taken to be of as many again."""

    task: asyncio.Task[ReadResult]
    size_bytes: int


def read_result(fetched: Fetched) -> ReadResult:
    """Decode what was downloaded."""
    try:
        result = decode_result(fetched.raw)
    except InvalidResultFile as error:
        # Even a spoilt file mostly says whose it is: that audio file fails with a reason.
        return ReadResult(fetched, error, source_of(fetched.raw))
    return ReadResult(fetched, result, result.source)


async def read_results(
    collector: Collector, entries: Sequence[ResultEntry], token: str
) -> AsyncGenerator[ReadResult]:
    """The result files of *entries* in their order; what can't be read from a second download. Those overlap, too.

    Raises what `Collector.results` raises: trouble of the service at large, also where only a second download met it. To give
    up then would mean to pay for the audio again.
    """
    waiting: deque[ReadResult | _Again] = deque()

    async def first() -> ReadResult:
        one = waiting.popleft()
        return one if isinstance(one, ReadResult) else await one.task

    def held() -> int:
        return sum(one.size_bytes for one in waiting)

    def is_due() -> bool:
        # Half of the bytes are left to what comes next, or a large file that waits would be joined by another one.
        return len(waiting) >= _MOST_WAITING or held() > collector.most_bytes // 2 or _is_there(waiting[0])

    async with aclosing(collector.results(entries, held=held)) as results:
        try:
            async for fetched in results:
                if isinstance(fetched, Unavailable):
                    # Which file it would have been is not known; that one ends as missing, and its reason is in the log.
                    log.warning("%s: %s: %s", token, fetched.entry.name, fetched.problem)
                    continue
                waiting.append(_read_or_again(collector, fetched, token))
                del fetched  # else it would stay in memory until the next one is there
                while waiting and is_due():
                    yield await first()
            while waiting:
                yield await first()
        finally:
            left = [one.task for one in waiting if isinstance(one, _Again)]
            for task in left:
                task.cancel()
            # Awaited, so that the connections are closed after their last use, not under it.
            await asyncio.gather(*left, return_exceptions=True)


def _read_or_again(collector: Collector, fetched: Fetched, token: str) -> ReadResult | _Again:
    """What was downloaded, decoded; its second download where it can't be read."""
    read = read_result(fetched)
    if not isinstance(read.result, InvalidResultFile):
        return read
    log.warning("%s: %s is downloaded once more: %s", token, fetched.entry.name, read.result.reason)
    # What it said is made out; its bytes need not lie beside those that come.
    spoilt = replace(read, fetched=replace(fetched, raw=b""))
    return _Again(asyncio.create_task(_again(collector, spoilt, token)), len(fetched.raw))


def _is_there(one: ReadResult | _Again) -> bool:
    return isinstance(one, ReadResult) or one.task.done()


async def _again(collector: Collector, spoilt: ReadResult, token: str) -> ReadResult:
    """*spoilt* from a second download: the way may have spoilt it, and to transcribe its audio again would cost money.

    There is no third. What could be made out stands where this very file can't be had, or is no better.
    """
    match await collector.again(spoilt.fetched.entry):
        case Unavailable(entry=entry, problem=problem):
            log.warning("%s: %s: %s", token, entry.name, problem)
            return spoilt
        case Fetched() as fetched:
            read = read_result(fetched)
            return read if read.source else replace(read, source=spoilt.source)


def from_result(
    files: ChunkAccounts, read: ReadResult, parts: PartWriter, raw: IO[bytes] | None, raw_path: str | None
) -> OutcomeRow | None:
    """The outcome of one result file; None where it belongs to no file of the chunk, or to one that has an outcome."""
    file = files.find(read.source)
    if file is None:
        log.warning(
            "%s: %s names no audio file that is still open", files.placement.token, read.fetched.entry.name
        )
        return None
    if isinstance(read.result, InvalidResultFile):
        return files.row(file, Outcome.FAILED, code=OurCode.INVALID_RESULT, message=str(read.result))
    content = read.fetched.raw
    summary = parts.add_result(file.file_id, file.url, read.result, size_bytes=len(content))
    if raw is not None:
        write_line(raw, file.file_id, content)
    return files.row(file, Outcome.TRANSCRIBED, summary=summary, raw_path=raw_path)


def from_report(
    files: ChunkAccounts, seen: Transcription, listing: Listing, *, purged: bool = False
) -> Iterator[OutcomeRow]:
    """The outcomes of files without a result: what the report says, else what the transcription as a whole says.

    *purged*: the service has nothing of it any more. Then only failures are told, which the rest may not have been.
    """
    whole = seen.status is Status.FAILED
    several = files.placement.chunk.files > 1
    # A report that blames every file alike repeats what is said of the whole: any of them may be good.
    alike = whole and several and len({(one.status, one.error_kind) for one in listing.report or ()}) == 1
    for detail in listing.report or ():
        file = files.find(detail.source_url)
        if file is None:
            continue
        if detail.status == "Failed":
            code, message = detail.error_kind or "Unknown", detail.error_message
            retry = can_retry(code, message, alone=not alike)
            yield files.row(file, Outcome.FAILED, code=code, message=message, retry=retry)
        elif not purged:
            message = "the report says it succeeded, but its result file could not be had or read"
            yield files.row(file, Outcome.MISSING, code=OurCode.RESULT_NOT_FOUND, message=message)
    if purged and not whole:
        return
    for file in files.left():
        if whole:
            yield files.row(
                file,
                Outcome.FAILED,
                code=seen.error_code or OurCode.TRANSCRIPTION_FAILED,
                message=without_secrets(seen.error_message or "") or "the transcription failed as a whole",
                retry=can_retry(seen.error_code, seen.error_message, alone=not several),
            )
        else:
            why = listing.report_problem or "it stands neither in the report nor among the results"
            yield files.row(file, Outcome.MISSING, code=OurCode.NOT_REPORTED, message=why)
