"""Publish a partition: account for every file, put the parts in their place, commit one small file. All or nothing.

What readers see changes with the single conditional write of the partition file; before it nothing, after it everything.
A crash anywhere leaves the old version readable, and publishing again completes the new one.
"""

from __future__ import annotations

import json
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from speech_backfill import paths
from speech_backfill.errors import StalePlan, StoreConflict, SupersededPlan, UnexplainedFiles
from speech_backfill.ledger.budgets import Budgets
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import PartitionRecord, PlanRecord, PlanState
from speech_backfill.ledger.submissions import Submissions
from speech_backfill.plan.prior import Published, load_prior, published
from speech_backfill.publish import report
from speech_backfill.publish.outcomes import account, write_index, write_outcomes
from speech_backfill.publish.parts import CONTENT_TABLES, Placer, sources
from speech_backfill.reconcile import load_manifest, load_outcomes, rates_of
from speech_backfill.relations import one_row, relations
from speech_backfill.settings import Settings
from speech_backfill.store import Store
from speech_backfill.tables.errors import UnreadablePartitionFile
from speech_backfill.tables.layout import partition_file, table_directory
from speech_backfill.tables.published import PublishedPart, PublishedPartition
from speech_backfill.tables.schema import SCHEMA_VERSION, TABLES

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Publisher:
    """The pieces that publishing needs; `publish` is its verb."""

    ledger: Ledger
    store: Store
    settings: Settings

    def publish(self, plan_id: str) -> report.RunReport:
        """Make the plan's outcomes and parts the visible version of its partition.

        Publishing a plan that is visible already changes nothing and returns its report.
        Raises UnexplainedFiles, SupersededPlan, StalePlan or StoreError; the version before stays visible then.
        """
        while True:
            plan = self.ledger.plan(plan_id)
            before = published(self.store, plan.partition)
            if before.partition is not None and before.partition.plan_id == plan_id:
                return self._again(plan, before)
            if plan.state is PlanState.SUPERSEDED:
                raise SupersededPlan(plan.partition, plan_id)
            summary = json.loads(self.store.get(paths.plan_summary(plan_id)))
            if summary["base_version"] != before.version:
                raise StalePlan(
                    partition=plan.partition,
                    plan_id=plan.plan_id,
                    based_on=summary["base_version"],
                    visible=before.version,
                )
            try:
                with tempfile.TemporaryDirectory(prefix="speech-backfill-publish-") as name:
                    return self._publish(plan, before, Path(name))
            except (FileNotFoundError, UnreadablePartitionFile):
                # Another publisher has committed meanwhile and removed what the version before held: look again.
                if published(self.store, plan.partition).etag == before.etag:
                    raise

    def complete(self, partition: str) -> None:
        """Finish what a crash right after a commit left undone: the ledger's note and the removal of old parts."""
        visible = published(self.store, partition)
        if visible.partition is None or visible.partition.plan_id is None:
            return
        if self.ledger.state(visible.partition.plan_id) in {PlanState.OPEN, PlanState.SUPERSEDED}:
            self._again(self.ledger.plan(visible.partition.plan_id), visible)

    def _publish(self, plan: PlanRecord, before: Published, folder: Path) -> report.RunReport:
        version, now = before.version + 1, self.ledger.clock()
        with relations(folder) as connection:
            load_manifest(connection, self.store, plan.plan_id, folder)
            load_prior(connection, self.store, before, folder)
            unmerged = load_outcomes(connection, self.ledger, self.store, plan.plan_id, folder)
            if unmerged:
                detail = f"not merged: {', '.join(one.label for one in unmerged[:5])}"
                left = sum(one.files for one in unmerged)
                raise UnexplainedFiles(
                    partition=plan.partition, files=plan.files, explained=plan.files - left, detail=detail
                )
            account(connection, plan_id=plan.plan_id, partition=plan.partition)
            placer = Placer(connection, self.store, plan.plan_id, plan.partition, folder)
            tables: dict[str, list[PublishedPart]] = {name: [] for name in TABLES}
            for number, source in enumerate(
                sources(connection, self.ledger, self.store, plan.plan_id, before)
            ):
                for name, part in placer.place(source, number).items():
                    tables[name].append(part)
            written = write_outcomes(connection, folder / "outcomes.parquet")
            if written is not None:
                path = f"{table_directory('outcomes', plan.partition)}{plan.plan_id}.parquet"
                self.store.upload(written.path, path)
                tables["outcomes"].append(PublishedPart(path, written.rows, written.bytes))
            write_index(connection, folder / "index.parquet")
            submissions = Submissions(self.ledger)
            made = report.build(
                connection,
                plan=plan,
                version=version,
                now=now,
                transcriptions=submissions.of_plan(plan.plan_id),
                duplicates=len(submissions.duplicates_of_plan(plan.plan_id)),
                duplicate_ms=submissions.duplicate_ms_of_plan(plan.plan_id),
                tables={name: sum(part.rows for part in parts) for name, parts in tables.items()},
                settings=self.settings,
                store=self.store.url,
                budget=None if plan.budget is None else Budgets(self.ledger).of(plan.budget),
                seconds_per_byte=rates_of(self.store, plan.plan_id),
            )
            first, last = one_row(connection, "SELECT min(audio_url), max(audio_url) FROM final")
        # Before the commit, so that no later plan can see the version without it. Until the ledger names the plan, others
        # read the index before, and the unsettled transcriptions keep the new files from being submitted by them.
        self.store.upload(folder / "index.parquet", paths.index(plan.partition, plan.plan_id))
        self._write_report(made)
        partition = PublishedPartition(
            schema_version=SCHEMA_VERSION,
            partition=plan.partition,
            version=version,
            tables=tables,
            plan_id=plan.plan_id,
        )
        self._commit(plan, partition, before)
        self._record(made, first_url=first or "", last_url=last or "")
        self._remove_superseded(plan, partition)
        return made

    def _commit(self, plan: PlanRecord, partition: PublishedPartition, before: Published) -> None:
        data = msgspec.json.format(msgspec.json.encode(partition), indent=1)
        try:
            self.store.replace(partition_file(plan.partition), data, expected_etag=before.etag)
        except StoreConflict:
            now = published(self.store, plan.partition)
            if now.partition is not None and now.partition.plan_id == plan.plan_id:
                return  # another publisher of the same plan was first: the same truth
            raise StalePlan(
                partition=plan.partition, plan_id=plan.plan_id, based_on=before.version, visible=now.version
            ) from None

    def _again(self, plan: PlanRecord, visible: Published) -> report.RunReport:
        """Complete what a crash after the commit may have left undone, and return the report that was written."""
        assert visible.partition is not None
        made = self._read_report(plan)
        if plan.state is not PlanState.PUBLISHED:
            first, last = self._bounds(visible.partition)
            self._record(made, first_url=first, last_url=last)
        self._remove_superseded(plan, visible.partition)
        return made

    def _bounds(self, partition: PublishedPartition) -> tuple[str, str]:
        with (
            tempfile.TemporaryDirectory(prefix="speech-backfill-publish-") as name,
            relations(Path(name)) as connection,
        ):
            load_prior(connection, self.store, Published(partition, None), Path(name))
            first, last = one_row(connection, "SELECT min(audio_url), max(audio_url) FROM prior")
        return first or "", last or ""

    def _record(self, made: report.RunReport, *, first_url: str, last_url: str) -> None:
        self.ledger.record_published(
            PartitionRecord(
                partition=made.partition,
                version=made.version,
                plan_id=made.plan_id,
                published_at=made.published_at,
                files=made.files,
                transcribed=made.transcribed,
                failed=made.failed,
                missing=made.missing,
                can_retry=made.can_retry,
                first_url=first_url,
                last_url=last_url,
            )
        )

    def _write_report(self, made: report.RunReport) -> None:
        self.store.put(
            paths.report(made.partition, made.plan_id, "json"), json.dumps(made.to_dict(), indent=1).encode()
        )
        self.store.put(paths.report(made.partition, made.plan_id, "md"), made.markdown.encode())

    def _read_report(self, plan: PlanRecord) -> report.RunReport:
        values = json.loads(self.store.get(paths.report(plan.partition, plan.plan_id, "json")))
        reasons = tuple(report.Reason(**one) for one in values.pop("reasons"))
        return report.RunReport(**values, reasons=reasons)

    def _remove_superseded(self, plan: PlanRecord, visible: PublishedPartition) -> None:
        """Remove part files that no version holds any more. Parts of plans still open are left: they may be about to be.

        A publisher that was held up must not remove what a newer version holds: it looks at what there is first, and
        then whether its own version is the visible one still. Nothing that it saw before that can be part of a newer one.
        """
        kept = {part.path for parts in visible.tables.values() for part in parts}
        left = [
            stored.path
            for table in ("outcomes", *CONTENT_TABLES)
            for stored in self.store.list(table_directory(table, plan.partition))
            if stored.path not in kept
            and self._is_over(Path(stored.path).name.split("-", 1)[0].removesuffix(".parquet"))
        ]
        left += [
            stored.path
            for stored in self.store.list(paths.indexes(plan.partition))
            if Path(stored.path).stem != visible.plan_id and self._is_over(Path(stored.path).stem)
        ]
        now = published(self.store, plan.partition).partition
        if now is None or now.plan_id != visible.plan_id:
            return  # whoever published after us removes what is left over
        for path in left:
            self.store.delete(path)

    def _is_over(self, plan_id: str) -> bool:
        """Whether the plan can't publish any more."""
        return self.ledger.state(plan_id) is not PlanState.OPEN
