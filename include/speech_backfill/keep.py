"""Keep what ended long ago in the store before the service purges it: a shard is merged only when all of it has ended.

Where one region works on a large shard for weeks, its first results would outlive their time to live. So whoever submits the
shard fetches them meanwhile, and merge reads them where the service has nothing any more. Never fails a submission.
"""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from speech_backfill import paths
from speech_backfill.accounts import StorageAccounts
from speech_backfill.chunk_files import read_chunk
from speech_backfill.chunk_outcomes import ChunkAccounts, read_results
from speech_backfill.collect import Collector, Listing
from speech_backfill.errors import SettingsError, StoreError
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import Placement, PlanState, TranscriptionRecord, TranscriptionState
from speech_backfill.ledger.submissions import Submissions
from speech_backfill.model import Shard, Status, TranscriptionRef
from speech_backfill.observe import record_ends
from speech_backfill.raw_results import raw_results, write_line
from speech_backfill.results.errors import InvalidResultFile
from speech_backfill.results.report import ReportDetail
from speech_backfill.services import Services
from speech_backfill.settings import Settings
from speech_backfill.speech.api import Transcription
from speech_backfill.speech.errors import SpeechServiceError, without_secrets
from speech_backfill.store import Store

log = logging.getLogger(__name__)

_SHARE = 0.25
"""Of the time to live: younger results are left to merge, and there is time for another try, and another."""

_SECONDS = 300.0
"""How long one turn of a shard may take for it; the next turn, an hour later at the most, goes on."""

_ENDED = {Status.SUCCEEDED, Status.FAILED}


@dataclass(frozen=True, slots=True)
class Held:
    """Come back at *until* (seconds since 1970), or when all of *waiting_for* have ended."""

    until: float
    reason: str
    waiting_for: tuple[TranscriptionRef, ...]


@dataclass(frozen=True, slots=True)
class Keeper:
    """The pieces that keeping needs; `keep_shard` is its verb."""

    ledger: Ledger
    store: Store
    accounts: StorageAccounts
    services: Services
    settings: Settings

    async def hold(self, shard: Shard) -> Held | None:
        """When *shard*, all submitted, wants another turn to keep results; None where all will live until its merge."""
        now, safe = self.ledger.clock(), min(self._life * _SHARE, max(self._life - self._patience, 0.0))
        if self._expected_at(self._under_way(shard)) <= now + safe:
            return None
        try:
            for resource in sorted({one.resource for one in self._under_way(shard)}):
                await record_ends(
                    self.ledger,
                    self.services,
                    resource,
                    gone_after_seconds=self.settings.gone_after_seconds,
                )
        except SpeechServiceError as error:
            log.warning("%s has not said what has ended: %s", error.resource, error)
        except SettingsError as error:
            log.warning("%s", error)  # the merge says so to a person
            return None
        under_way = self._under_way(shard)
        last = self._expected_at(under_way)
        if last <= now + safe:
            return None
        return Held(
            until=min(now + self._life * _SHARE, last - safe),
            reason=f"all is submitted; the last may take {(last - now) / 3600:.0f} hours, and results are kept meanwhile",
            waiting_for=tuple(one.ref for one in under_way if one.ref is not None),
        )

    @property
    def _life(self) -> float:
        return self.settings.time_to_live_hours * 3600.0

    @property
    def _patience(self) -> float:
        """How long after it is expected the last of a shard may end, and the merge begin."""
        return self.settings.deadline_hours * 3600.0

    def _under_way(self, shard: Shard) -> list[TranscriptionRecord]:
        records = Submissions(self.ledger).of_shard(shard).values()
        return [one for one in records if one.state is TranscriptionState.SUBMITTED]

    def _expected_at(self, under_way: Sequence[TranscriptionRecord]) -> float:
        """When the last of them should be done at the latest; 0 where there is none."""
        return max((one.due_at(0.0) or 0.0 for one in under_way), default=0.0)

    async def keep_shard(self, shard: Shard, *, last: bool = False) -> int:
        """Keep what is due of *shard*, the oldest first; returns how many were kept. All but its last turn end after minutes.

        *last*: all of it is submitted, so there is no other turn before the merge.
        Raises nothing: what can't be kept is logged, and is tried again at the shard's next turn.
        """
        kept, troubled = 0, set[str]()
        try:
            async with asyncio.timeout(None if last else _SECONDS):
                for placement, record in self._due(shard, last=last):
                    if record.resource in troubled or self._is_kept(record):
                        continue
                    try:
                        await self._keep(placement, record)
                        kept += 1
                    except (SpeechServiceError, SettingsError) as error:
                        log.warning("%s is not kept yet: %s", record.token, error)
                        troubled.add(record.resource)
        except TimeoutError:
            log.warning("%s: no time for more; the next turn goes on keeping results", shard.label)
        except Exception as error:
            # Whatever it is, chunks are submitted all the same, and the service has the results still.
            log.warning(
                "%s: results were not kept, the next turn tries again: %s: %s",
                shard.label,
                type(error).__name__,
                without_secrets(str(error)),
            )
        if kept:
            log.info("%s: the results of %d transcriptions are kept until the merge", shard.label, kept)
        return kept

    def _due(self, shard: Shard, *, last: bool) -> list[tuple[Placement, TranscriptionRecord]]:
        """What ended a share of the time to live ago, is there still by that, and has not been accounted for.

        Where this is the last turn: what will have ended so long ago when the last of the shard should be done.
        """
        seconds, now = self.settings.time_to_live_hours * 3600, self.ledger.clock()
        records = Submissions(self.ledger).of_shard(shard)
        # Where results live for less than twice the deadline, it is the deadline that they must outlive.
        late = max(0.0, self._patience - self._life / 2)
        then = max(now, self._expected_at(self._under_way(shard)) + late) if last else now
        found = [
            (record.ended_at, placement, record)
            for placement in self.ledger.shard_placements(shard)
            if (record := records.get((placement.chunk.chunk_id, placement.attempt))) is not None
            and record.status in _ENDED
            and record.settled_at is None
            and record.ended_at is not None
            and record.ended_at + seconds * _SHARE <= then
            and now < record.ended_at + seconds
        ]
        return [(placement, record) for _, placement, record in sorted(found, key=lambda one: one[0])]

    def _is_kept(self, record: TranscriptionRecord) -> bool:
        return self.store.exists(paths.raw_results(record.chunk_id, record.attempt))

    async def _keep(self, placement: Placement, record: TranscriptionRecord) -> None:
        """Write what the service has of one transcription: its end first, then its results, which say that all is there."""
        assert record.transcription_id is not None
        client = self.services.client(record.resource)
        seen = await client.get(record.transcription_id)
        collector = Collector(client, record.transcription_id, concurrency=self.settings.download_concurrency)
        listing = await collector.listing()
        chunked = read_chunk(self.store, record.chunk_id)
        files = ChunkAccounts(placement, record, chunked, self.accounts, ended_at=record.ended_at)
        with (
            tempfile.TemporaryDirectory(prefix="speech-backfill-keep-") as folder,
            raw_results(
                Path(folder) / "raw.ndjson.zst",
                paths.raw_results(record.chunk_id, record.attempt),
                self.store,
            ) as raw,
        ):
            assert raw is not None
            async with aclosing(read_results(collector, listing.results, record.token)) as results:
                async for read in results:
                    file = files.find(read.source)
                    if file is not None and not isinstance(read.result, InvalidResultFile):
                        write_line(raw, file.file_id, read.fetched.raw)
                    del read  # else it would stay in memory until the next one is there
            self.store.put(paths.kept_end(record.chunk_id, record.attempt), _end(seen, listing))


def kept_end(store: Store, record: TranscriptionRecord) -> tuple[Transcription, Listing] | None:
    """How the transcription of *record* ended, and what its report said, as they were kept; None where they were not."""
    try:
        said = json.loads(store.get(paths.kept_end(record.chunk_id, record.attempt)))
    except FileNotFoundError:
        return None
    report = said["report"]
    details = None if report is None else tuple(ReportDetail(**one) for one in report)
    seen = Transcription(
        transcription_id=record.transcription_id or "",
        url="",
        display_name=record.token,
        status=Status(said["status"]),
        created_at=record.intent_at,
        last_action_at=record.ended_at,
        error_code=said["error_code"],
        error_message=said["error_message"],
    )
    return seen, Listing(details, said["report_problem"], ())


def forget_kept(ledger: Ledger, store: Store, settings: Settings, plan_id: str) -> None:
    """Once *plan_id* is published: remove what was kept for its merge only. A failure is logged and costs some space."""
    if ledger.state(plan_id) is not PlanState.PUBLISHED:
        return
    wanted = ledger.wanted_by_others(plan_id)
    mine = {
        paths.kept_end(one.chunk_id, one.attempt): paths.raw_results(one.chunk_id, one.attempt)
        for one in Submissions(ledger).of_plan(plan_id)
        if one.chunk_id not in wanted
    }
    try:
        # Few are kept, so they are listed once instead of asked for one by one.
        for path in [one.path for one in store.list(paths.KEPT_ENDS) if one.path in mine]:
            if not settings.keep_raw_results:
                store.delete(mine[path])
            store.delete(path)
    except StoreError as error:
        log.warning("%s: what was kept for its merge was not removed: %s", plan_id, error)


def _end(seen: Transcription, listing: Listing) -> bytes:
    said: dict[str, Any] = {
        "status": seen.status,
        "error_code": seen.error_code,
        "error_message": without_secrets(seen.error_message or "") or None,
        "report": None if listing.report is None else [asdict(one) for one in listing.report],
        "report_problem": listing.report_problem,
    }
    return json.dumps(said).encode()
