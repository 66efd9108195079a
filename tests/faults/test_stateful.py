"""Kills and troubles mixed at random over small campaigns, on the in-memory service with a clock that only tests move.

A kill is an exception that nothing in the core catches, thrown at a write of the store, a commit of the ledger or a
request: what a process leaves behind when it dies there, for nothing of it is kept in memory between two steps.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import hypothesis.strategies as st
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from faults.stateful import Killed, KillingStore, Switch
from speech_backfill.errors import SpeechBackfillError
from speech_backfill.store import Store
from tests.speech_backfill.campaign import Absent, Bad, Campaign

ROUNDS = 2
PASSING = ("Timeout", "Transient")


class Backfill(RuleBasedStateMachine):
    """One partition, steps in any order, each of them killed or disturbed at any time."""

    @initialize(files=st.integers(1, 10), per_chunk=st.integers(1, 4), seed=st.integers(0, 2**16))
    def begin(self, files: int, per_chunk: int, seed: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="faults-stateful-"))
        self.switch = Switch()
        self.next_kill: int | None = None
        self.names = [f"call {number:02}.wav" for number in range(files)]
        draw = random.Random(seed)
        self.firsts = {
            name: draw.choice(["fine", "fine", "fine", "never", "once", "lost"]) for name in self.names
        }
        self.heard: Counter[str] = Counter()
        self.campaign = Campaign.make(
            self.folder,
            store=KillingStore.of(Store.open(str(self.folder / "store")), self.switch),
            files_per_transcription=per_chunk,
            repair_rounds=ROUNDS,
            delete_at_service=False,
        )
        self.campaign.says = self.says
        sa.event.listen(self.campaign.pipeline.ledger.engine, "commit", self._commit)
        self._kill_requests()
        self.plan_id: str | None = None
        self.published = False

    def _commit(self, _connection: sa.Connection) -> None:
        self.switch.passed()

    def _kill_requests(self) -> None:
        service = self.campaign.service
        original = service._answer

        def answer(request: httpx.Request) -> httpx.Response:
            self.switch.passed()
            found = original(request)
            self.switch.passed()
            return found

        service._answer = answer  # type: ignore[method-assign]

    def says(self, url: str) -> object:
        name = url.rsplit("/", 1)[1].replace("%20", " ")
        self.heard[name] += 1
        match self.firsts[name]:
            case "never":
                return Bad("InvalidData", "it is no audio")
            case "once" if self.heard[name] == 1:
                return Bad("Transient", "not now")
            case "lost" if self.heard[name] == 1:
                return Absent()
            case _:
                return f"words of {name}"

    # --- what happens -----------------------------------------------------------------------------

    def step(self, body: Callable[[], Any]) -> Any:
        """One step of a process, which may be killed or end with an error of its own."""
        self.switch.left, self.next_kill = self.next_kill, None
        try:
            return body()
        except (Killed, SpeechBackfillError):
            return None
        finally:
            self.switch.off()

    @rule(after=st.integers(1, 40))
    def kill_after(self, after: int) -> None:
        """Whoever acts next is killed at its n-th effect."""
        self.next_kill = after

    @rule(
        operation=st.sampled_from(["submit", "list", "get", "files", "fetch"]),
        trouble=st.sampled_from([500, 503, 429, 408, "timeout", "html"]),
        done=st.booleans(),
    )
    def trouble(self, operation: str, trouble: int | str, done: bool) -> None:
        """The next request of a kind is refused, or carried out and its answer lost."""
        answer: Any
        if trouble == "timeout":
            answer = httpx.ReadTimeout
        elif trouble == "html":
            answer = httpx.Response(200, text="<html>hello</html>")
        else:
            answer = httpx.Response(int(trouble), json={"error": {"code": "x", "message": "y"}})
        if done and trouble == 429:
            return  # a 429 is a certain no
        service = self.campaign.service
        if operation == "fetch" and trouble == "html":
            return  # that is another file's content, and no trouble of the connection
        (service.script_after if done else service.script)(operation, answer)

    @rule(seconds=st.sampled_from([1.0, 30.0]))
    def lists_lag(self, seconds: float) -> None:
        self.campaign.service.list_lag_seconds = seconds

    @rule(ignored=st.booleans())
    def filters(self, ignored: bool) -> None:
        self.campaign.service.ignores_filters = ignored

    @rule(seconds=st.sampled_from([10.0, 200.0, 1000.0]))
    def time_passes(self, seconds: float) -> None:
        self.campaign.clock.now += seconds

    @rule()
    def service_works(self) -> None:
        self.campaign.end_all()

    @rule()
    def plan(self) -> None:
        summary = self.step(lambda: self.campaign.plan(self.names))
        if summary is not None:
            self.plan_id = summary.plan_id

    @rule(round_=st.integers(0, ROUNDS), which=st.integers(0, 3))
    def submit(self, round_: int, which: int) -> None:
        if shard := self.shard(round_, which):
            self.step(lambda: self.campaign.pipeline.submit(shard))

    @rule(round_=st.integers(0, ROUNDS), which=st.integers(0, 3))
    def merge(self, round_: int, which: int) -> None:
        if shard := self.shard(round_, which):
            self.step(lambda: self.campaign.pipeline.merge(shard))

    @rule(round_=st.integers(0, ROUNDS - 1))
    def reconcile(self, round_: int) -> None:
        plan_id = self.plan_id
        if plan_id and self.campaign.pipeline.shards(plan_id, round_):
            self.step(lambda: self.campaign.pipeline.reconcile(plan_id, round_))

    @rule()
    def publish(self) -> None:
        plan_id = self.plan_id
        if plan_id:
            self.step(lambda: self.campaign.pipeline.publish(plan_id))

    def shard(self, round_: int, which: int) -> Any:
        shards = self.campaign.pipeline.shards(self.plan_id, round_) if self.plan_id else []
        return shards[which % len(shards)] if shards else None

    # --- what holds -------------------------------------------------------------------------------

    @invariant()
    def nothing_is_paid_twice(self) -> None:
        if not hasattr(self, "campaign"):
            return
        names = Counter(job.display_name for job in self.campaign.service.jobs.values())
        assert [name for name, count in names.items() if count > 1] == []

    def teardown(self) -> None:
        if not hasattr(self, "campaign"):
            return
        try:
            self.calm_down()
        finally:
            self.campaign.pipeline.ledger.engine.dispose()
            shutil.rmtree(self.folder, ignore_errors=True)

    def calm_down(self) -> None:
        """Everything works again, and the command is typed until it succeeds: then all must be as it should."""
        self.switch.off()
        service = self.campaign.service
        service._before.clear()
        service._after.clear()
        service.list_lag_seconds = 0.0
        self.campaign.clock.now += 5000
        report = self.campaign.run(self.names, repairs=ROUNDS)
        again = self.campaign.run(
            self.names, repairs=ROUNDS
        )  # what a user would type for those that are left
        assert again.files == report.files == len(self.names)
        self.nothing_is_paid_twice()
        outcomes = self.campaign.outcomes()
        assert set(outcomes) == set(self.names)
        expected = {name: "failed" if how == "never" else "transcribed" for name, how in self.firsts.items()}
        assert outcomes == expected
        wanted = {name: f"words of {name}" for name, how in expected.items() if how == "transcribed"}
        assert self.campaign.texts() == wanted
        # A repair for what can be cured, and nothing else: no file is heard more often.
        allowed = {"fine": 1, "never": 1, "once": 2, "lost": 2}
        assert {name: n for name, n in self.heard.items() if n > allowed[self.firsts[name]]} == {}
        known = {one.transcription_id for one in self.records()}
        assert known == set(service.jobs)

    def records(self) -> list[Any]:
        from speech_backfill.ledger import schema

        with self.campaign.pipeline.ledger.engine.begin() as connection:
            return [
                row
                for row in connection.execute(sa.select(schema.transcriptions))
                if row.transcription_id is not None
            ]


TestBackfill = Backfill.TestCase
TestBackfill.settings = settings(
    max_examples=100 if os.environ.get("FAULTS") == "all" else 6,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
