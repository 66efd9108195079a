"""Plan a partition: source → frozen manifest → chunks → shards, in the ledger and the store. Pays for nothing.

Planning twice gives the same plan; planning while an earlier plan's transcriptions are under way takes their chunks
over as they are, so no file is cut into a second chunk while the first may still be billed.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

import duckdb
import pyarrow as pa

from speech_backfill import paths
from speech_backfill.accounts import StorageAccounts
from speech_backfill.errors import EmptyManifest, ManifestError, SettingsError, StoreError
from speech_backfill.ledger.budgets import Budgets
from speech_backfill.ledger.ledger import Claims, Ledger, NewPlacement, PlansChanged
from speech_backfill.ledger.records import ChunkRecord, PlanRecord, PlanState
from speech_backfill.ledger.resources import Resources
from speech_backfill.ledger.unsubmitted import unsubmitted_ms
from speech_backfill.manifest.lookup import look_up
from speech_backfill.manifest.source import read_source
from speech_backfill.model import TranscriptionOptions
from speech_backfill.plan import dispositions, frozen
from speech_backfill.plan.chunks import Chunking
from speech_backfill.plan.cut import shards_of
from speech_backfill.plan.estimate import estimate_audio
from speech_backfill.plan.forecast import RegionForecast, forecast, regions_of
from speech_backfill.plan.headers import HeaderReader
from speech_backfill.plan.lines import write_lines
from speech_backfill.plan.prior import Published, load_elsewhere, load_planned, load_prior, published
from speech_backfill.plan.request import PlanRequest, PlanSummary
from speech_backfill.relations import one_row, parquet, relations
from speech_backfill.settings import Settings
from speech_backfill.speech.resource import SpeechResource
from speech_backfill.store import Store
from speech_backfill.tables.columns import texts
from speech_backfill.tables.layout import quoted

log = logging.getLogger(__name__)

_MEMORY_LIMIT = "128MB"
"""DuckDB's. A plan reads and writes Parquet and cuts chunks beside it, and all of that is to stay within 512 MB."""

TASKS_A_SHARD = 3
OTHER_TASKS = 6
"""plan, reconcile, publish and the three of the repair, which Airflow counts once even where there is none."""


@dataclass(frozen=True, slots=True)
class Planner:
    """The pieces that planning needs; `plan` is its only verb."""

    ledger: Ledger
    store: Store
    accounts: StorageAccounts
    settings: Settings
    resources: Sequence[SpeechResource] = ()

    def plan(self, request: PlanRequest) -> PlanSummary:
        """Plan what *request* asks. Raises ManifestError, OptionsError or SettingsError with nothing planned."""
        quoted(request.partition)  # refuses keys that can't name a directory
        self._check_budget(request)
        headers = HeaderReader(self.accounts)
        while True:
            with tempfile.TemporaryDirectory(prefix="speech-backfill-plan-") as folder:
                try:
                    return self._plan(request, Path(folder), headers)
                except PlansChanged:
                    # Others have planned, submitted or published some of these files meanwhile: look again.
                    continue

    def _check_budget(self, request: PlanRequest) -> None:
        """A name that nobody has given a limit is a slip of the pen: it must not mean that there is none."""
        name = request.budget_name
        if not name or request.budget_hours is not None or Budgets(self.ledger).of(name) is not None:
            return
        known = ", ".join(one.name for one in Budgets(self.ledger).all())
        raise SettingsError(
            "budget",
            f"{name!r} has no limit yet (budgets there are: {known or 'none'})",
            "Name one of those, give a limit along with the name, or set it first with the command `budget`.",
        )

    def _plan(self, request: PlanRequest, folder: Path, headers: HeaderReader) -> PlanSummary:
        # Claims first: what is settled and published after this look is missed by it, and so refuses the commit.
        claims = self.ledger.claims(
            request.partition, only_run_key=request.run_key if request.reprocess else None
        )
        before = published(self.store, request.partition)
        with relations(folder, memory_limit=_MEMORY_LIMIT) as connection:
            load_prior(connection, self.store, before, folder)
            self._load_own(connection, request)
            decided = self._decide(request, connection, folder, before)
            decided_file = folder / "decided.parquet"
            digest = frozen.write_manifest(connection, decided.lines, decided_file)
            audio = estimate_audio(connection, headers.durations, self.settings)
            frozen.note_durations(connection, decided_file, folder / "manifest.parquet", audio.durations)
            salt = request.run_key if request.reprocess else ""
            plan_id = blake2b(
                "\n".join([request.partition, request.run_key, digest, str(before.version), salt]).encode(),
                digest_size=12,
            ).hexdigest()
            bounds = _bounds(connection)
            chunking = Chunking(
                ledger=self.ledger,
                store=self.store,
                settings=self.settings,
                partition=request.partition,
                options=decided.options,
                salt=salt,
                seconds_per_byte=audio.seconds_per_byte,
                headers_read=audio.durations.keys(),
                dry_run=request.dry_run,
            )
            claimed = [] if bounds is None else claims.within(*bounds)
            chunks, under_way = chunking.chunks(connection, claimed)
            counted = _count(connection)
        reserved_ms = sum(one.audio_ms for one, _ in chunks)
        claimed_ids = {one.chunk_id for one in claimed}
        to_pay = [one for one, _ in chunks if one.chunk_id not in claimed_ids]
        # What is reserved is on the long side; what is to be paid, and worked on, is the same share of the estimate.
        hours_to_pay = audio.hours * sum(one.audio_ms for one in to_pay) / reserved_ms if reserved_ms else 0.0
        attempts = self.ledger.next_attempts(one.chunk_id for one, _ in chunks)
        total = len(chunks)
        shard = shards_of([one.audio_ms for one, _ in chunks], max_shards=self.settings.max_shards)
        placements = [
            NewPlacement(
                chunk,
                shard=shard[number],
                ordinal=number,
                attempt=attempts[chunk.chunk_id],
                away_from=away_from,
            )
            for number, (chunk, away_from) in enumerate(chunks)
        ]
        shards = min(total, self.settings.max_shards)
        summary = PlanSummary(
            plan_id=plan_id,
            partition=request.partition,
            run_key=request.run_key,
            source=request.source.split("?", 1)[0],
            base_version=before.version,
            files=sum(counted.values()),
            duplicates=decided.duplicates,
            to_submit=counted.get(dispositions.SUBMIT, 0),
            under_way=under_way,
            carried=counted.get(dispositions.CARRIED, 0),
            elsewhere=counted.get(dispositions.ELSEWHERE, 0),
            refused=counted.get(dispositions.REFUSED, 0),
            chunks=total,
            shards=shards,
            audio_hours=audio.hours,
            audio_hours_estimated=audio.sampled + audio.guessed > 0,
            audio_hours_under_way=audio.hours - hours_to_pay,
            price=hours_to_pay * self.settings.price_per_audio_hour,
            task_instances=shards * TASKS_A_SHARD + OTHER_TASKS,
            dry_run=request.dry_run,
            audio_hours_error=audio.error_hours,
            audio_hours_guessed=audio.guessed_hours,
            durations_in_manifest=audio.known,
            headers_asked=audio.asked,
            headers_read=audio.read,
            durations_sampled=audio.sampled,
            durations_guessed=audio.guessed,
            seconds_per_byte=dict(audio.seconds_per_byte),
            price_per_audio_hour=self.settings.price_per_audio_hour,
            regions=self._forecast(request.partition, to_pay, hours_to_pay),
            stored_at=paths.estimate(request.partition, request.run_key)
            if request.dry_run
            else paths.plan_summary(plan_id),
        )
        if request.dry_run:
            return self._keep_estimate(request, summary)
        self._commit(request, summary, placements, folder, claims=claims, bounds=bounds)
        return summary

    def _keep_estimate(self, request: PlanRequest, summary: PlanSummary) -> PlanSummary:
        """Store what a dry run has found, in place of what the last one of the same run key did; returns it as it stands."""
        try:
            self.store.put(summary.stored_at, _as_json(request, summary))
        except StoreError as error:
            # Who may only read, or has no store yet, is told the estimate all the same: nothing follows from its being stored.
            log.warning("The estimate is not stored: %s", error)
            return replace(summary, stored_at="")
        return summary

    def _forecast(
        self, partition: str, chunks: Sequence[ChunkRecord], audio_hours: float
    ) -> tuple[RegionForecast, ...]:
        """Where the *chunks*, which hold *audio_hours*, will go, and when. Raises SettingsError where one may go nowhere."""
        if not self.resources:
            return ()
        reserved: defaultdict[str, float] = defaultdict(float)
        for one in chunks:
            reserved[one.residency] += one.audio_ms
        total = sum(reserved.values()) or 1.0
        hours = {residency: audio_hours * share / total for residency, share in reserved.items()}
        backlogs = Resources(self.ledger).backlogs(
            assumed_speed=self.settings.audio_speed,
            by_region=regions_of(self.resources),
            linger_seconds=self.settings.linger_seconds,
        )
        # Only the own chunks are left out: of those that another plan has and this one takes over, that one pays, so they stand
        # in no hours of this plan's, and are worked on before it like those with the service already.
        others = unsubmitted_ms(self.ledger, beside=partition, but={one.chunk_id for one in chunks})
        return forecast(
            self.resources,
            backlogs,
            hours,
            others_hours={residency: ms / 3_600_000 for residency, ms in others.items()},
        )

    def _load_own(self, connection: duckdb.DuckDBPyConnection, request: PlanRequest) -> None:
        """Make the table `own`: chunks that this very reprocessing run has paid for before, and must not pay for again."""
        paid = self.ledger.reprocessed_chunks(request.partition, request.run_key) if request.reprocess else []
        connection.execute("CREATE TABLE own (chunk_id VARCHAR)")
        connection.register("paid", pa.table({"chunk_id": texts(paid)}))
        connection.execute("INSERT INTO own SELECT chunk_id FROM paid")
        connection.unregister("paid")

    def _decide(
        self, request: PlanRequest, connection: duckdb.DuckDBPyConnection, folder: Path, before: Published
    ) -> _Decided:
        """Decide about every file of the source, or of what is published, for `frozen.write_manifest` to write."""
        if request.only_failed:
            if before.partition is None:
                raise EmptyManifest(
                    f"partition {request.partition}",
                    "nothing of it is published, so nothing of it has failed",
                )
            residency = request.residency or self.settings.residency
            self._load_residencies(connection, request.partition, residency)
            load_planned(connection, self.store, before, folder)
            dispositions.decide_only_failed(connection, reprocess=request.reprocess, residency=residency)
            return _Decided(self._published_options(connection, request), None, 0)
        if not request.source:
            raise ManifestError(
                "No source was given: name a manifest or a container prefix. Nothing was planned."
            )
        local = folder / "lines.parquet"
        lines = read_source(
            request.source,
            accounts=self.accounts,
            defaults=request.options,
            uri_column=request.uri_column,
            include_globs=request.include_globs,
            exclude_globs=request.exclude_globs,
        )
        options = write_lines(
            look_up(lines, accounts=self.accounts, max_file_bytes=self.settings.max_file_bytes),
            local,
            residency=request.residency or self.settings.residency,
        )
        connection.execute(
            f"CREATE VIEW lines AS SELECT * FROM read_parquet({parquet(local)}, hive_partitioning = false)"  # noqa: S608  our own path
        )
        first, last = one_row(connection, "SELECT min(audio_url), max(audio_url) FROM lines")
        load_elsewhere(
            connection,
            self.store,
            self.ledger,
            request.partition,
            folder,
            first_url=first or "",
            last_url=last or "",
        )
        duplicates = dispositions.decide(connection, reprocess=request.reprocess)
        self._carry_prior_options(options, request)
        return _Decided(options, local, duplicates)

    def _load_residencies(
        self, connection: duckdb.DuckDBPyConnection, partition: str, residency: str
    ) -> None:
        """Make the table `residencies`: where the chunks of files that are not transcribed were allowed to go.

        Raises ManifestError where the ledger does not know one, *residency* does not say it, and some resources are for files of a
        residency only: then any other might be the wrong one.
        """
        rows = connection.execute(
            "SELECT DISTINCT chunk_id FROM prior WHERE chunk_id IS NOT NULL AND outcome <> 'transcribed'"
        ).fetchall()
        known = self.ledger.residencies_of_chunks([chunk_id for (chunk_id,) in rows])
        unknown = min((chunk_id for (chunk_id,) in rows if chunk_id not in known), default=None)
        if unknown is not None and not residency and any(one.residency for one in self.resources):
            raise ManifestError(
                f"Partition {partition}: the ledger does not know chunk {unknown}, and so not where its files may go. Nothing was "
                "planned. Give the residency, run the command `rebuild-ledger`, or plan the partition from its source instead."
            )
        found = pa.table(
            {
                "chunk_id": texts(list(known)),
                "residency": texts(list(known.values())),
            }
        )
        connection.register("found_residencies", found)
        connection.execute("CREATE TABLE residencies AS SELECT * FROM found_residencies")
        connection.unregister("found_residencies")

    def _published_options(
        self, connection: duckdb.DuckDBPyConnection, request: PlanRequest
    ) -> dict[str, TranscriptionOptions]:
        """The options of files that are not transcribed, found again through the chunks they were submitted in."""
        options = {request.options.options_id: request.options}
        rows = connection.execute(
            "SELECT DISTINCT options_id, chunk_id FROM prior WHERE chunk_id IS NOT NULL AND outcome <> 'transcribed'"
        ).fetchall()
        wanted = {options_id: chunk_id for options_id, chunk_id in rows if options_id not in options}
        known = self.ledger.options_of_chunks(list(wanted.values()))
        unknown = sorted(set(wanted.values()) - known.keys())
        if unknown:
            raise ManifestError(
                f"Partition {request.partition}: the ledger does not know chunk {unknown[0]}, and so not the options that "
                "its files were submitted with. Nothing was planned. Plan the partition from its source instead."
            )
        return options | {
            options_id: known[chunk_id] for options_id, chunk_id in wanted.items() if chunk_id in known
        }

    def _carry_prior_options(self, options: dict[str, TranscriptionOptions], request: PlanRequest) -> None:
        options.setdefault(request.options.options_id, request.options)

    def _commit(
        self,
        request: PlanRequest,
        summary: PlanSummary,
        placements: list[NewPlacement],
        folder: Path,
        *,
        claims: Claims,
        bounds: tuple[str, str] | None,
    ) -> None:
        if not self.store.exists(
            paths.plan_summary(summary.plan_id)
        ):  # a manifest never changes once written
            self.store.upload(folder / "manifest.parquet", paths.manifest(summary.plan_id))
            self.store.put(paths.plan_summary(summary.plan_id), _as_json(request, summary))
        for one in {placed.chunk.options for placed in placements}:
            self.store.create(paths.options(one.options_id), one.to_json().encode())
        budget_ms = None if request.budget_hours is None else int(request.budget_hours * 3_600_000)
        budget = request.budget_name or None
        if budget is None and budget_ms is None and request.only_failed:
            # A repair must not submit what a budget has held back, nor spend more than it allows, because nobody named it again.
            budget = Budgets(self.ledger).of_published(request.partition)
        if budget is None and budget_ms is not None:
            # Who asks to pay again does not want what was paid before to count.
            budget = f"{request.partition} / {request.run_key}" if request.reprocess else request.partition
        record = PlanRecord(
            plan_id=summary.plan_id,
            partition=request.partition,
            run_key=request.run_key,
            state=PlanState.OPEN,
            created_at=self.ledger.clock(),
            files=summary.files,
            budget_ms=budget_ms,
            reprocess=request.reprocess,
            budget=budget,
        )
        self.ledger.commit_plan(record, placements, claims=claims, bounds=bounds)


@dataclass(frozen=True, slots=True)
class _Decided:
    options: dict[str, TranscriptionOptions]
    """By id."""
    lines: Path | None
    """The source's lines; None where only what is published was decided about."""
    duplicates: int


def _as_json(request: PlanRequest, summary: PlanSummary) -> bytes:
    """What the store keeps: the *summary*, and what of the *request* it does not say."""
    kept = summary.to_dict() | {
        "reprocess": request.reprocess,
        "budget_hours": request.budget_hours,
        "budget_name": request.budget_name,
    }
    return json.dumps(kept, indent=1).encode()


def _bounds(connection: duckdb.DuckDBPyConnection) -> tuple[str, str] | None:
    """The smallest and the largest URL to submit; None where there is none."""
    first, last = one_row(
        connection, "SELECT min(audio_url), max(audio_url) FROM manifest WHERE disposition = 'submit'"
    )
    return None if first is None else (first, last)


def _count(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """How many files have each disposition."""
    return dict(connection.execute("SELECT disposition, count(*) FROM manifest GROUP BY 1").fetchall())
