"""Rebuild a ledger that was lost or restored from a backup: from the service's lists, the store's files and its marks.

What it writes is enough that nothing is submitted twice: what is published, which attempts are accounted for, and which
are not and so claim their files. Plans that were not published are not rebuilt; planning again takes their chunks over.
Submits, deletes and publishes nothing.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from speech_backfill import paths
from speech_backfill.chunk_files import read_chunk
from speech_backfill.errors import StoreError
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import (
    ChunkRecord,
    PartitionRecord,
    PlanRecord,
    PlanState,
    TranscriptionRecord,
    TranscriptionState,
)
from speech_backfill.ledger.resources import region_of
from speech_backfill.ledger.restore import restore_chunk, restore_plan
from speech_backfill.ledger.submissions import Submissions
from speech_backfill.marks import read_mark
from speech_backfill.model import Status, TranscriptionOptions, chunk_id, token
from speech_backfill.plan.chunks import chunk_record
from speech_backfill.plan.cut import CutChunk
from speech_backfill.plan.prior import Published, load_prior
from speech_backfill.relations import exactly, one_row, relations
from speech_backfill.services import Services
from speech_backfill.settings import Settings
from speech_backfill.speech.api import Transcription
from speech_backfill.store import Store
from speech_backfill.tables.layout import PARTITION_FILES_PREFIX, partition_of_file
from speech_backfill.tables.published import PublishedPartition, read_partition_file

log = logging.getLogger(__name__)

_TOKEN = re.compile(r"speech-backfill-([0-9a-f]{32})-([0-9]+)")
_MARK = re.compile(r"([0-9a-f]{32})-([0-9]+)\.json")

_ATTEMPTS = """
SELECT chunk_id, attempt, min(resource), min(transcription_id), epoch(max(merged_at))
FROM {} WHERE chunk_id IS NOT NULL AND transcribed_in IS NULL GROUP BY chunk_id, attempt
"""

Key = tuple[str, int]
"""A chunk and an attempt at it."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What the ledger holds now that it did not before, by number."""

    partitions: int
    transcriptions: int
    """Added, or put right."""
    under_way: int
    """Of all found: submitted, and not accounted for in a published partition yet."""
    duplicates: int
    unknown: tuple[str, ...]
    """Tokens that the service or the store has, and whose chunk or options the store does not have."""

    @property
    def text(self) -> str:
        """A few lines for a person."""
        lines = [
            f"{self.partitions:,} published partitions, {self.transcriptions:,} transcriptions added to the ledger.",
            f"{self.under_way:,} transcriptions are not accounted for in a published partition yet.",
            "Run their partitions again: their results are fetched, not paid for again.",
        ]
        if self.duplicates:
            lines.append(f"{self.duplicates:,} chunks were found submitted twice.")
        if self.unknown:
            lines.append(
                f"{len(self.unknown):,} transcriptions are of another store, or of files that this one has lost; "
                f"the first: {', '.join(self.unknown[:3])}."
            )
        return "\n".join(lines)


@dataclass(slots=True)
class _Found:
    """What was found so far."""

    attempts: dict[Key, TranscriptionRecord] = field(default_factory=dict)
    partition_of: dict[str, str] = field(default_factory=dict)
    duplicates: list[tuple[Key, str, Transcription]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Rebuilder:
    """The pieces that rebuilding needs; `rebuild` is its verb."""

    ledger: Ledger
    store: Store
    services: Services
    settings: Settings

    async def rebuild(self) -> Rebuilt:
        """Add to the ledger what is missing. Raises errors of the service and the store: half a look is no look."""
        found = _Found()
        plans = self._plans()
        visible = self._published(found, plans)
        self._merged(found, plans, visible)
        await self._at_the_service(found)
        self._marked(found)
        self._settle_earlier(found)
        added, unknown = self._write(found, plans)
        submissions = Submissions(self.ledger)
        for key, resource, second in found.duplicates:
            submissions.record_duplicate(found.attempts[key], second.transcription_id, resource=resource)
        under_way = [
            one for one in found.attempts.values() if one.settled_at is None and one.token not in unknown
        ]
        return Rebuilt(len(visible), added, len(under_way), len(found.duplicates), tuple(sorted(unknown)))

    # --- looking ----------------------------------------------------------------------------------

    def _plans(self) -> dict[str, dict[str, Any]]:
        """What plan.json says, by plan."""
        return {
            one.path.split("/")[1]: json.loads(self.store.get(one.path))
            for one in self.store.list("plans/")
            if one.path.endswith("/plan.json")
        }

    def _published(self, found: _Found, plans: dict[str, dict[str, Any]]) -> dict[str, PublishedPartition]:
        """Note what is published; returns the visible version of each partition."""
        visible = {}
        for one in self.store.list(PARTITION_FILES_PREFIX):
            if partition_of_file(one.path) is None:
                continue  # a lock that stands in for conditional writes in a local folder, say
            partition = read_partition_file(one.path, self.store.get(one.path))
            visible[partition.partition] = partition
            with (
                tempfile.TemporaryDirectory(prefix="speech-backfill-rebuild-") as name,
                relations(Path(name)) as connection,
            ):
                load_prior(connection, self.store, Published(partition, None), Path(name))
                rows = connection.execute(_ATTEMPTS.format("prior")).fetchall()
                counts = one_row(
                    connection,
                    """SELECT count(*), count(*) FILTER (WHERE outcome = 'transcribed'), count(*) FILTER (WHERE outcome = 'failed'),
                              count(*) FILTER (WHERE outcome = 'missing'), count(*) FILTER (WHERE can_retry),
                              coalesce(min(audio_url), ''), coalesce(max(audio_url), '') FROM prior""",
                )
            for row in rows:
                self._note(found, row, plan_id=partition.plan_id or "", settled=True)
                found.partition_of[row[0]] = partition.partition
            self._record_published(partition, plans.get(partition.plan_id or "", {}), counts)
        return visible

    def _record_published(
        self, partition: PublishedPartition, plan: dict[str, Any], counts: tuple[Any, ...]
    ) -> None:
        if partition.plan_id is None:
            return
        report = self._report(partition.partition, partition.plan_id)
        published_at = float(report.get("published_at", self.ledger.clock()))
        budget = plan.get("budget_hours")
        name = str(plan.get("budget_name") or "") or (partition.partition if budget is not None else "")
        restore_plan(
            self.ledger,
            PlanRecord(
                plan_id=partition.plan_id,
                partition=partition.partition,
                run_key=str(plan.get("run_key", "")),
                state=PlanState.PUBLISHED,
                created_at=published_at - float(report.get("seconds", 0.0)),
                files=int(counts[0]),
                budget_ms=None if budget is None else int(budget * 3_600_000),
                reprocess=bool(plan.get("reprocess", False)),
                budget=name or None,
            ),
        )
        self.ledger.record_published(
            PartitionRecord(partition.partition, partition.version, partition.plan_id, published_at, *counts)
        )

    def _report(self, partition: str, plan_id: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self.store.get(paths.report(partition, plan_id, "json")))
        except FileNotFoundError:
            return {}
        return found

    def _merged(
        self,
        found: _Found,
        plans: dict[str, dict[str, Any]],
        visible: dict[str, PublishedPartition],
    ) -> None:
        """Note what was merged and is not in a visible version: by plans under way, or replaced since."""
        for one in self.store.list("work/"):
            if not one.path.endswith("/merged.json"):
                continue
            plan_id = one.path.split("/")[1]
            outcomes = json.loads(self.store.get(one.path))["parts"].get("outcomes")
            if outcomes is None:
                continue
            partition = str(plans.get(plan_id, {}).get("partition", ""))
            settled = self._was_published(plan_id, partition, visible)
            with (
                tempfile.TemporaryDirectory(prefix="speech-backfill-rebuild-") as name,
                relations(Path(name)) as connection,
            ):
                local = Path(name) / "outcomes.parquet"
                self.store.download(outcomes["path"], local)
                rows = connection.execute(
                    _ATTEMPTS.format("read_parquet(?, hive_partitioning = false)"), [[exactly(local)]]
                ).fetchall()
            for row in rows:
                self._note(found, row, plan_id=plan_id, settled=settled)
                found.partition_of.setdefault(row[0], partition)

    def _was_published(self, plan_id: str, partition: str, visible: dict[str, PublishedPartition]) -> bool:
        now = visible.get(partition)
        if now is None:
            return False
        version = self._report(partition, plan_id).get("version")
        return now.plan_id == plan_id or (version is not None and int(version) < now.version)

    def _note(self, found: _Found, row: tuple[Any, ...], *, plan_id: str, settled: bool) -> None:
        """An attempt whose outcomes stand in the store: *row* is one of _ATTEMPTS."""
        chunk, attempt, resource, transcription_id, ended_at = row
        if (chunk, attempt) in found.attempts:
            return
        now = self.ledger.clock()
        found.attempts[chunk, attempt] = replace(
            self._record(chunk, attempt, plan_id=plan_id, resource=resource or "", at=ended_at or now),
            transcription_id=transcription_id,
            state=TranscriptionState.ENDED,
            status=Status.SUCCEEDED,
            ended_at=ended_at,
            settled_at=now if settled else None,
        )

    async def _at_the_service(self, found: _Found) -> None:
        """Note what every resource lists under our tokens; of two under one token the earlier, unless the other is in the tables."""
        listed: list[tuple[str, Transcription]] = [
            (resource, seen)
            for resource in self.services.names
            async for seen in self.services.client(resource).list()
        ]
        for resource, seen in sorted(listed, key=lambda one: (one[1].created_at, one[1].transcription_id)):
            match = _TOKEN.fullmatch(seen.display_name)
            if match is None:
                continue
            key = (match[1], int(match[2]))
            known = found.attempts.get(key)
            if known is not None and known.transcription_id not in {None, seen.transcription_id}:
                found.duplicates.append((key, resource, seen))
                continue
            found.partition_of.setdefault(key[0], seen.custom_properties.get("partition", ""))
            ended = seen.status.ended
            found.attempts[key] = replace(
                known or self._record(*key, plan_id="", resource=resource, at=seen.created_at),
                resource=resource,
                endpoint=self.services.resources[resource].endpoint,
                transcription_id=seen.transcription_id,
                state=TranscriptionState.ENDED if ended else TranscriptionState.SUBMITTED,
                status=seen.status,
                ended_at=seen.last_action_at if ended else None,
                billed_ms=seen.duration_ms,
                expected_seconds=None if ended else self._queue_seconds(resource),
            )

    def _queue_seconds(self, resource: str) -> float:
        """What the region of *resource* may need for full windows of the largest chunks, at half the assumed speed.

        What stood before a transcription when it was submitted is not known any more.
        """
        known = self.services.resources
        region = region_of(resource, known[resource].region)
        windows = sum(one.window for one in known.values() if region_of(one.name, one.region) == region)
        return windows * self.settings.hours_per_transcription / self.settings.audio_speed * 2 * 3600

    def _marked(self, found: _Found) -> None:
        """Note submissions that were marked and that nobody else knows of: they are looked for before anything is submitted."""
        now = self.ledger.clock()
        settings = self.settings
        life = (
            max(map(self._queue_seconds, self.services.names), default=0.0)
            + (settings.deadline_hours + settings.time_to_live_hours) * 3600
        )
        for one in self.store.list("submissions/"):
            match = _MARK.fullmatch(one.path.rpartition("/")[2])
            if match is None or (match[1], int(match[2])) in found.attempts:
                continue
            mark = read_mark(one.path, self.store.get(one.path))
            if mark.at + life < now:
                continue  # whatever became of it, the service has it no more
            record = self._record(
                match[1], int(match[2]), plan_id="", resource=mark.resource, at=mark.intent_at
            )
            found.attempts[match[1], int(match[2])] = replace(
                record,
                state=TranscriptionState.INTENDED,
                submitted_at=None,
                status=None,
                adopted=False,
                last_post_at=mark.at + self.settings.lease_seconds,
                posts=mark.posts,
            )

    def _settle_earlier(self, found: _Found) -> None:
        """An attempt was only ever followed by another when it was accounted for."""
        last: dict[str, int] = {}
        for chunk, attempt in found.attempts:
            last[chunk] = max(attempt, last.get(chunk, 0))
        for (chunk, attempt), record in found.attempts.items():
            if attempt < last[chunk] and record.settled_at is None:
                found.attempts[chunk, attempt] = replace(record, settled_at=self.ledger.clock())

    # --- writing ----------------------------------------------------------------------------------

    def _record(
        self, chunk: str, attempt: int, *, plan_id: str, resource: str, at: float
    ) -> TranscriptionRecord:
        """A transcription as far as its token tells."""
        return TranscriptionRecord(
            chunk_id=chunk,
            attempt=attempt,
            token=token(chunk, attempt),
            plan_id=plan_id,
            resource=resource,
            state=TranscriptionState.SUBMITTED,
            audio_ms=0,
            lease_owner=None,
            lease_until=0.0,
            intent_at=at,
            last_post_at=at,
            posts=1,
            submitted_at=at,
            adopted=True,
            transcription_id=None,
            status=Status.NOT_STARTED,
            ended_at=None,
            billed_ms=None,
            settled_at=None,
            problem=None,
        )

    def _write(self, found: _Found, plans: dict[str, dict[str, Any]]) -> tuple[int, set[str]]:
        """Returns how many rows were added, and the tokens of what can't be."""
        options = self._options()
        salts = ["", *sorted({str(one["run_key"]) for one in plans.values() if one.get("reprocess")})]
        by_chunk: dict[str, list[TranscriptionRecord]] = {}
        for record in found.attempts.values():
            by_chunk.setdefault(record.chunk_id, []).append(record)
        added = 0
        unknown: set[str] = set()
        for chunk, records in sorted(by_chunk.items()):
            made = self._chunk(chunk, found.partition_of.get(chunk, ""), options, salts)
            if made is None:
                unknown.update(one.token for one in records)
                continue
            rows = [replace(one, audio_ms=made.audio_ms) for one in records]
            added += restore_chunk(self.ledger, made, sorted(rows, key=lambda one: one.attempt))
        return added, unknown

    def _options(self) -> dict[str, TranscriptionOptions]:
        read = [
            TranscriptionOptions.from_json(self.store.get(one.path).decode())
            for one in self.store.list("options/")
        ]
        return {one.options_id: one for one in [*read, TranscriptionOptions(locale=self.settings.locale)]}

    def _chunk(
        self, chunk: str, partition: str, options: dict[str, TranscriptionOptions], salts: list[str]
    ) -> ChunkRecord | None:
        """The chunk from its files in the store; its options are those from which its id follows."""
        try:
            files = read_chunk(self.store, chunk)
        except StoreError as error:
            log.warning("chunk %s: %s", chunk, error)
            return None
        ids = [one.file_id for one in files]
        tags = {"", self.settings.residency, *(one.residency for one in self.services.resources.values())}
        for salt, residency in product(salts, sorted(tags)):
            for options_id, one in options.items():
                if chunk_id(ids, options_id=options_id, salt=salt, residency=residency) == chunk:
                    cut = CutChunk(chunk, options_id, tuple(files), residency)
                    return chunk_record(cut, partition=partition, options=one, settings=self.settings)
        log.warning("chunk %s: none of the options in the store made it", chunk)
        return None
