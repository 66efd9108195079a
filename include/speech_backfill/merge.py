"""Merge a shard: result files and reports → part files of the tables and one outcome for each audio file.

Nothing here is visible to readers of the tables; publish does that. Merging a shard again gives the same part files.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speech_backfill import paths
from speech_backfill.accounts import StorageAccounts
from speech_backfill.chunk_files import read_chunk
from speech_backfill.chunk_outcomes import ChunkAccounts, from_report, from_result, read_results
from speech_backfill.collect import Collector
from speech_backfill.error_classes import UNREAD, OurCode, can_retry
from speech_backfill.errors import NotSubmitted, StillRunning
from speech_backfill.keep import kept_end
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import (
    BUDGET,
    OVERDUE,
    Placement,
    PlanState,
    TranscriptionRecord,
    TranscriptionState,
)
from speech_backfill.ledger.submissions import Submissions
from speech_backfill.model import Outcome, Shard
from speech_backfill.observe import look, past_deadline
from speech_backfill.raw_results import kept_results, raw_results
from speech_backfill.services import Services
from speech_backfill.settings import Settings
from speech_backfill.speech.api import Transcription
from speech_backfill.speech.errors import SpeechServiceError
from speech_backfill.store import Store
from speech_backfill.tables.outcomes import OutcomesWriter
from speech_backfill.tables.parts import PartWriter
from speech_backfill.tables.rows import OutcomeRow

log = logging.getLogger(__name__)

_PURGED = "the service does not know the transcription any more; its results can't be fetched"
_OVER_BUDGET = "it was not submitted: the budget was used up before"


@dataclass(frozen=True, slots=True)
class ShardMerged:
    """What a shard's merge found, by number."""

    files: int
    transcribed: int
    failed: int
    missing: int
    can_retry: int
    audio_ms: int

    def found_more_than(self, other: ShardMerged) -> bool:
        """Whether more is known of the files: more transcripts, or as many and fewer files missing."""
        return (self.transcribed, -self.missing) > (other.transcribed, -other.missing)

    def to_dict(self) -> dict[str, int]:
        """Plain values for an XCom."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class _Ended:
    """A placement, our record of its transcription, and what the service has of it; None: gone, or given up.

    Without a record nothing was submitted: it was stopped.
    """

    placement: Placement
    record: TranscriptionRecord | None
    seen: Transcription | None


@dataclass(frozen=True, slots=True)
class Merger:
    """The pieces that merging needs; `merge_shard` is its verb."""

    ledger: Ledger
    store: Store
    accounts: StorageAccounts
    services: Services
    settings: Settings

    async def merge_shard(self, shard: Shard) -> ShardMerged:
        """Merge every chunk of *shard*. Raises UnknownPlan, NotSubmitted, StillRunning and errors of service and store.

        Once the plan is published its transcriptions may be gone at the service: then what was merged stands.
        """
        folder = paths.shard_folder(shard.plan_id, shard.round, shard.index)
        if self.ledger.state(shard.plan_id) is PlanState.PUBLISHED:
            before = self._merged_before(folder)
            if before is not None:
                return before
        # All are looked at before anything is downloaded: one that still runs would make the rest be fetched again.
        ended = [await self._ended(shard, placement) for placement in self.ledger.shard_placements(shard)]
        counts: Counter[str] = Counter()
        transcribed: set[str] = set()
        unread: set[str] = set()
        with tempfile.TemporaryDirectory(prefix="speech-backfill-merge-") as name:
            local = Path(name)
            with PartWriter(local) as parts, OutcomesWriter(local / "outcomes.parquet") as outcomes:
                for one in ended:
                    async for row in self._chunk(one, parts, local, transcribed):
                        outcomes.add(row)
                        if row.outcome is Outcome.TRANSCRIBED:
                            transcribed.add(row.file_id)
                        if row.error_code in UNREAD:
                            unread.add(one.placement.chunk.chunk_id)
                        counts.update([row.outcome.value])
                        counts["can_retry"] += row.can_retry
                        counts["purged"] += row.error_code == OurCode.RESULTS_PURGED
                        counts["audio_ms"] += row.duration_ms or 0
                written = dict(parts.close())
                summary = outcomes.close()
            merged = ShardMerged(
                files=sum(counts[one.value] for one in Outcome),
                transcribed=counts[Outcome.TRANSCRIBED],
                failed=counts[Outcome.FAILED],
                missing=counts[Outcome.MISSING],
                can_retry=counts["can_retry"],
                audio_ms=counts["audio_ms"],
            )
            before = self._merged_before(folder)
            if before is not None and counts["purged"] and before.found_more_than(merged):
                # The service has deleted since what that merge still found.
                log.warning("%s: the merge of before had more and stands: %s", shard.label, before.to_dict())
                return before
            described: dict[str, Any] = {}
            for table, part in [*written.items(), *([("outcomes", summary)] if summary else [])]:
                path = f"{folder}/{table}.parquet"
                self.store.upload(part.path, path)
                described[table] = {"path": path, "rows": part.rows, "bytes": part.bytes}
        # Written last: a shard without it does not count as merged.
        result = {"counts": merged.to_dict(), "parts": described, "unread_chunks": sorted(unread)}
        self.store.put(f"{folder}/merged.json", json.dumps(result).encode())
        log.info("%s merged: %s", shard.label, merged.to_dict())
        return merged

    def _merged_before(self, folder: str) -> ShardMerged | None:
        try:
            counted = json.loads(self.store.get(f"{folder}/merged.json"))["counts"]
        except FileNotFoundError:
            return None
        return ShardMerged(**counted)

    async def _ended(self, shard: Shard, placement: Placement) -> _Ended:
        """The placement's transcription, ended. Raises NotSubmitted, StillRunning."""
        record = Submissions(self.ledger).of(placement)
        if record is None or record.state is TranscriptionState.REFUSED:
            if placement.stopped == BUDGET:
                return _Ended(placement, None, None)
            raise NotSubmitted(shard.label, placement.chunk.chunk_id)
        if record.state is TranscriptionState.INTENDED:
            raise NotSubmitted(shard.label, placement.chunk.chunk_id)
        seen, record = await self._seen(shard, placement, record)
        return _Ended(placement, record, seen)

    async def _chunk(
        self, one: _Ended, parts: PartWriter, local: Path, transcribed: set[str]
    ) -> AsyncIterator[OutcomeRow]:
        """The outcomes of one chunk's files, in the order of their result files, then the rest in the chunk's order.

        Two adopted chunks may share a file; it is left out where the shard has its transcript already (*transcribed*).
        """
        placement, record, seen = one.placement, one.record, one.seen
        ended_at = seen.last_action_at if seen else record.ended_at if record else None
        chunked = [
            file
            for file in read_chunk(self.store, placement.chunk.chunk_id)
            if file.file_id not in transcribed
        ]
        files = ChunkAccounts(placement, record, chunked, self.accounts, ended_at=ended_at)
        if record is None:
            for file in files.left():
                yield files.row(file, Outcome.MISSING, code=OurCode.OVER_BUDGET, message=_OVER_BUDGET)
            return
        match seen:
            case None:
                given_up = record.state == TranscriptionState.GIVEN_UP
                overdue = given_up and (record.problem or "").startswith(OVERDUE)
                code = OurCode.OVERDUE if overdue else OurCode.RESULTS_PURGED
                for row in self._kept(files, record, parts, local):
                    yield row
                retry = can_retry(code, None, resubmit_purged=self.settings.resubmit_purged)
                for file in files.left():
                    message = (record.problem if given_up else None) or _PURGED
                    yield files.row(file, Outcome.MISSING, code=code, message=message, retry=retry)
                return
            case Transcription():
                collector = Collector(
                    self.services.client(record.resource),
                    seen.transcription_id,
                    concurrency=self.settings.download_concurrency,
                )
                listing = await collector.listing()
        raw_path = (
            paths.raw_results(placement.chunk.chunk_id, placement.attempt)
            if self.settings.keep_raw_results
            else None
        )
        with raw_results(local / "raw.ndjson.zst", raw_path, self.store) as raw:
            async with aclosing(read_results(collector, listing.results, placement.token)) as results:
                async for read in results:
                    accounted = from_result(files, read, parts, raw, raw_path)
                    del read  # else it would stay in memory until the next one is there
                    if accounted is not None:
                        yield accounted
        for row in from_report(files, seen, listing):
            yield row

    def _kept(
        self, files: ChunkAccounts, record: TranscriptionRecord, parts: PartWriter, local: Path
    ) -> Iterator[OutcomeRow]:
        """The outcomes of files whose results the store has from an earlier merge, or from before the purge (keep.py).

        Nobody needs to pay for them again.
        """
        path = paths.raw_results(files.placement.chunk.chunk_id, files.placement.attempt)
        try:
            self.store.download(path, local / "kept.ndjson.zst")
        except FileNotFoundError:
            return
        open_files = {one.file_id: one for one in files.left()}
        for file_id, content in kept_results(local / "kept.ndjson.zst"):
            file = open_files.pop(file_id, None)
            if file is not None:
                summary = parts.add(file.file_id, file.url, content)
                raw_path = path if self.settings.keep_raw_results else None
                yield files.row(file, Outcome.TRANSCRIBED, summary=summary, raw_path=raw_path)
        end = kept_end(self.store, record)
        if end is not None:
            yield from from_report(files, *end, purged=True)

    async def _seen(
        self, shard: Shard, placement: Placement, record: TranscriptionRecord
    ) -> tuple[Transcription | None, TranscriptionRecord]:
        """The transcription as the service has it now, ended, or None where it is gone or given up; and our record of it."""
        submissions = Submissions(self.ledger)
        if record.transcription_id is None:
            return None, record
        try:
            seen = await look(
                self.ledger, self.services, record, gone_after_seconds=self.settings.gone_after_seconds
            )
        except SpeechServiceError:
            if record.state is not TranscriptionState.GIVEN_UP:
                raise
            return None, record  # it is accounted for already; this was for a late success only
        if seen is not None and not seen.status.ended and record.state is not TranscriptionState.GIVEN_UP:
            problem = past_deadline(
                record, now=self.ledger.clock(), deadline_hours=self.settings.deadline_hours
            )
            if problem is None:
                raise StillRunning(shard.label, seen.transcription_id, seen.status)
            submissions.give_up(record, problem)
            log.warning("%s %s %s", shard.label, record.token, problem)
        # What was given up may have ended after all: it was paid, so it counts.
        ended = seen if seen is not None and seen.status.ended else None
        return ended, submissions.of(placement) or record
