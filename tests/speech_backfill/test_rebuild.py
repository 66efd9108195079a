"""A ledger that is lost, or older than the store, never leads to a second payment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from speech_backfill.errors import StillRunning
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.model import Shard, TranscriptionOptions
from speech_backfill.rebuild import Rebuilt
from speech_backfill.store import Store
from speech_backfill.submit import NotYet, Submitted
from tests.speech_backfill.campaign import Bad, Campaign

NAMES = [f"call {n:02}.wav" for n in range(8)]


@pytest.fixture
def lost(tmp_path: Path) -> Iterator[Callable[[Campaign], Campaign]]:
    """The same installation with an empty ledger."""
    made: list[Ledger] = []

    def lose(campaign: Campaign) -> Campaign:
        made.append(Ledger.open(f"sqlite:///{tmp_path}/new-{len(made)}.db", campaign.clock))
        return replace(campaign, pipeline=replace(campaign.pipeline, ledger=made[-1]))

    yield lose
    for one in made:
        one.engine.dispose()


def submitted(campaign: Campaign, shards: list[Shard]) -> None:
    for shard in shards:
        assert isinstance(campaign.pipeline.submit(shard), Submitted)


def test_a_ledger_lost_while_transcriptions_are_under_way_is_rebuilt_and_pays_nothing_again(
    campaign: Campaign, lost: Callable[[Campaign], Campaign]
) -> None:
    summary = campaign.plan(NAMES)
    submitted(campaign, campaign.pipeline.shards(summary.plan_id))
    new = lost(campaign)
    rebuilt = new.pipeline.rebuild_ledger()
    assert (rebuilt.transcriptions, rebuilt.under_way, rebuilt.unknown) == (3, 3, ())
    # The source has grown at its front, so that a fresh cut would make other chunks.
    again = new.plan(["call .wav", *NAMES])
    assert (again.under_way, again.to_submit) == (8, 9)
    report = new.run(["call .wav", *NAMES])
    assert report.transcribed == 9
    assert new.posts == 4
    assert len(new.texts()) == 9


def test_a_rebuilt_ledger_does_not_give_up_what_may_have_stood_behind_much(
    campaign: Campaign, lost: Callable[[Campaign], Campaign]
) -> None:
    summary = campaign.plan(NAMES)
    submitted(campaign, campaign.pipeline.shards(summary.plan_id))
    campaign.clock.now += campaign.pipeline.settings.deadline_hours * 3600
    new = lost(campaign)
    new.pipeline.rebuild_ledger()
    again = new.plan(NAMES, run_key="again")
    for shard in new.pipeline.shards(again.plan_id):
        new.pipeline.submit(shard)
        with pytest.raises(StillRunning):
            new.pipeline.merge(shard)
    assert new.posts == 3


def test_a_rebuilt_ledger_knows_what_is_published_here_and_elsewhere(
    campaign: Campaign, lost: Callable[[Campaign], Campaign]
) -> None:
    campaign.says = lambda one: Bad("Timeout") if one.endswith("07.wav") else "fine words"
    campaign.run(NAMES, partition="monday")
    published = campaign.pipeline.ledger.partitions()
    posts = campaign.posts
    new = lost(campaign)
    rebuilt = new.pipeline.rebuild_ledger()
    assert (rebuilt.partitions, rebuilt.under_way) == (1, 0)
    assert new.pipeline.ledger.partitions() == published
    assert new.plan(NAMES, partition="tuesday", dry_run=True).elsewhere == 7
    repair = new.plan(None, partition="monday", only_failed=True, run_key="repair")
    assert (repair.to_submit, repair.under_way, new.posts) == (1, 0, posts)
    new.says = lambda _: "at last"
    assert new.run(None, partition="monday", only_failed=True, run_key="repair").transcribed == 8
    assert new.posts == posts + 1


def test_what_was_merged_and_then_purged_is_read_from_the_store_after_a_rebuild(
    campaign: Campaign, lost: Callable[[Campaign], Campaign]
) -> None:
    summary = campaign.plan(NAMES)
    campaign.round(summary.plan_id)
    campaign.service.jobs.clear()
    campaign.clock.now += 3600
    new = lost(campaign)
    assert new.pipeline.rebuild_ledger().under_way == 3
    # Another plan, so that nothing that was merged stands where it looks.
    report = new.run(["call .wav", *NAMES])
    assert (report.transcribed, report.missing) == (9, 0)
    assert new.posts == 4
    assert new.texts() == {name: f"words of {name}" for name in ["call .wav", *NAMES]}


def test_reprocessed_chunks_and_other_options_are_found_again(
    campaign: Campaign, lost: Callable[[Campaign], Campaign]
) -> None:
    campaign.run(NAMES[:2])
    asked = {"reprocess": True, "run_key": "again", "options": TranscriptionOptions(locale="de-DE")}
    summary = campaign.plan(NAMES[:2], **asked)
    submitted(campaign, campaign.pipeline.shards(summary.plan_id))
    new = lost(campaign)
    rebuilt = new.pipeline.rebuild_ledger()
    assert (rebuilt.under_way, rebuilt.unknown) == (1, ())
    assert [one.options.locale for one in new.pipeline.ledger.claims("day").chunks] == ["de-DE"]


def test_two_under_one_token_are_one_and_a_duplicate(
    campaign: Campaign, lost: Callable[[Campaign], Campaign]
) -> None:
    summary = campaign.plan(NAMES[:2])
    submitted(campaign, campaign.pipeline.shards(summary.plan_id))
    (first,) = campaign.service.jobs.values()
    campaign.clock.now += 10
    second = campaign.service.add(first.display_name)
    campaign.service.jobs[second].body = first.body
    new = lost(campaign)
    assert new.pipeline.rebuild_ledger().duplicates == 1
    report = new.run(NAMES[:2])
    assert (report.transcribed, report.duplicates) == (2, 1)
    assert {row["transcription_id"] for row in new.rows().values()} == {first.transcription_id}


def test_a_rebuild_changes_nothing_of_a_ledger_that_is_whole(campaign: Campaign) -> None:
    summary = campaign.plan(NAMES)
    campaign.round(summary.plan_id)
    before = campaign.submissions.of_plan(summary.plan_id)
    assert campaign.pipeline.rebuild_ledger().transcriptions == 0
    assert campaign.submissions.of_plan(summary.plan_id) == before
    campaign.pipeline.publish(summary.plan_id)
    partitions = campaign.pipeline.ledger.partitions()
    assert campaign.pipeline.rebuild_ledger().transcriptions == 0
    assert campaign.pipeline.ledger.partitions() == partitions


def test_what_is_not_in_the_list_yet_is_looked_for_before_it_is_submitted(
    campaign: Campaign, lost: Callable[[Campaign], Campaign]
) -> None:
    summary = campaign.plan(NAMES[:3])
    submitted(campaign, campaign.pipeline.shards(summary.plan_id))
    campaign.service.list_lag_seconds = 100
    new = lost(campaign)
    rebuilt = new.pipeline.rebuild_ledger()
    assert (rebuilt.transcriptions, rebuilt.under_way) == (1, 1)
    assert new.run(NAMES[:3]).transcribed == 3
    assert new.posts == 1


def test_transcriptions_of_another_store_are_named_and_left_alone(campaign: Campaign) -> None:
    token = f"speech-backfill-{'a' * 32}-1"
    campaign.service.add(token)
    campaign.service.add("somebody else's")
    assert campaign.pipeline.rebuild_ledger().unknown == (token,)


def test_a_look_that_fails_leaves_the_ledger_as_it_was(
    campaign: Campaign, lost: Callable[[Campaign], Campaign]
) -> None:
    summary = campaign.plan(NAMES)
    submitted(campaign, campaign.pipeline.shards(summary.plan_id))
    new = lost(campaign)
    new.service.script("list", *[httpx.Response(400, json={"code": "InvalidRequest"})] * 3)
    with pytest.raises(Exception, match="refused"):
        new.pipeline.rebuild_ledger()
    assert new.pipeline.ledger.claims("day").chunks == ()


# --- without a rebuild ---------------------------------------------------------------------------


@pytest.mark.parametrize("lag_seconds", [0, 100])
def test_an_empty_ledger_on_a_store_with_marks_looks_before_the_first_submission(
    campaign: Campaign, lost: Callable[[Campaign], Campaign], lag_seconds: int
) -> None:
    summary = campaign.plan(NAMES[:3])
    submitted(campaign, campaign.pipeline.shards(summary.plan_id))
    campaign.service.list_lag_seconds = lag_seconds
    campaign.clock.now += 1
    new = lost(campaign)
    assert new.run(NAMES[:3]).transcribed == 3
    assert new.posts == 1


def test_a_mark_without_a_transcription_costs_time_only(
    campaign: Campaign, lost: Callable[[Campaign], Campaign]
) -> None:
    campaign.service.script("submit", httpx.ConnectError)
    summary = campaign.plan(NAMES[:3])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    answer = campaign.pipeline.submit(shard)
    assert isinstance(answer, NotYet)
    assert "not reached" in answer.reason
    campaign.clock.now += 1
    new = lost(campaign)
    (shard,) = new.pipeline.shards(new.plan(NAMES[:3]).plan_id)
    answer = new.pipeline.submit(shard)
    assert isinstance(answer, NotYet)
    assert "another ledger" in answer.reason
    new.submit(shard)
    assert len(new.service.jobs) == 1


def test_a_ledger_restored_from_before_a_second_try_looks_first(
    campaign_with: Callable[..., Campaign], tmp_path: Path
) -> None:
    campaign = campaign_with(resources={"east": 4, "west": 4})
    for service in campaign.services.values():
        service.script("submit", httpx.Response(429))
    summary = campaign.plan(NAMES[:3])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    assert isinstance(campaign.pipeline.submit(shard), NotYet)
    backup = campaign.clone(tmp_path / "backup")
    backup = replace(backup, pipeline=replace(backup.pipeline, store=campaign.store))
    campaign.clock.now += 60
    submitted(campaign, [shard])
    campaign.clock.now += 60
    submitted(backup, [shard])
    assert sum(len(one.jobs) for one in campaign.services.values()) == 1
    (record,) = backup.submissions.of_plan(summary.plan_id)
    assert record.adopted
    backup.pipeline.ledger.engine.dispose()


def test_no_mark_costs_a_look_while_the_ledger_is_the_right_one(campaign: Campaign) -> None:
    summary = campaign.plan(NAMES)
    submitted(campaign, campaign.pipeline.shards(summary.plan_id))
    assert campaign.service.calls["list"] == 0


def test_the_answer_says_what_to_do() -> None:
    text = Rebuilt(2, 5, 3, 1, ("speech-backfill-x-1",)).text
    assert "3 transcriptions are not accounted for" in text
    assert "submitted twice" in text
    assert "speech-backfill-x-1" in text


def test_a_store_in_a_folder_that_was_published_twice_is_read_past_its_lock(
    campaign_with: Callable[..., Campaign], lost: Callable[[Campaign], Campaign], tmp_path: Path
) -> None:
    """The second publication leaves the file that stands in for a conditional write."""
    campaign = campaign_with(store=Store.open(str(tmp_path / "store")))
    campaign.run(NAMES)
    campaign.run([*NAMES, "one more.wav"], run_key="again")
    rebuilt = lost(campaign).pipeline.rebuild_ledger()
    assert (rebuilt.partitions, rebuilt.unknown) == (1, ())
