"""The steps of a run as one object, each one call: what Airflow's tasks and the command line both use.

    plan → [ submit → wait → merge ] for each shard → reconcile → [ … ] repair → publish

Every step may be run twice, at any time, anywhere: state is in the ledger and the store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from speech_backfill.accounts import StorageAccounts
from speech_backfill.cleanup import delete_at_service, note_duplicates
from speech_backfill.duplicates import find_duplicates
from speech_backfill.keep import Keeper, forget_kept
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import PlanState
from speech_backfill.ledger.resources import Resources
from speech_backfill.merge import Merger, ShardMerged
from speech_backfill.model import Clock, Shard
from speech_backfill.plan.planner import Planner
from speech_backfill.plan.request import PlanRequest, PlanSummary
from speech_backfill.post import Poster
from speech_backfill.publish.publisher import Publisher
from speech_backfill.publish.report import RunReport
from speech_backfill.rebuild import Rebuilder, Rebuilt
from speech_backfill.reconcile import Reconciler
from speech_backfill.services import OpenClient, Services
from speech_backfill.settings import Settings
from speech_backfill.speech.resource import SpeechResource
from speech_backfill.store import Store
from speech_backfill.submit import NotYet, Submitted, Submitter


@dataclass(frozen=True, slots=True)
class Pipeline:
    """An installation: its settings, ledger, store, storage accounts and Speech resources."""

    settings: Settings
    ledger: Ledger
    store: Store
    accounts: StorageAccounts
    resources: tuple[SpeechResource, ...]
    open_client: OpenClient | None = field(default=None, repr=False)
    """For tests that bring their own transport."""

    @classmethod
    def open(
        cls,
        settings: Settings,
        *,
        ledger_url: str,
        accounts: StorageAccounts,
        resources: Iterable[SpeechResource],
        clock: Clock = time.time,
    ) -> Pipeline:
        """Open ledger and store. Raises SettingsError, LedgerUnavailable."""
        return cls(
            settings=settings,
            ledger=Ledger.open(ledger_url, clock),
            store=Store.open(settings.require_store(), accounts),
            accounts=accounts,
            resources=tuple(resources),
        )

    def services(self) -> Services:
        """Clients of the resources, for one step."""
        return Services(
            self.resources,
            clock=self.ledger.clock,
            open_client=self.open_client,
            allowance=Resources(self.ledger),
        )

    def plan(self, request: PlanRequest) -> PlanSummary:
        """Plan a partition; pays for nothing."""
        if not request.dry_run:
            Publisher(self.ledger, self.store, self.settings).complete(request.partition)
        return Planner(self.ledger, self.store, self.accounts, self.settings, self.resources).plan(request)

    def shards(self, plan_id: str, round_: int = 0) -> list[Shard]:
        """The shards of a round, for mapping."""
        return self.ledger.shards(plan_id, round_)

    def submit(self, shard: Shard) -> Submitted | NotYet:
        """Submit what is not submitted yet of *shard*, and keep what has ended too long ago to wait for its merge.

        Where its last transcription is expected so late that others of it would not live until the merge, there is another
        turn, and another, to keep them.
        """

        async def run() -> Submitted | NotYet:
            async with self.services() as services:
                poster = Poster(self.ledger, self.store, self.accounts, services, self.settings)
                answer = await Submitter(poster).submit_shard(shard)
                keeper = Keeper(self.ledger, self.store, self.accounts, services, self.settings)
                if isinstance(answer, Submitted) and (held := await keeper.hold(shard)) is not None:
                    answer = NotYet(held.until, held.reason, held.waiting_for, len(held.waiting_for))
                await keeper.keep_shard(shard, last=isinstance(answer, Submitted))
                return answer

        return asyncio.run(run())

    def merge(self, shard: Shard) -> ShardMerged:
        """Merge what the service made of *shard*."""

        async def run() -> ShardMerged:
            async with self.services() as services:
                return await Merger(
                    self.ledger, self.store, self.accounts, services, self.settings
                ).merge_shard(shard)

        return asyncio.run(run())

    def reconcile(self, plan_id: str, round_: int = 0) -> list[Shard]:
        """Account for a round and return the shards of its repair."""
        return Reconciler(self.ledger, self.store, self.settings).reconcile(plan_id, round_)

    def rebuild_ledger(self) -> Rebuilt:
        """Add to the ledger what the service and the store know and it does not; pays for nothing."""

        async def run() -> Rebuilt:
            async with self.services() as services:
                return await Rebuilder(self.ledger, self.store, services, self.settings).rebuild()

        return asyncio.run(run())

    def publish(self, plan_id: str) -> RunReport:
        """Make the partition visible, then clean up at the service."""

        async def look() -> None:
            async with self.services() as services:
                await find_duplicates(
                    self.ledger, services, plan_id, skew_seconds=self.settings.lookup_skew_seconds
                )
                await note_duplicates(self.ledger, services, plan_id)

        if self.ledger.state(plan_id) is PlanState.OPEN:
            asyncio.run(look())
        report = Publisher(self.ledger, self.store, self.settings).publish(plan_id)
        forget_kept(self.ledger, self.store, self.settings, plan_id)
        if self.settings.delete_at_service:

            async def clean() -> int:
                async with self.services() as services:
                    return await delete_at_service(self.ledger, self.store, services, plan_id)

            asyncio.run(clean())
        return report
