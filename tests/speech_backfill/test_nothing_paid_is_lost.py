"""What was transcribed and paid for stands, whatever a later run meets. Each story was a fault found in review."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from speech_backfill.accounts import SasToken, StorageAccount
from speech_backfill.errors import SettingsError, StillRunning
from tests.speech_backfill.campaign import Bad, Campaign

ROWS = [("a.wav", "e1"), ("b.wav", "e1"), ("c.wav", "e1")]


def test_a_failed_reprocess_leaves_the_transcript_that_was_there(campaign: Campaign) -> None:
    """The same content was transcribed before; paying again and failing must not take that away."""
    campaign.run(ROWS)
    before = campaign.texts()
    campaign.says = lambda one: Bad() if one.endswith("b.wav") else "said anew"

    report = campaign.run(ROWS, reprocess=True, run_key="again")

    assert (report.transcribed, report.failed) == (3, 0)
    after = campaign.texts()
    assert after["b.wav"] == before["b.wav"]
    assert after["a.wav"] == "said anew"


def test_a_line_that_is_refused_today_takes_no_transcript_away(campaign: Campaign) -> None:
    """Audio that a retention policy has removed, or emptied, was transcribed while it was there."""
    campaign.run(ROWS)
    text = campaign.texts()["c.wav"]

    report = campaign.run([*ROWS[:2], ("c.wav", "e2", "0"), ("d.wav", "e1")])

    assert (report.files, report.transcribed, report.failed) == (4, 4, 0)
    assert campaign.texts()["c.wav"] == text


def test_a_partition_that_shares_a_transcription_does_not_settle_it_for_another(campaign: Campaign) -> None:
    """p1 submits three files; p2 wants one of them and is published first; planning p1 again pays for nothing."""
    first = campaign.plan(ROWS, partition="p1", run_key="one")
    for shard in campaign.pipeline.shards(first.plan_id):
        campaign.submit(shard)
    campaign.run(ROWS[:1], partition="p2", run_key="two")
    posts = campaign.posts

    campaign.run(ROWS, partition="p1", run_key="one")

    assert campaign.posts == posts
    assert campaign.outcomes("p1") == dict.fromkeys(["a.wav", "b.wav", "c.wav"], "transcribed")


@pytest.mark.parametrize(("hours_left", "refused"), [(-1, True), (5, True), (200, False)])
def test_a_sas_that_ends_before_the_queue_may_is_refused_at_once(hours_left: float, refused: bool) -> None:
    """A thousand files would fail hours later, each with a reason that nobody understands."""
    now = 1_700_000_000.0
    ends = datetime.fromtimestamp(now + hours_left * 3600, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    account = StorageAccount("acct", "https://acct.example", SasToken(f"sv=1&se={ends}&sig=secret"))
    if refused:
        with pytest.raises(SettingsError, match=r"expire[sd]") as caught:
            account.signer(now=now, hours=96)
        assert "secret" not in str(caught.value)
    else:
        assert account.signer(now=now, hours=96)("c", "p").endswith("sig=secret")
        # A longer life would be better, and nobody here can give it that.
        assert account.signer(now=now, hours=96, better_hours=200)("c", "p").endswith("sig=secret")


def test_a_shard_that_is_not_all_ended_downloads_nothing(campaign_with: Callable[..., Campaign]) -> None:
    """Else every look at a long shard would fetch again what has ended."""
    campaign = campaign_with(files_per_transcription=1, max_shards=1)
    summary = campaign.plan(ROWS)
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    campaign.submit(shard)
    first = next(iter(campaign.service.jobs.values()))
    campaign.finish(first, campaign.service)
    before = campaign.service.calls["fetch"]

    with pytest.raises(StillRunning):
        campaign.pipeline.merge(shard)

    assert campaign.service.calls["fetch"] == before
    campaign.end_all()
    assert campaign.pipeline.merge(shard).transcribed == 3


def test_what_an_earlier_plan_submitted_stands_in_the_report_that_accounts_for_it(campaign: Campaign) -> None:
    """A plan that was replaced before it was published has no report; its cost must not vanish with it."""
    first = campaign.plan(ROWS)
    campaign.submit(*campaign.pipeline.shards(first.plan_id))

    report = campaign.run([*ROWS, ("d.wav", "e1")])
    again = campaign.run([*ROWS, ("d.wav", "e1")])

    assert report.submitted_now == 1
    assert report.billed_audio_hours == pytest.approx(4 * 2 / 3600)
    assert again.billed_audio_hours == 0
