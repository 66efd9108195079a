"""Planning: what is submitted, carried, adopted or refused, and that planning again changes nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audio_files import wav
from fakes.blob_server import BlobServer, blob_server
from speech_backfill import paths
from speech_backfill.accounts import AccountKey, StorageAccount, StorageAccounts
from speech_backfill.chunk_files import read_chunk
from speech_backfill.errors import (
    EmptyManifest,
    ManifestError,
    SettingsError,
    SourceNotFound,
    StoreError,
)
from speech_backfill.ledger import schema
from speech_backfill.ledger.ledger import Ledger, PlansChanged
from speech_backfill.model import TranscriptionOptions
from speech_backfill.plan.request import PlanSummary
from speech_backfill.store import Store
from speech_backfill.tables.errors import InvalidPartitionKey
from tests.speech_backfill.campaign import ACCOUNT_KEY, Bad, Campaign, url

NAMES = [f"call {n:02}.wav" for n in range(8)]


def _chunks(campaign: Campaign, plan: PlanSummary, round_: int = 0) -> list[list[str]]:
    """The files of each chunk by name, in the order of the plan."""
    return [
        [one.url.rsplit("/", 1)[1] for one in read_chunk(campaign.store, placement.chunk.chunk_id)]
        for placement in campaign.pipeline.ledger.placements(plan.plan_id, round_)
    ]


def _ids(campaign: Campaign, plan: PlanSummary, round_: int = 0) -> list[str]:
    return [one.chunk.chunk_id for one in campaign.pipeline.ledger.placements(plan.plan_id, round_)]


def _manifest(campaign: Campaign, plan: PlanSummary) -> list[dict[str, Any]]:
    local = campaign.folder / "read.parquet"
    campaign.store.download(paths.manifest(plan.plan_id), local)
    return pq.read_table(local).to_pylist()


def _everything(campaign: Campaign) -> tuple[dict[str, bytes], dict[str, list[Any]]]:
    with campaign.pipeline.ledger.engine.begin() as connection:
        rows = {
            table.name: [tuple(row) for row in connection.execute(sa.select(table))]
            for table in schema.metadata.sorted_tables
        }
    return campaign.everything_written(), rows


def test_the_same_source_gives_the_same_plan_and_no_new_chunk(campaign: Campaign) -> None:
    first = campaign.plan(NAMES)
    before = _everything(campaign)
    campaign.clock.now += 1000
    assert campaign.plan(NAMES) == first
    assert _everything(campaign) == before


def test_another_run_of_the_same_source_meets_the_same_chunks(campaign: Campaign) -> None:
    first, second = campaign.plan(NAMES), campaign.plan(NAMES, run_key="another")
    assert first.plan_id != second.plan_id
    assert _ids(campaign, first) == _ids(campaign, second)


def test_the_summary_adds_up(campaign: Campaign) -> None:
    plan = campaign.plan(
        [*NAMES, NAMES[0], NAMES[1], ["no uri", "", "", "", ""], ["ftp://x/y", "", "", "", ""]]
    )
    assert (plan.files, plan.duplicates, plan.to_submit) == (10, 2, 8)
    assert plan.refused == plan.files - plan.to_submit == 2
    assert (plan.chunks, plan.shards) == (3, 3)
    assert plan.audio_hours == pytest.approx(16 / 3600)
    assert plan.price == pytest.approx(plan.audio_hours * 0.18)
    assert not plan.audio_hours_estimated


def test_durations_that_nobody_knows_are_estimated_from_sizes(campaign: Campaign) -> None:
    plan = campaign.plan([[url("a.wav"), "e1", "32000", "", ""]])
    assert plan.audio_hours == pytest.approx(4 / 3600)
    assert plan.audio_hours_estimated


def test_compressed_audio_counts_as_longer_than_its_size_suggests(campaign: Campaign) -> None:
    plan = campaign.plan([[url("a.opus"), "e1", "12000", "", ""], [url("b.mp3"), "e1", "12000", "", ""]])
    assert plan.audio_hours == pytest.approx((4 + 3) / 3600)


@given(
    kinds=st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["e1", "e2"])), min_size=1, max_size=40),
    most=st.integers(1, 6),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_file_of_the_manifest_lands_in_exactly_one_chunk(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[tuple[int, str]], most: int
) -> None:
    campaign = Campaign.make(tmp_path_factory.mktemp("installation"), files_per_transcription=most)
    try:
        plan = campaign.plan([(f"{number}.wav", etag) for number, etag in kinds])
        placed = [one for chunk in _chunks(campaign, plan) for one in chunk]
        assert placed == [f"{number}.wav" for number in dict.fromkeys(number for number, _ in kinds)]
        assert plan.duplicates == len(kinds) - len(placed)
    finally:
        campaign.pipeline.ledger.engine.dispose()


def test_of_duplicates_the_first_line_counts(campaign: Campaign) -> None:
    plan = campaign.plan([("a.wav", "first"), ("b.wav", "e"), ("a.wav", "second")])
    assert [one["etag"] for one in _manifest(campaign, plan)] == ["first", "e"]
    assert plan.duplicates == 1


def test_a_manifest_that_grows_at_its_end_keeps_its_full_chunks(campaign: Campaign) -> None:
    before = campaign.plan(NAMES)
    after = campaign.plan([*NAMES, "new 1.wav", "new 2.wav"])
    assert _ids(campaign, after)[:2] == _ids(campaign, before)[:2]
    assert _chunks(campaign, after)[2:] == [
        ["call%2006.wav", "call%2007.wav", "new%201.wav"],
        ["new%202.wav"],
    ]


def test_refused_lines_end_as_failed_with_their_reason(campaign: Campaign) -> None:
    rows = [
        "a.wav",
        ["https://other.example/audio/b.wav", "e", "1", "1", "n"],
        [url("c.wav"), "e", "0", "1", "n"],
    ]
    report = campaign.run(rows)
    assert (report.files, report.transcribed, report.failed) == (3, 1, 2)
    found = {name: one["error_code"] for name, one in campaign.rows().items() if one["outcome"] == "failed"}
    assert found == {"b.wav": "UnknownAccount", "c.wav": "EmptyFile"}
    assert {one.error_code for one in report.reasons} == {"UnknownAccount", "EmptyFile"}


def test_a_manifest_of_refused_lines_only_pays_for_nothing(campaign: Campaign) -> None:
    report = campaign.run([["ftp://x/y.wav", "", "", "", ""]])
    assert (report.files, report.failed, campaign.posts) == (1, 1, 0)


def test_a_line_that_was_mended_does_not_fail_for_ever(campaign: Campaign) -> None:
    campaign.run(["a.wav", [url("b.wav"), "e1", "0", "", ""]])
    assert campaign.outcomes() == {"a.wav": "transcribed", "b.wav": "failed"}
    campaign.run(["a.wav", "b.wav"])
    assert campaign.outcomes() == {"a.wav": "transcribed", "b.wav": "transcribed"}
    campaign.run(["a.wav", ["ftp://nowhere/c.wav", "", "", "", ""]])
    campaign.run(["a.wav"])
    assert campaign.outcomes() == {"a.wav": "transcribed", "b.wav": "transcribed"}


def test_done_files_are_carried_here(campaign: Campaign) -> None:
    campaign.run(NAMES)
    plan = campaign.plan([*NAMES, "new.wav"])
    assert (plan.carried, plan.to_submit, plan.base_version) == (8, 1, 1)
    assert _chunks(campaign, plan) == [["new.wav"]]


def test_done_files_of_another_partition_are_not_paid_again(campaign: Campaign) -> None:
    campaign.run(NAMES[:4], partition="monday")
    plan = campaign.plan(NAMES, partition="all")
    assert (plan.elsewhere, plan.to_submit) == (4, 4)
    report = campaign.run(NAMES, partition="all")
    assert (report.transcribed, report.transcribed_now) == (8, 4)
    assert set(campaign.texts("all")) == set(NAMES[4:])
    rows = campaign.rows("all")
    assert rows[NAMES[0]]["transcribed_in"] == "monday"
    assert rows[NAMES[5]]["transcribed_in"] != "monday"
    # … and stays found after the other partition is published anew.
    campaign.run([*NAMES[:4], "more.wav"], partition="monday")
    assert campaign.plan(NAMES, partition="a third").elsewhere == 8


def test_an_index_that_is_gone_is_never_taken_for_nothing_transcribed(campaign: Campaign) -> None:
    campaign.run(NAMES[:4], partition="monday")
    (index,) = campaign.store.list("index/")
    campaign.store.delete(index.path)
    with pytest.raises(StoreError, match="index"):
        campaign.plan(NAMES, partition="all")


def test_files_that_failed_in_another_partition_are_submitted(campaign: Campaign) -> None:
    campaign.says = lambda _: Bad()
    campaign.run(NAMES[:2], partition="monday")
    plan = campaign.plan(NAMES[:2], partition="all")
    assert (plan.elsewhere, plan.to_submit) == (0, 2)


def test_a_changed_recording_is_submitted_alone(campaign: Campaign) -> None:
    campaign.run(NAMES)
    changed = [(name, "e2" if name == "call 03.wav" else "e1") for name in NAMES]
    plan = campaign.plan(changed)
    assert (plan.carried, plan.to_submit, plan.files) == (7, 1, 8)
    assert _chunks(campaign, plan) == [["call%2003.wav"]]


def test_changed_options_submit_only_the_files_they_change(campaign: Campaign) -> None:
    campaign.run(NAMES)
    assert campaign.plan(NAMES, options=TranscriptionOptions(locale="de-DE")).to_submit == 8
    assert campaign.plan(NAMES).to_submit == 0


def test_files_that_are_gone_from_the_source_are_kept(campaign: Campaign) -> None:
    campaign.run(NAMES)
    report = campaign.run(NAMES[:2])
    assert (report.files, report.transcribed, campaign.posts) == (8, 8, 3)
    assert set(campaign.texts()) == set(NAMES)


def test_chunks_under_way_are_adopted_and_their_files_not_cut_again(campaign: Campaign) -> None:
    first = campaign.plan(NAMES)
    shards = campaign.pipeline.shards(first.plan_id)
    campaign.submit(shards[0])
    # A line in front moves every cut; what is under way stays as it is.
    second = campaign.plan(["earlier.wav", *NAMES])
    assert second.under_way == 3
    # Nine files of two seconds, three of which are paid for and stand in the region's backlog already.
    assert (second.audio_hours, second.audio_hours_under_way) == pytest.approx((18 / 3600, 6 / 3600))
    assert second.price == pytest.approx(12 / 3600 * campaign.pipeline.settings.price_per_audio_hour)
    assert sum(one.hours for one in second.regions) == pytest.approx(12 / 3600)
    assert "0.0017 h of it under way" in second.text
    assert _chunks(campaign, second) == [
        ["call%2000.wav", "call%2001.wav", "call%2002.wav"],
        ["earlier.wav", "call%2003.wav", "call%2004.wav"],
        ["call%2005.wav", "call%2006.wav", "call%2007.wav"],
    ]
    campaign.round(second.plan_id)
    report = campaign.pipeline.publish(second.plan_id)
    assert (report.transcribed, report.transcriptions, report.submitted_now) == (9, 3, 2)
    assert campaign.posts == 3


def test_an_adopted_chunk_whose_file_was_replaced_brings_no_row_of_the_old_one(campaign: Campaign) -> None:
    first = campaign.plan(NAMES[:3])
    campaign.submit(*campaign.pipeline.shards(first.plan_id))
    second = campaign.plan([("call 00.wav", "e1"), ("call 01.wav", "e2"), ("call 02.wav", "e1")])
    assert (second.under_way, second.chunks) == (2, 2)
    campaign.round(second.plan_id)
    report = campaign.pipeline.publish(second.plan_id)
    assert (report.files, report.transcribed) == (3, 3)
    assert set(campaign.texts()) == set(NAMES[:3])
    assert campaign.rows()["call 01.wav"]["audio_etag"] == "e2"


def test_a_repair_under_way_is_adopted_by_the_next_plan_s_repair(campaign: Campaign) -> None:
    broken = {"call 00.wav", "call 01.wav", "call 05.wav"}
    campaign.says = lambda one: (
        Bad("Timeout") if one.replace("%20", " ").rsplit("/", 1)[1] in broken else "words"
    )
    first = campaign.plan(NAMES)
    shards = campaign.pipeline.shards(first.plan_id)
    for shard in shards:
        campaign.submit(shard)
    campaign.end_all()
    campaign.pipeline.merge(shards[0])  # only the first shard's failures are known
    campaign.clock.now += 60
    (repair,) = campaign.pipeline.reconcile(first.plan_id, 0)
    campaign.submit(repair)
    assert campaign.posts == 4
    second = campaign.plan([*NAMES, "new.wav"])
    campaign.round(second.plan_id)
    campaign.pipeline.reconcile(second.plan_id, 0)
    assert sorted(_chunks(campaign, second, 1)) == [["call%2000.wav", "call%2001.wav"], ["call%2005.wav"]]
    assert _ids(campaign, first, 1)[0] in _ids(campaign, second, 1)
    broken.clear()
    campaign.round(second.plan_id, 1)
    assert campaign.posts == 6  # 3 + the adopted repair + the new file + the other repair


def test_only_failed_plans_what_may_be_cured_and_reads_no_source(campaign: Campaign) -> None:
    campaign.says = lambda one: (
        Bad("Timeout") if one.endswith("3.wav") else Bad() if one.endswith("4.wav") else "words"
    )
    campaign.run(NAMES, repairs=0)
    plan = campaign.plan(None, only_failed=True)
    assert (plan.to_submit, plan.carried, plan.files) == (1, 7, 8)
    assert _chunks(campaign, plan) == [["call%2003.wav"]]
    campaign.says = lambda _: "cured"
    report = campaign.run(None, only_failed=True)
    assert (report.transcribed, report.failed, report.transcribed_now) == (7, 1, 1)
    assert campaign.texts()["call 03.wav"] == "cured"


def test_only_failed_of_what_was_never_published_is_an_error(campaign: Campaign) -> None:
    with pytest.raises(EmptyManifest, match="nothing of it is published"):
        campaign.plan(None, only_failed=True)


def test_only_failed_without_the_ledger_that_knows_the_options_says_so(
    campaign: Campaign, campaign_with: Callable[..., Campaign]
) -> None:
    campaign.says = lambda _: Bad("Timeout")
    campaign.run(NAMES[:2], repairs=0, options=TranscriptionOptions(locale="de-DE"))
    other = campaign_with(store=campaign.store)
    with pytest.raises(ManifestError, match="the ledger does not know chunk"):
        other.plan(None, only_failed=True)


def test_reprocess_pays_again_once_for_each_run_key(campaign: Campaign) -> None:
    campaign.run(NAMES)
    assert campaign.posts == 3
    for _ in range(2):
        campaign.says = lambda _: "better words"
        report = campaign.run(NAMES, run_key="again", reprocess=True)
        assert campaign.posts == 6
        assert (report.transcribed, len(campaign.texts())) == (8, 8)
        assert set(campaign.texts().values()) == {"better words"}
    campaign.run(NAMES, run_key="once more", reprocess=True)
    assert campaign.posts == 9


def test_reprocess_that_is_interrupted_anywhere_pays_once(campaign: Campaign) -> None:
    campaign.run(NAMES)
    first = campaign.plan(NAMES, run_key="again", reprocess=True)
    shards = campaign.pipeline.shards(first.plan_id)
    campaign.submit(shards[0])
    assert campaign.plan(NAMES, run_key="again", reprocess=True).plan_id == first.plan_id
    # Even with another manifest the chunk under way is adopted.
    second = campaign.plan(["earlier.wav", *NAMES], run_key="again", reprocess=True)
    assert second.under_way == 3
    campaign.round(second.plan_id)
    campaign.pipeline.publish(second.plan_id)
    assert campaign.posts == 3 + 1 + 2


def test_reprocess_does_not_adopt_what_another_run_has_under_way(campaign: Campaign) -> None:
    first = campaign.plan(NAMES[:3])
    campaign.submit(*campaign.pipeline.shards(first.plan_id))
    second = campaign.plan(NAMES[:3], run_key="again", reprocess=True)
    assert second.under_way == 0
    campaign.round(second.plan_id)
    # Both hold the same files; a later plain plan adopts both and shows each file once.
    third = campaign.with_settings(max_shards=1).plan([*NAMES[:3], "new.wav"], run_key="later")
    campaign.round(third.plan_id)
    campaign.pipeline.publish(third.plan_id)
    assert len(campaign.texts()) == 4
    assert campaign.posts == 3


def test_a_file_in_two_adopted_chunks_of_one_shard_has_its_rows_once(campaign: Campaign) -> None:
    first = campaign.plan(NAMES[:3])
    campaign.submit(*campaign.pipeline.shards(first.plan_id))
    campaign.clock.now += 60
    second = campaign.plan(NAMES[1:4], run_key="again", reprocess=True)
    campaign.submit(*campaign.pipeline.shards(second.plan_id))
    third = campaign.with_settings(max_shards=1).plan(NAMES[:4], run_key="later")
    assert [len(one) for one in _chunks(campaign, third)] == [3, 3]
    campaign.round(third.plan_id)
    assert campaign.pipeline.publish(third.plan_id).transcribed == 4
    assert len(campaign.texts()) == 4
    assert campaign.posts == 2


def test_a_dry_run_writes_nothing_but_its_estimate(campaign: Campaign) -> None:
    estimate = paths.estimate("day", "run")
    before, rows = _everything(campaign)
    plan = campaign.plan(NAMES, dry_run=True)
    assert (plan.to_submit, plan.chunks, plan.dry_run) == (8, 3, True)
    assert "dry run" in plan.text
    assert _everything(campaign) == (before | {estimate: campaign.store.get(estimate)}, rows)
    campaign.run(NAMES[:4])
    before, rows = _everything(campaign)
    assert campaign.plan(NAMES, dry_run=True).carried == 4
    assert _everything(campaign) == (before | {estimate: campaign.store.get(estimate)}, rows)


def test_a_dry_run_stores_what_it_says_in_place_of_what_the_last_one_said(campaign: Campaign) -> None:
    source = campaign.manifest(NAMES)
    first = campaign.plan(source=source, dry_run=True, budget_hours=2.0)
    assert first.stored_at == "estimates/day/run.json"
    assert f"  stored            {first.stored_at}" in first.text
    asked = {"reprocess": False, "budget_hours": 2.0, "budget_name": ""}
    stored = json.loads(campaign.store.get(first.stored_at))
    assert stored == json.loads(json.dumps(first.to_dict())) | asked
    for what in ("files", "audio_hours", "audio_hours_error", "price", "price_basis", "task_instances"):
        assert what in stored
    assert [one["region"] for one in stored["regions"]] == ["the region of east"]
    second = campaign.plan(NAMES[:2], dry_run=True)
    assert second.stored_at == first.stored_at
    assert json.loads(campaign.store.get(first.stored_at))["files"] == 2
    other = campaign.plan(NAMES, dry_run=True, run_key="manual__2026-11-01T10:00:00+00:00")
    assert other.stored_at == "estimates/day/manual__2026-11-01T10%3A00%3A00+00%3A00.json"
    assert sorted(campaign.everything_written()) == sorted([first.stored_at, other.stored_at])
    # A plan's own summary lies with the plan, and leaves the estimates alone.
    plan = campaign.plan(NAMES)
    assert plan.stored_at == paths.plan_summary(plan.plan_id)
    assert json.loads(campaign.store.get(first.stored_at))["files"] == 2


@pytest.mark.parametrize("run_key", ["", ".", "..", "a/../b", "x" * 300, "%" * 100, "grün\n"])
def test_any_run_key_has_a_place_for_its_estimate(
    campaign_with: Callable[..., Campaign], tmp_path: Path, run_key: str
) -> None:
    campaign = campaign_with(store=Store.open(str(tmp_path / "store")))
    plan = campaign.plan(NAMES, dry_run=True, run_key=run_key)
    assert [one.path for one in campaign.store.list("")] == [plan.stored_at]
    assert plan.stored_at.startswith("estimates/day/")
    assert plan.stored_at.count("/") == 2


def test_a_store_that_takes_no_estimate_costs_nobody_the_answer(
    campaign_with: Callable[..., Campaign], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store.open(str(tmp_path / "store"))
    (tmp_path / "store" / "estimates").write_text("a file where the folder would be")
    plan = campaign_with(store=store).plan(NAMES, dry_run=True)
    assert (plan.to_submit, plan.stored_at) == (8, "")
    assert "  stored  " not in plan.text
    assert "The estimate is not stored: The store could not write 'estimates/day/run.json'" in caplog.text


def test_an_estimate_holds_no_secret(campaign: Campaign) -> None:
    """The source is not read again here, but what was typed is told."""
    campaign.says = lambda _: Bad()
    campaign.run(NAMES)
    source = f"{url('manifest.csv')}?sig=a-secret&se=2027-01-01"
    plan = campaign.plan(source=source, only_failed=True, reprocess=True, dry_run=True)
    assert plan.to_submit == 8
    stored = campaign.store.get(plan.stored_at).decode()
    assert url("manifest.csv") in stored
    for secret in ("sig=", "a-secret", ACCOUNT_KEY):
        assert secret not in stored


@pytest.mark.parametrize("content", ["", "uri,etag,size_bytes\n"])
def test_an_empty_manifest_plans_nothing(campaign: Campaign, content: str) -> None:
    source = campaign.folder / "empty.csv"
    source.write_text(content)
    before = _everything(campaign)
    with pytest.raises(ManifestError):
        campaign.plan(None, source=str(source))
    assert _everything(campaign) == before


def test_a_source_that_is_not_there_or_not_given_plans_nothing(campaign: Campaign) -> None:
    with pytest.raises(SourceNotFound):
        campaign.plan(None, source=str(campaign.folder / "none.csv"))
    with pytest.raises(ManifestError, match="No source"):
        campaign.plan(None)


@pytest.mark.parametrize("key", ["", "x" * 300, "\ud800"])
def test_a_partition_key_that_names_no_directory_is_refused_first(campaign: Campaign, key: str) -> None:
    with pytest.raises(InvalidPartitionKey):
        campaign.plan(NAMES, partition=key)


@pytest.mark.parametrize(
    "key", ["2026-11-01", "a/b", "..", "50% ü", "a b", "x" * 200, "é" * 80, "key=value?#"]
)
@pytest.mark.parametrize("local", [False, True], ids=["memory", "folder"])
def test_any_other_key_goes_all_the_way(
    campaign_with: Callable[..., Campaign], tmp_path: Path, key: str, local: bool
) -> None:
    from speech_backfill.store import Store

    campaign = campaign_with(store=Store.open(str(tmp_path / "store")) if local else None)
    for more in (0, 1):
        campaign.run([*NAMES[:2], *NAMES[2 : 2 + more]], partition=key)
    assert len(campaign.texts(key)) == 3
    assert campaign.pipeline.ledger.partition(key) is not None
    if local:
        outside = {one.name for one in tmp_path.iterdir()}
        assert outside == {"store", "installation-0"}


def test_two_partitions_that_plan_the_same_files_at_once_pay_once(
    campaign_with: Callable[..., Campaign], ledger_url: str
) -> None:
    campaign = campaign_with(ledger_url=ledger_url)
    source = campaign.manifest(NAMES)
    start = threading.Barrier(3)
    plans: dict[str, PlanSummary] = {}
    errors: list[BaseException] = []

    def plan(partition: str) -> None:
        try:
            start.wait(10)
            plans[partition] = campaign.plan(None, source=source, partition=partition)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=plan, args=(name,)) for name in ("monday", "tuesday", "all")]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert errors == []
    everything = [_ids(campaign, one) for one in plans.values()]
    assert everything[0] == everything[1] == everything[2]
    for one in plans.values():
        campaign.round(one.plan_id)
    assert campaign.posts == 3
    for one in plans.values():  # clean-up of the first leaves what the others have not merged
        assert campaign.pipeline.publish(one.plan_id).transcribed == 8


def test_clean_up_leaves_what_another_open_plan_has_not_merged_yet(campaign: Campaign) -> None:
    first = campaign.plan(NAMES[:3], partition="monday")
    second = campaign.plan(NAMES[:3], partition="all")
    campaign.round(first.plan_id)
    campaign.pipeline.publish(first.plan_id)
    campaign.round(second.plan_id)
    assert campaign.pipeline.publish(second.plan_id).transcribed == 3
    assert campaign.posts == 1
    assert campaign.service.jobs == {}


def test_a_publication_while_a_plan_reads_is_noticed(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the claims and the look at what is published elsewhere, another partition is published."""
    from speech_backfill.plan import planner

    other = campaign.plan(NAMES[:3], partition="monday")
    campaign.round(other.plan_id)
    load, looks = planner.load_elsewhere, []

    def publish_after(*args: Any, **kwargs: Any) -> None:
        load(*args, **kwargs)
        looks.append(1)
        if len(looks) == 1:
            campaign.pipeline.publish(other.plan_id)

    monkeypatch.setattr(planner, "load_elsewhere", publish_after)
    plan = campaign.plan(NAMES[:3], partition="all")
    assert len(looks) == 2
    assert (plan.elsewhere, plan.to_submit, plan.chunks) == (3, 0, 0)


# --- durations that are read from headers ----------------------------------------------------------------------


@pytest.fixture
def blobs() -> Iterator[BlobServer]:
    with blob_server() as server:
        yield server


@pytest.fixture
def reading(campaign_with: Callable[..., Campaign], blobs: BlobServer) -> Callable[..., Campaign]:
    """Makes installations whose account is there, with 16 kB a second in each blob."""

    def make(**knobs: Any) -> Campaign:
        made = campaign_with(**{"probe_files": 400, **knobs})
        return replace(made, pipeline=replace(made.pipeline, accounts=blobs.accounts))

    return make


def _rows(blobs: BlobServer, count: int, *, said: str = "") -> list[list[str]]:
    """Rows of *count* WAV files of 1, 2, 3 … seconds, which are there."""
    rows = []
    for number in range(count):
        content = wav(bytes(16_000 * (number + 1)))
        blobs.blobs[f"audio/{number}.wav"] = content
        rows.append([blobs.url(f"audio/{number}.wav"), "e1", str(len(content)), said, ""])
    return rows


def test_durations_are_read_from_headers_and_kept_in_the_frozen_manifest(
    reading: Callable[..., Campaign], blobs: BlobServer
) -> None:
    campaign = reading()
    plan = campaign.plan([*_rows(blobs, 4), [blobs.url("audio/said.wav"), "e1", "99999", "10000", ""]])
    assert plan.audio_hours == pytest.approx((1 + 2 + 3 + 4 + 10) / 3600)
    assert (plan.durations_in_manifest, plan.headers_read, plan.audio_hours_error) == (1, 4, 0)
    assert not plan.audio_hours_estimated
    assert "exact, from the manifest and the headers of 4 files" in plan.text
    assert [one["duration_ms"] for one in _manifest(campaign, plan)] == [1000, 2000, 3000, 4000, 10000]
    placed = campaign.pipeline.ledger.placements(plan.plan_id, 0)
    assert [one.chunk.audio_ms for one in placed] == [6000, 14000]
    assert "audio/said.wav" not in blobs.requests
    stored = json.loads(campaign.store.get(paths.plan_summary(plan.plan_id)))
    assert stored["audio_hours"] == plan.audio_hours
    assert stored["headers_read"] == 4
    assert "not verified with Azure" in stored["price_basis"]


def test_plan_and_chunks_are_the_same_whatever_could_be_read(
    reading: Callable[..., Campaign], blobs: BlobServer
) -> None:
    rows = _rows(blobs, 8)
    plans = [reading().plan(rows), reading(probe_files=0).plan(rows), reading(probe_files=5).plan(rows)]
    blobs.blobs.clear()
    campaign = reading()
    plans.append(campaign.plan(rows))
    assert len({one.plan_id for one in plans}) == 1
    assert [one.headers_read for one in plans] == [8, 0, 5, 0]
    assert len({tuple(_ids(campaign, one)) for one in plans}) == 1


def test_a_chunk_is_cut_by_what_the_manifest_says_and_not_by_the_headers_that_were_read(
    reading: Callable[..., Campaign], blobs: BlobServer
) -> None:
    # 16,000 bytes are a second by the headers and two by the guess, and 36 seconds a transcription.
    knobs: dict[str, Any] = {"files_per_transcription": 1000, "hours_per_transcription": 0.01}
    rows = _rows(blobs, 12)
    read, guessed = reading(**knobs), reading(**knobs, probe_files=0)
    few, many = read.plan(rows[:11]), read.with_settings(probe_files=11).plan(rows)
    assert _ids(guessed, guessed.plan(rows[:11])) == _ids(read, few)
    assert len(_ids(read, few)) > 3
    assert set(_ids(read, few)[:-1]) < set(_ids(read, many))


def test_the_forecast_is_of_the_estimate_and_not_of_what_is_reserved(
    reading: Callable[..., Campaign], blobs: BlobServer
) -> None:
    rows = _rows(blobs, 40)
    for number in range(0, 40, 2):
        blobs.blobs[f"audio/{number}.wav"] = wav(bytes(16_000 * (number + 1)), frame=1)
    plan = reading(probe_files=10).plan(rows)
    assert sum(one.hours for one in plan.regions) == pytest.approx(plan.audio_hours)


def test_the_tenth_night_planned_stands_behind_the_nine_before_it(campaign: Campaign) -> None:
    """Nothing of them is submitted yet, so nothing of it is with the service."""
    nights = []
    for night in range(10):
        rows = [[url(f"{night}-{n}.wav"), "e1", "32000", "3600000", ""] for n in range(12)]
        nights.append(campaign.plan(rows, partition=f"night {night}", run_key="backfill"))
    hours = [(one.regions[0].backlog_hours, one.regions[0].done_in_hours) for one in nights]
    assert hours == [pytest.approx((12 * n, 2.4 * (n + 1))) for n in range(10)]
    assert "108.00 hours before it" in nights[9].text
    # What is with the service by now counts as before, and nothing twice.
    for shard in campaign.pipeline.shards(nights[0].plan_id):
        campaign.pipeline.submit(shard)
    assert campaign.posts == 4
    # Planning a night again takes its own place, not one behind it.
    assert campaign.plan(rows, partition="night 9", run_key="backfill") == nights[9]
    assert campaign.plan(rows, partition="night 9", run_key="again").regions == nights[9].regions


def test_what_another_plan_is_still_to_submit_and_this_one_takes_over_stands_before_its_own(
    campaign: Campaign,
) -> None:
    rows = [[url(f"{n}.wav"), "e1", "32000", "3600000", ""] for n in range(9)]
    campaign.plan(rows[:6], partition="monday")
    before = campaign.plan(rows, partition="all", dry_run=True)
    assert (before.under_way, before.audio_hours_under_way) == (6, 6.0)
    (region,) = before.regions
    assert (region.backlog_hours, region.hours) == (6.0, 3.0)
    campaign.plan(rows, partition="all")
    # Two plans stand for its chunks now: they are in nobody's way twice.
    third = campaign.plan([[url("z.wav"), "e1", "32000", "3600000", ""]], partition="third")
    assert third.regions[0].backlog_hours == 9.0


def test_what_a_budget_has_stopped_stands_before_nobody(campaign: Campaign) -> None:
    rows = [[url(f"{n}.wav"), "e1", "32000", "3600000", ""] for n in range(9)]
    stopped = campaign.plan(rows, partition="monday", budget_hours=0.0)
    for shard in campaign.pipeline.shards(stopped.plan_id):
        campaign.pipeline.submit(shard)
    other = campaign.plan([[url("z.wav"), "e1", "32000", "3600000", ""]], partition="other")
    assert other.regions[0].backlog_hours == 0.0


def test_a_manifest_that_is_written_keeps_its_durations(
    reading: Callable[..., Campaign], blobs: BlobServer
) -> None:
    campaign = reading()
    rows = _rows(blobs, 3)
    plan = campaign.plan(rows)
    before = campaign.everything_written()
    blobs.blobs.clear()
    assert campaign.plan(rows).plan_id == plan.plan_id
    assert campaign.everything_written() == before


def test_no_request_is_sent_where_probing_is_switched_off_and_none_for_a_known_duration(
    reading: Callable[..., Campaign], blobs: BlobServer
) -> None:
    reading(probe_files=0).plan(_rows(blobs, 3))
    reading().plan(_rows(blobs, 3, said="1000"))
    assert not blobs.requests
    assert reading().plan(_rows(blobs, 3), dry_run=True).headers_read == 3
    assert sum(blobs.requests.values()) == 3


def test_budgets_reserve_more_than_the_estimate_where_durations_are_sampled(
    reading: Callable[..., Campaign], blobs: BlobServer
) -> None:
    campaign = reading(probe_files=10)
    rows = _rows(blobs, 40)
    # Every other file has half the bytes a second.
    for number in range(0, 40, 2):
        blobs.blobs[f"audio/{number}.wav"] = wav(bytes(16_000 * (number + 1)), frame=1)
    plan = campaign.plan(rows)
    assert (plan.headers_read, plan.durations_sampled, plan.durations_guessed) == (10, 30, 0)
    assert plan.audio_hours_error > 0
    reserved = sum(one.chunk.audio_ms for one in campaign.pipeline.ledger.placements(plan.plan_id, 0))
    # Half of the files have two seconds in what the others have one in, and none has more. Which ten are read follows from
    # the server's port: with few slow ones among them the mean and twice its error come out somewhat higher still.
    assert 0.99 / 8_000 <= plan.seconds_per_byte["wav"] <= 1.15 / 8_000
    # Twice the error of the mean at the least; what each file is reserved is rounded to milliseconds.
    rounding_hours = 40 / 3_600_000
    least = plan.audio_hours + plan.audio_hours_error * 2 / 2.262
    assert reserved / 3_600_000 > least - rounding_hours
    known = {one["audio_url"]: one["duration_ms"] for one in _manifest(campaign, plan) if one["duration_ms"]}
    assert len(known) == 10
    assert f"± {plan.audio_hours_error:.4f} h (95 %, headers of 10 of 40 files read)" in plan.text


def test_an_account_that_is_not_there_leaves_the_guess(campaign_with: Callable[..., Campaign]) -> None:
    campaign = campaign_with(probe_files=400)
    nobody = StorageAccount("acct", "http://127.0.0.1:9/acct", AccountKey("a2V5"))
    campaign = replace(campaign, pipeline=replace(campaign.pipeline, accounts=StorageAccounts.of([nobody])))
    plan = campaign.plan([["http://127.0.0.1:9/acct/audio/a.wav", "e1", "32000", "", ""]])
    assert plan.audio_hours == pytest.approx(4 / 3600)
    assert plan.audio_hours_estimated
    assert "about 0.0011 h (guessed from sizes; 1 of 1 headers could not be read)" in plan.text
    (placed,) = campaign.pipeline.ledger.placements(plan.plan_id, 0)
    assert placed.chunk.audio_ms == 4000


def test_headers_are_not_read_again_where_others_have_planned_meanwhile(
    reading: Callable[..., Campaign], blobs: BlobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = reading()
    rows = _rows(blobs, 3)
    refused = [PlansChanged(), PlansChanged()]
    commit = Ledger.commit_plan

    def changed(self: Ledger, *arguments: Any, **more: Any) -> Any:
        if refused:
            raise refused.pop()
        return commit(self, *arguments, **more)

    monkeypatch.setattr(Ledger, "commit_plan", changed)
    assert campaign.plan(rows).headers_read == 3
    assert sum(blobs.requests.values()) == 3


def test_a_repair_reserves_at_the_rate_that_was_sampled(
    reading: Callable[..., Campaign], blobs: BlobServer
) -> None:
    campaign = reading(probe_files=10)
    plan = campaign.plan(_rows(blobs, 40))
    assert plan.seconds_per_byte["wav"] == pytest.approx(1 / 16_000, rel=0.01)
    # One file of each chunk, so that the repair's chunks are new ones.
    bad = {blobs.url(f"audio/{number}.wav"): (number + 1) * 1000 for number in range(0, 40, 3)}
    campaign.says = lambda one: Bad(kind="Timeout") if one in bad else "words"
    campaign.round(plan.plan_id)
    assert campaign.pipeline.reconcile(plan.plan_id, 0)
    repair = [one.chunk.audio_ms for one in campaign.pipeline.ledger.placements(plan.plan_id, 1)]
    assert len(repair) == 5
    assert sum(repair) == pytest.approx(sum(bad.values()), rel=0.01)


def test_only_failed_keeps_the_durations_of_the_manifest_and_asks_for_no_header(
    reading: Callable[..., Campaign], blobs: BlobServer
) -> None:
    campaign = reading()
    bad = {blobs.url(f"audio/{number}.wav"): (number + 1) * 7000 for number in range(1, 5)}
    rows = _rows(blobs, 5)
    for row in rows:
        row[3] = str(bad.get(row[0], 7000))
    campaign.says = lambda one: Bad("Timeout") if one in bad else "words"
    campaign.run(rows, repairs=0)
    for number in range(2):  # and what a repair has published is repaired as well
        repair = campaign.plan(None, only_failed=True, run_key=f"repair {number}")
        assert (repair.durations_in_manifest, repair.headers_asked) == (4, 0)
        assert not repair.audio_hours_estimated
        assert repair.audio_hours == pytest.approx(sum(bad.values()) / 3_600_000)
        placed = campaign.pipeline.ledger.placements(repair.plan_id, 0)
        assert sum(one.chunk.audio_ms for one in placed) == sum(bad.values())
        # What is transcribed is as long as the service says, two seconds here.
        assert [one["duration_ms"] for one in _manifest(campaign, repair)] == [2000, *bad.values()]
        campaign.round(repair.plan_id)
        campaign.pipeline.publish(repair.plan_id)
        assert [row["duration_ms"] for row in campaign.rows().values()] == [2000, None, None, None, None]
    assert not blobs.requests


def test_only_failed_reads_no_header_that_was_read_before(
    reading: Callable[..., Campaign], blobs: BlobServer
) -> None:
    campaign = reading()
    campaign.says = lambda _: Bad("Timeout")
    campaign.run(_rows(blobs, 3), repairs=0)
    blobs.requests.clear()
    repair = campaign.plan(None, only_failed=True, run_key="repair")
    assert repair.audio_hours == pytest.approx((1 + 2 + 3) / 3600)
    assert not blobs.requests


def _gone(campaign: Campaign, plan_id: str) -> None:
    for one in list(campaign.store.list(f"plans/{plan_id}/")):
        campaign.store.delete(one.path)


def _spoilt(campaign: Campaign, plan_id: str) -> None:
    campaign.store.put(paths.manifest(plan_id), b"PAR1")


@pytest.mark.parametrize("spoil", [_gone, _spoilt])
def test_only_failed_without_the_manifest_of_what_is_published_reads_headers(
    reading: Callable[..., Campaign], blobs: BlobServer, spoil: Callable[[Campaign, str], None]
) -> None:
    campaign = reading()
    campaign.says = lambda _: Bad("Timeout")
    spoil(campaign, campaign.run(_rows(blobs, 3, said="7000"), repairs=0).plan_id)
    repair = campaign.plan(None, only_failed=True, run_key="repair")
    assert (repair.durations_in_manifest, repair.headers_read) == (0, 3)
    assert repair.audio_hours == pytest.approx((1 + 2 + 3) / 3600)


def test_what_a_budget_left_over_is_told_at_the_rate_that_was_sampled(
    reading: Callable[..., Campaign], blobs: BlobServer
) -> None:
    campaign = reading(probe_files=10)
    plan = campaign.plan(_rows(blobs, 40), budget_hours=0.0)
    campaign.round(plan.plan_id)
    report = campaign.pipeline.publish(plan.plan_id)
    assert report.over_budget == 40
    assert report.over_budget_audio_hours == pytest.approx(plan.audio_hours, rel=0.01)


def test_a_plan_that_was_stored_before_headers_were_read_is_repaired_and_published(
    campaign: Campaign,
) -> None:
    plan = campaign.plan(NAMES)
    path = paths.plan_summary(plan.plan_id)
    old = json.loads(campaign.store.get(path))
    young = {
        "audio_hours_error", "audio_hours_guessed", "durations_in_manifest", "headers_asked", "headers_read",
        "durations_sampled", "durations_guessed", "seconds_per_byte", "price_per_audio_hour", "price_basis",
        "regions", "stored_at",
    }  # fmt: skip
    assert young < old.keys()
    old = {name: value for name, value in old.items() if name not in young}
    campaign.store.put(path, json.dumps(old).encode())
    bad = [Bad(kind="Timeout")]
    campaign.says = lambda one: bad.pop() if bad else f"words of {one}"
    campaign.round(plan.plan_id)
    assert campaign.pipeline.reconcile(plan.plan_id, 0)
    campaign.round(plan.plan_id, 1)
    assert campaign.pipeline.publish(plan.plan_id).transcribed == 8
    summary = PlanSummary(**{name: value for name, value in old.items() if name in PlanSummary.__slots__})
    assert "(exact, from the manifest)" in summary.text


def test_a_budget_that_nobody_has_given_a_limit_is_a_slip_of_the_pen(campaign: Campaign) -> None:
    """It would mean no limit at all: nothing is planned, and the message names the budgets that there are."""
    campaign.plan(NAMES, budget_name="november", budget_hours=1.0)
    for dry_run in (True, False):
        with pytest.raises(SettingsError, match=r"'novembre' has no limit yet .*november"):
            campaign.plan(NAMES, budget_name="novembre", dry_run=dry_run, run_key="second")
    assert campaign.plan(NAMES, budget_name="november", run_key="second").chunks == 3


def test_files_that_are_not_sorted_are_cut_as_if_they_were(
    campaign_with: Callable[..., Campaign], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two locales and two residencies, mixed: read kind by kind, or sorted, the chunks are the same."""
    rows = [
        f"{url(f'{n:02}.wav')},e1,32000,2000,{('en-US', 'de-DE')[n % 2]},{('', 'eu')[n % 3 == 0]}"
        for n in range(24)
    ]
    made = []
    for kinds in (0, 32):
        monkeypatch.setattr("speech_backfill.plan.chunks._MOST_KINDS", kinds)
        campaign = campaign_with()
        source = campaign.folder / "kinds.csv"
        source.write_text("\n".join(["uri,etag,size_bytes,duration_ms,locale,residency", *rows]) + "\n")
        resources = tuple(replace(one, residency="eu") for one in campaign.pipeline.resources)
        campaign = replace(campaign, pipeline=replace(campaign.pipeline, resources=resources))
        made.append(_ids(campaign, campaign.plan(source=str(source))))
    assert made[0] == made[1]
    assert len(made[0]) == 10
