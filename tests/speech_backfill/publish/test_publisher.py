"""Publishing: all or nothing under a crash at any write, under two publishers, under a plan that is stale."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from speech_backfill import paths
from speech_backfill.errors import StoreError, SupersededPlan, UnexplainedFiles
from speech_backfill.ledger.records import PlanState
from speech_backfill.publish.publisher import Publisher, StalePlan
from speech_backfill.store import Store, Stored
from speech_backfill.tables.layout import partition_file
from speech_backfill.tables.read import read_table
from tests.speech_backfill.campaign import Bad, Campaign

NAMES = [f"call {n:02}.wav" for n in range(8)]


class Crash(BaseException):
    """The process is gone: nothing may catch this."""


@dataclass
class CrashingStore:
    """A store whose process dies before its n-th change; `after`: right after it."""

    store: Store
    at: int
    after: bool = False
    changes: list[str] = field(default_factory=list)

    def _change(self, name: str, path: str, action: Callable[[], Any]) -> Any:
        self.changes.append(f"{name} {path}")
        if len(self.changes) == self.at and not self.after:
            raise Crash
        answer = action()
        if len(self.changes) == self.at:
            raise Crash
        return answer

    @property
    def url(self) -> str:
        return self.store.url

    def get(self, path: str) -> bytes:
        return self.store.get(path)

    def get_versioned(self, path: str) -> tuple[bytes, str | None] | None:
        return self.store.get_versioned(path)

    def download(self, path: str, target: Path) -> None:
        self.store.download(path, target)

    def list(self, prefix: str) -> Iterator[Stored]:
        return self.store.list(prefix)

    def exists(self, path: str) -> bool:
        return self.store.exists(path)

    def put(self, path: str, data: bytes) -> None:
        self._change("put", path, lambda: self.store.put(path, data))

    def create(self, path: str, data: bytes) -> bool:
        return bool(self._change("create", path, lambda: self.store.create(path, data)))

    def replace(self, path: str, data: bytes, *, expected_etag: str | None) -> None:
        self._change("replace", path, lambda: self.store.replace(path, data, expected_etag=expected_etag))

    def upload(self, source: Path, path: str) -> None:
        self._change("upload", path, lambda: self.store.upload(source, path))

    def copy(self, source: str, target: str) -> None:
        self._change("copy", target, lambda: self.store.copy(source, target))

    def delete(self, path: str) -> None:
        self._change("delete", path, lambda: self.store.delete(path))


def _second_version(campaign: Campaign) -> str:
    """A published partition, and a merged plan that adds one file and replaces another; returns the plan's id."""
    campaign.says = lambda _: "first words"
    campaign.run(NAMES)
    campaign.says = lambda _: "second words"
    rows = [(name, "e2" if name == "call 03.wav" else "e1") for name in [*NAMES, "new.wav"]]
    summary = campaign.plan(rows)
    campaign.round(summary.plan_id)
    return summary.plan_id


def _files(campaign: Campaign, prefix: str = "tables/") -> list[str]:
    return sorted(one.path for one in campaign.store.list(prefix))


def _publisher(campaign: Campaign, store: Any) -> Publisher:
    return Publisher(campaign.pipeline.ledger, store, campaign.pipeline.settings)


@pytest.fixture
def copies(campaign: Campaign, tmp_path: Path) -> Iterator[tuple[str, Callable[[], Campaign]]]:
    """The second version's plan, merged and not published, and copies of the installation that holds it."""
    plan_id = _second_version(campaign)
    made: list[Campaign] = []

    def copy() -> Campaign:
        made.append(campaign.clone(tmp_path / f"copy-{len(made)}"))
        return made[-1]

    yield plan_id, copy
    for one in made:
        one.pipeline.ledger.engine.dispose()


def _changes(plan_id: str, campaign: Campaign) -> int:
    """How many changes publishing makes in the store."""
    counting = CrashingStore(campaign.store, at=0)
    _publisher(campaign, counting).publish(plan_id)
    return len(counting.changes)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_write_leaves_the_old_version_whole_or_the_new_one(
    copies: tuple[str, Callable[[], Campaign]], after: bool
) -> None:
    plan_id, copy = copies
    calm = copy()
    before = calm.tables()
    total = _changes(plan_id, calm)
    expected, files = calm.tables(), _files(calm)
    assert set(calm.texts().values()) == {"first words", "second words"}
    assert total > 10
    seen: list[int] = []
    for at in range(1, total + 1):
        campaign = copy()
        with pytest.raises(Crash):
            _publisher(campaign, CrashingStore(campaign.store, at, after=after)).publish(plan_id)
        visible = campaign.tables()
        assert visible in (before, expected), at
        seen.append(1 if visible == before else 2)
        report = campaign.pipeline.publish(plan_id)
        assert campaign.tables() == expected, at
        assert report.version == 2
        assert _files(campaign) == files, at
        assert campaign.pipeline.ledger.state(plan_id) is PlanState.PUBLISHED
        assert [one.settled_at is None for one in campaign.submissions.of_plan(plan_id)] == [False]
    assert seen == sorted(seen), "the new version never vanishes again"
    assert set(seen) == {1, 2}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_after_a_crash_at_any_write_a_new_plan_completes_what_was_visible(
    copies: tuple[str, Callable[[], Campaign]], after: bool
) -> None:
    plan_id, copy = copies
    calm = copy()
    total = _changes(plan_id, calm)
    expected, posts = calm.tables(), calm.posts
    rows = [(name, "e2" if name == "call 03.wav" else "e1") for name in [*NAMES, "new.wav"]]
    for at in range(1, total + 1):
        campaign = copy()
        with pytest.raises(Crash):
            _publisher(campaign, CrashingStore(campaign.store, at, after=after)).publish(plan_id)
        kept = replace(campaign.pipeline.settings, delete_at_service=False)
        replace(campaign, pipeline=replace(campaign.pipeline, settings=kept)).run(
            rows, run_key="the next night"
        )
        assert campaign.tables() == expected, at
        assert campaign.posts == posts, "nothing was paid again"
        assert set(_files(campaign)) == {partition_file("day"), *_named(campaign)}, (
            "nothing superseded is left"
        )


def _named(campaign: Campaign) -> list[str]:
    """The parts that the partition file names."""
    tables = json.loads(campaign.store.get(partition_file("day")))["tables"]
    return [part["path"] for parts in tables.values() for part in parts]


def test_parts_of_replaced_recordings_are_filtered_and_the_old_ones_removed(campaign: Campaign) -> None:
    plan_id = _second_version(campaign)
    old = _files(campaign)
    report = campaign.pipeline.publish(plan_id)
    texts = campaign.texts()
    assert texts["call 03.wav"] == texts["new.wav"] == "second words"
    assert texts["call 04.wav"] == "first words"
    assert (report.transcribed, report.transcribed_now) == (9, 2)
    now = _files(campaign)
    assert any("-k0" in one for one in now)
    assert [one for one in old if "outcomes" in one and one in now] == []
    # Every row of every part belongs to a file whose outcome names that part.
    outcomes = read_table(campaign.store, "outcomes")
    expected = dict(zip(outcomes["file_id"], outcomes["part"], strict=True))
    for path in now:
        if path.endswith(".parquet") and "/outcomes/" not in path:
            local = campaign.folder / "part.parquet"
            campaign.store.download(path, local)
            for file_id in pq.read_table(local)["file_id"].to_pylist():
                assert Path(path).stem == expected[file_id]


def test_parts_whose_rows_all_live_stay_where_they_are(campaign: Campaign) -> None:
    campaign.run(NAMES)
    before = {one.path: one.etag for one in campaign.store.list("tables/transcripts/")}
    campaign.run([*NAMES, "new.wav"])
    after = {one.path: one.etag for one in campaign.store.list("tables/transcripts/")}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1


def test_publishing_again_and_again_gives_the_same(campaign: Campaign) -> None:
    plan_id = _second_version(campaign)
    first = campaign.pipeline.publish(plan_id)
    written = campaign.everything_written()
    for _ in range(3):
        assert campaign.pipeline.publish(plan_id) == first
        assert campaign.everything_written() == written


@pytest.mark.parametrize("local", [False, True], ids=["memory", "folder"])
def test_two_publishers_of_one_plan_publish_it_once(
    campaign_with: Callable[..., Campaign], tmp_path: Path, local: bool
) -> None:
    campaign = campaign_with(store=Store.open(str(tmp_path / "store")) if local else None)
    plan_id = _second_version(campaign)
    calm = campaign_with()
    calm.pipeline.publish(_second_version(calm))
    start, reports, errors = threading.Barrier(4), [], []

    def publish() -> None:
        start.wait(10)
        try:
            reports.append(_publisher(campaign, campaign.store).publish(plan_id))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert errors == []
    assert {one.version for one in reports} == {2}
    assert campaign.tables() == calm.tables()
    published = campaign.pipeline.ledger.partition("day")
    assert published is not None
    assert published.version == 2


def test_a_publisher_that_was_overtaken_gets_the_same_truth(campaign: Campaign) -> None:
    """It has read the old version, and commits after another publisher of the same plan."""
    plan_id = _second_version(campaign)

    class Overtaken(CrashingStore):
        def replace(self, path: str, data: bytes, *, expected_etag: str | None) -> None:
            _publisher(campaign, campaign.store).publish(plan_id)
            self.store.replace(path, data, expected_etag=expected_etag)

    report = _publisher(campaign, Overtaken(campaign.store, at=0)).publish(plan_id)
    assert report.version == 2
    assert len(campaign.texts()) == 9
    assert campaign.pipeline.publish(plan_id).version == 2


def test_a_publisher_whose_old_parts_another_has_removed_gets_the_same_truth(campaign: Campaign) -> None:
    """It has read the old version; before it fetches a part of that, another publishes the plan and clears up."""
    plan_id = _second_version(campaign)

    class Overtaken(CrashingStore):
        def download(self, path: str, target: Path) -> None:
            if path.startswith("tables/words/"):
                _publisher(campaign, campaign.store).publish(plan_id)
            self.store.download(path, target)

    assert _publisher(campaign, Overtaken(campaign.store, at=0)).publish(plan_id).version == 2
    assert len(campaign.texts()) == 9


def test_a_part_that_is_gone_without_another_publisher_is_an_error(campaign: Campaign) -> None:
    plan_id = _second_version(campaign)
    gone = [one.path for one in campaign.store.list("tables/words/")]
    for path in gone:
        campaign.store.delete(path)
    with pytest.raises(FileNotFoundError):
        campaign.pipeline.publish(plan_id)


def test_a_plan_made_on_an_older_version_is_not_published(campaign: Campaign) -> None:
    campaign.run(NAMES[:3])
    stale = campaign.plan(NAMES[:4], run_key="stale")
    campaign.round(stale.plan_id)

    class Overtaken(CrashingStore):
        def replace(self, path: str, data: bytes, *, expected_etag: str | None) -> None:
            if self.changes[-1:] != ["overtaken"]:
                self.changes.append("overtaken")
                found = self.store.get(path)
                self.store.put(path, found.replace(b'"version": 1', b'"version": 7'))
            self.store.replace(path, data, expected_etag=expected_etag)

    before = campaign.tables()
    with pytest.raises(StalePlan, match="version 7"):
        _publisher(campaign, Overtaken(campaign.store, at=0)).publish(stale.plan_id)
    assert campaign.tables() == before
    with pytest.raises(StalePlan, match="Clear the plan task"):
        campaign.pipeline.publish(stale.plan_id)
    assert campaign.run(NAMES[:4], run_key="fresh").transcribed == 4
    assert campaign.posts == 2, "what the stale plan paid for is carried over"


def test_a_superseded_plan_is_not_published_over_its_successor(campaign: Campaign) -> None:
    old = campaign.plan(NAMES[:3])
    campaign.round(old.plan_id)
    new = campaign.plan(NAMES[:4])
    with pytest.raises(SupersededPlan):
        campaign.pipeline.publish(old.plan_id)
    campaign.round(new.plan_id)
    assert campaign.pipeline.publish(new.plan_id).transcribed == 4
    assert campaign.posts == 2


def test_a_shard_that_is_not_merged_keeps_the_partition_back(campaign: Campaign) -> None:
    summary = campaign.plan(NAMES)
    shards = campaign.pipeline.shards(summary.plan_id)
    for shard in shards:
        campaign.submit(shard)
    campaign.end_all()
    for shard in shards[:-1]:
        campaign.pipeline.merge(shard)
    with pytest.raises(UnexplainedFiles, match=r"6 with exactly one outcome .*shard 3"):
        campaign.pipeline.publish(summary.plan_id)
    assert _files(campaign) == []


def test_a_file_without_an_outcome_keeps_the_partition_back(campaign: Campaign) -> None:
    """Checked from the data itself: a merged shard whose outcomes lack a row is not believed."""
    summary = campaign.plan(NAMES[:3])
    campaign.round(summary.plan_id)
    path = f"{paths.shard_folder(summary.plan_id, 0, 0)}/outcomes.parquet"
    local = campaign.folder / "outcomes.parquet"
    campaign.store.download(path, local)
    pq.write_table(pq.read_table(local).slice(1), local)
    campaign.store.upload(local, path)
    with pytest.raises(UnexplainedFiles, match="2 with exactly one outcome"):
        campaign.pipeline.publish(summary.plan_id)


def test_a_spoilt_upload_of_a_part_is_an_error_and_leaves_the_old_version(campaign: Campaign) -> None:
    plan_id = _second_version(campaign)
    before = campaign.tables()

    class Failing(CrashingStore):
        def upload(self, source: Path, path: str) -> None:
            raise StoreError("write", path, "the disk is full")

    with pytest.raises(StoreError, match="What was published before stays as it was"):
        _publisher(campaign, Failing(campaign.store, at=0)).publish(plan_id)
    assert campaign.tables() == before


def test_the_index_holds_just_the_ids_whose_rows_are_here(campaign: Campaign) -> None:
    campaign.says = lambda one: Bad() if one.endswith("00.wav") else "words"
    campaign.run(NAMES[:4], partition="monday")
    report = campaign.run(NAMES, partition="all")
    local = campaign.folder / "index.parquet"
    campaign.store.download(paths.index("all", report.plan_id), local)
    rows = campaign.rows("all")
    own = {one["file_id"] for name, one in rows.items() if name in NAMES[4:]}
    assert set(pq.read_table(local)["file_id"].to_pylist()) == own
    assert len(_files(campaign, "index/")) == 2


def test_old_indexes_are_removed_and_reports_are_kept(campaign: Campaign) -> None:
    reports = [campaign.run(NAMES[:count]) for count in (2, 3, 4)]
    assert _files(campaign, "index/") == [paths.index("day", reports[-1].plan_id)]
    for one in reports:
        assert b"# Partition" in campaign.store.get(paths.report("day", one.plan_id, "md"))


def test_the_report_escapes_what_strangers_wrote(campaign: Campaign) -> None:
    campaign.says = lambda _: Bad("Weird", "a | pipe, a `tick`, <b>bold</b> and\na line")
    report = campaign.run(["a|b.wav"], partition="day | <i>x</i>")
    for line in report.markdown.splitlines():
        if line.startswith("| failed"):
            assert line.replace("\\|", "").count("|") == 6
            assert "<b>" not in line.replace("\\<", "")
            break
    else:
        raise AssertionError("no such line")


def test_the_ledger_is_completed_by_the_next_plan_after_a_crash_behind_the_commit(campaign: Campaign) -> None:
    plan_id = _second_version(campaign)

    class Dying(CrashingStore):
        def replace(self, path: str, data: bytes, *, expected_etag: str | None) -> None:
            self.store.replace(path, data, expected_etag=expected_etag)
            raise Crash

    with pytest.raises(Crash):
        _publisher(campaign, Dying(campaign.store, at=0)).publish(plan_id)
    assert campaign.pipeline.ledger.state(plan_id) is PlanState.OPEN
    campaign.plan(NAMES)
    assert campaign.pipeline.ledger.state(plan_id) is PlanState.PUBLISHED
    published = campaign.pipeline.ledger.partition("day")
    assert published is not None
    assert (published.version, published.files) == (2, 9)


def test_settings_without_clean_up_leave_the_transcriptions(campaign: Campaign) -> None:
    kept = replace(
        campaign,
        pipeline=replace(
            campaign.pipeline, settings=replace(campaign.pipeline.settings, delete_at_service=False)
        ),
    )
    kept.run(NAMES[:3])
    assert len(campaign.service.jobs) == 1


def test_cleaning_up_after_a_publication_never_fails_it(campaign: Campaign) -> None:
    """Which files were read is not known where a merge's record is gone: then nothing is deleted."""
    campaign.with_settings(delete_at_service=False).run(NAMES[:3])
    plan_id = next(one.plan_id for one in campaign.pipeline.ledger.partitions())
    (record,) = [one.path for one in campaign.store.list("") if one.path.endswith("merged.json")]
    content = campaign.store.get(record)
    campaign.store.delete(record)
    assert campaign.pipeline.publish(plan_id).transcribed == 3
    assert len(campaign.service.jobs) == 1
    campaign.store.put(record, content)
    campaign.pipeline.publish(plan_id)
    assert not campaign.service.jobs
