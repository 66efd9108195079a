"""The whole pipeline: what happens to every file when all is calm, and when it is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from fakes.speech_service import KEY, SIGNATURE
from speech_backfill.errors import BudgetExhausted
from speech_backfill.ledger.budgets import Budgets
from speech_backfill.ledger.records import Budget
from speech_backfill.merge import StillRunning
from speech_backfill.speech.errors import (
    NotFound,
    RequestRefused,
    ServiceUnavailable,
    SpeechServiceError,
    Unauthorized,
)
from speech_backfill.submit import NotYet, Submitted
from speech_backfill.tables.read import read_table
from tests.speech_backfill.campaign import ACCOUNT_KEY, Absent, Bad, Campaign, Spoilt, Unlisted, url

NAMES = [f"call {n:02}.wav" for n in range(8)]


def test_a_calm_run_transcribes_every_file_once(campaign: Campaign) -> None:
    report = campaign.run(NAMES)
    assert (report.files, report.transcribed, report.failed, report.missing) == (8, 8, 0, 0)
    assert campaign.texts() == {name: f"words of {name}" for name in NAMES}
    assert campaign.posts == 3  # 8 files, 3 at a time
    assert report.transcriptions == report.submitted_now == 3
    assert report.transcribed_now == 8
    assert campaign.service.calls["delete"] == 3
    assert campaign.service.jobs == {}


def test_what_is_sent_carries_token_options_and_a_read_signature(campaign: Campaign) -> None:
    summary = campaign.plan(NAMES[:2])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    campaign.submit(shard)
    (job,) = campaign.service.jobs.values()
    (placement,) = campaign.pipeline.ledger.placements(summary.plan_id, 0)
    assert job.display_name == f"speech-backfill-{placement.chunk.chunk_id}-1"
    assert job.body["customProperties"]["chunk"] == placement.chunk.chunk_id
    assert job.body["locale"] == "en-US"
    assert [one.split("?")[0] for one in job.body["contentUrls"]] == [
        url("call%2000.wav"),
        url("call%2001.wav"),
    ]
    for signed in job.body["contentUrls"]:
        query = parse_qs(urlsplit(signed).query)
        assert query["sp"] == ["r"]
        ends = datetime.fromisoformat(query["se"][0]).timestamp()
        assert ends - campaign.clock.now == campaign.pipeline.settings.sas_hours * 3600


def test_no_secret_is_written_anywhere(campaign: Campaign) -> None:
    campaign.says = lambda one: (
        Bad(message=f"could not get {one}?sig=a-leaked-signature&se=1")
        if one.endswith("00.wav")
        else "hello there"
    )
    report = campaign.run(NAMES)
    assert b"hello there" in campaign.raw()
    written = {**campaign.everything_written(), "raw": campaign.raw(), "report": report.markdown.encode()}
    for name, found in campaign.rows().items():
        written[name] = str(found).encode()
    ledger = campaign.folder / "ledger.db"
    campaign.pipeline.ledger.engine.dispose()
    written["ledger"] = ledger.read_bytes()
    for path, content in written.items():
        for secret in (
            b"sig=",
            b"a-leaked-signature",
            ACCOUNT_KEY.encode(),
            KEY.encode(),
            SIGNATURE.encode(),
        ):
            assert secret not in content, (path, secret)


def test_an_answer_lost_after_creation_is_adopted_and_paid_once(campaign: Campaign) -> None:
    campaign.service.script_after("submit", httpx.ReadTimeout)
    report = campaign.run(NAMES[:3])
    assert report.transcribed == 3
    assert report.adopted == 1
    assert campaign.posts == 1


def test_an_answer_lost_before_creation_is_submitted_again_only_after_the_grace_time(
    campaign: Campaign,
) -> None:
    campaign.service.script("submit", httpx.ReadTimeout)
    summary = campaign.plan(NAMES[:3])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    began = campaign.clock.now
    answer = campaign.pipeline.submit(shard)
    assert isinstance(answer, NotYet)
    settings = campaign.pipeline.settings
    assert answer.until >= began + settings.submit_timeout_seconds + settings.lookup_grace_seconds
    campaign.clock.now = answer.until - 1
    assert isinstance(campaign.pipeline.submit(shard), NotYet)
    assert campaign.posts == 1
    campaign.submit(shard)
    assert campaign.posts == 2
    assert len(campaign.service.jobs) == 1


def test_a_list_that_lags_within_the_grace_time_does_not_lead_to_a_second_submission(
    campaign: Campaign,
) -> None:
    campaign.service.script_after("submit", httpx.ReadTimeout)
    campaign.service.list_lag_seconds = 100
    report = campaign.run(NAMES[:3])
    assert (report.transcribed, report.adopted, campaign.posts) == (3, 1, 1)


@pytest.mark.parametrize("quirk", ["ignores_filters", "refuses_filters"])
def test_a_list_that_knows_no_filter_is_checked_here(campaign: Campaign, quirk: str) -> None:
    setattr(campaign.service, quirk, True)
    for _ in range(150):  # more than a page of somebody else's
        campaign.service.add()
    campaign.service.script_after("submit", httpx.ReadTimeout)
    report = campaign.run(NAMES[:3])
    assert (report.transcribed, report.adopted, campaign.posts) == (3, 1, 1)


@pytest.mark.parametrize(
    "trouble", [httpx.Response(503), httpx.Response(200, text="no JSON"), httpx.ConnectError]
)
def test_a_failed_look_up_never_leads_to_a_submission(campaign: Campaign, trouble: Any) -> None:
    campaign.service.script_after("submit", httpx.ReadTimeout)
    summary = campaign.plan(NAMES[:3])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    campaign.service.script("list", *[trouble] * 30)
    for _ in range(3):
        try:
            answer = campaign.pipeline.submit(shard)
        except SpeechServiceError:
            campaign.clock.now += 1000
        else:
            assert isinstance(answer, NotYet)
            campaign.clock.now = answer.until
    assert campaign.posts == 1
    campaign.service._before["list"].clear()
    campaign.submit(shard)
    assert campaign.posts == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_a_server_error_on_a_submission_is_looked_for_before_anything_else(
    campaign: Campaign, status: int
) -> None:
    campaign.service.script_after("submit", httpx.Response(status, text="<html>gateway</html>"))
    report = campaign.run(NAMES[:3])
    assert (report.transcribed, report.adopted, campaign.posts) == (3, 1, 1)


def test_throttling_waits_as_long_as_advised_and_holds_nothing(campaign: Campaign) -> None:
    campaign.service.script("submit", httpx.Response(429, headers={"Retry-After": "77"}))
    summary = campaign.plan(NAMES[:3])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    answer = campaign.pipeline.submit(shard)
    assert isinstance(answer, NotYet)
    assert answer.until == campaign.clock.now + 77
    (record,) = campaign.submissions.of_plan(summary.plan_id)
    assert record.state == "refused"
    campaign.clock.now = answer.until
    assert isinstance(campaign.pipeline.submit(shard), Submitted)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(400, json={"code": "InvalidRequest", "message": "no such locale"}), RequestRefused),
        (httpx.Response(401, json={"error": {"code": "401", "message": "wrong key"}}), Unauthorized),
        (httpx.Response(404, json={"code": "NotFound", "message": "no such path"}), NotFound),
        (httpx.ConnectError, None),
    ],
)
def test_a_refusal_frees_window_and_budget(
    campaign_with: Callable[..., Campaign], answer: Any, error: type[Exception] | None
) -> None:
    """What a person must mend raises an *error*, what passes is waited for."""
    campaign = campaign_with(resources={"east": 1})
    summary = campaign.plan(NAMES[:3], budget_hours=6 / 3600)
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    campaign.service.script("submit", answer)
    if error is None:
        assert isinstance(campaign.pipeline.submit(shard), NotYet)
    else:
        with pytest.raises(error):
            campaign.pipeline.submit(shard)
    (record,) = campaign.submissions.of_plan(summary.plan_id)
    assert record.state == "refused"
    assert isinstance(campaign.pipeline.submit(shard), Submitted)
    assert len(campaign.service.jobs) == 1


def test_two_transcriptions_of_one_token_are_one_in_the_tables_and_two_in_the_report(
    campaign: Campaign,
) -> None:
    campaign.service.script_after("submit", httpx.ReadTimeout)
    summary = campaign.plan(NAMES[:3])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    original = campaign.service._submit

    def twice(request: httpx.Request) -> httpx.Response:
        original(request)
        campaign.clock.now += 5
        return original(request)

    campaign.service._submit = twice  # type: ignore[method-assign]
    campaign.submit(shard)
    first, second = sorted(campaign.service.jobs.values(), key=lambda one: one.created_at)
    campaign.end_all()
    campaign.pipeline.merge(shard)
    report = campaign.pipeline.publish(summary.plan_id)
    assert set(campaign.texts()) == set(NAMES[:3])
    assert set(read_table(campaign.store, "outcomes")["transcription_id"]) == {first.transcription_id}
    assert report.duplicates == 1
    assert report.duplicate_audio_hours == pytest.approx(6 / 3600)
    assert campaign.service.jobs == {}, second.transcription_id


def test_files_that_fail_inside_a_success_fail_alone(campaign: Campaign) -> None:
    campaign.says = lambda one: Bad() if one.endswith("01.wav") else "fine words"
    report = campaign.run(NAMES)
    assert (report.transcribed, report.failed, report.missing) == (7, 1, 0)
    row = campaign.rows()["call 01.wav"]
    assert (row["outcome"], row["error_code"], row["error_message"], row["can_retry"]) == (
        "failed",
        "InvalidAudio",
        "it can't be decoded",
        False,
    )
    assert campaign.posts == 3  # nothing was tried again
    assert [one.files for one in report.reasons] == [1]


def test_a_cure_is_tried_once_with_just_the_files_it_may_help(campaign: Campaign) -> None:
    tries: Counter[str] = Counter()

    def says(one: str) -> object:
        tries[one] += 1
        if one.endswith(("01.wav", "06.wav")):
            return Bad("Timeout", "took too long") if tries[one] == 1 else "the second time"
        return Bad("InvalidAudio") if one.endswith("02.wav") else "at once"

    campaign.says = says
    report = campaign.run(NAMES)
    assert (report.transcribed, report.failed) == (7, 1)
    assert campaign.posts == 4
    assert campaign.texts()["call 06.wav"] == "the second time"
    assert tries[url("call%2002.wav")] == 1


def test_a_transcription_that_fails_as_a_whole_is_halved_until_the_bad_file_stands_alone(
    campaign_with: Callable[..., Campaign],
) -> None:
    campaign = campaign_with(files_per_transcription=8)
    bad = url("call%2003.wav")
    summary = campaign.plan(NAMES)

    def end() -> None:
        for job in list(campaign.service.jobs.values()):
            if job.status != "NotStarted":
                continue
            if any(one.startswith(bad) for one in job.body["contentUrls"]):
                campaign.service.end(job.transcription_id, failed=("InvalidData", "one of these is bad"))
            else:
                campaign.finish(job, campaign.service)

    for number in range(4):
        for shard in campaign.pipeline.shards(summary.plan_id, number):
            while isinstance(campaign.pipeline.submit(shard), NotYet):
                end()
            end()
            campaign.pipeline.merge(shard)
        sizes = [one.chunk.files for one in campaign.pipeline.ledger.placements(summary.plan_id, number)]
        assert sizes == ([8] if number == 0 else [8 >> number] * 2)
        following = campaign.pipeline.reconcile(summary.plan_id, number)
        assert bool(following) is (number < 3)
    report = campaign.pipeline.publish(summary.plan_id)
    assert (report.transcribed, report.failed, report.can_retry) == (7, 1, 0)
    assert campaign.outcomes()["call 03.wav"] == "failed"
    assert campaign.posts == 7


def test_a_file_that_nobody_mentions_is_missing_and_repaired(campaign: Campaign) -> None:
    silent = {url("call%2004.wav")}

    def says(one: str) -> object:
        if one in silent:
            silent.discard(one)
            return Absent()
        return "some words"

    campaign.says = says
    assert campaign.run(NAMES).transcribed == 8
    assert campaign.posts == 4


@pytest.mark.parametrize(
    ("what", "outcome", "code"),
    [
        (Absent(), "missing", "NotReported"),
        (Unlisted(), "missing", "ResultNotFound"),
        (Spoilt(), "failed", "InvalidResult"),
    ],
)
def test_what_stays_away_ends_with_its_reason(
    campaign: Campaign, what: object, outcome: str, code: str
) -> None:
    campaign.says = lambda one: what if one.endswith("04.wav") else "fine words"
    report = campaign.run(NAMES)
    assert (report.files, report.transcribed, report.can_retry) == (8, 7, 1)
    row = campaign.rows()["call 04.wav"]
    assert (row["outcome"], row["error_code"]) == (outcome, code)
    assert len(campaign.texts()) == 7


def test_a_missing_report_costs_only_the_reasons(campaign: Campaign) -> None:
    campaign.with_report = False
    campaign.says = lambda one: Bad() if one.endswith("04.wav") else "fine words"
    report = campaign.run(NAMES, repairs=0)
    assert (report.transcribed, report.missing) == (7, 1)
    assert "no report" in campaign.rows()["call 04.wav"]["error_message"]


def test_a_result_file_that_is_not_there_is_missing(campaign: Campaign) -> None:
    summary = campaign.plan(NAMES[:3])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    campaign.submit(shard)
    campaign.end_all()
    original = campaign.service._fetch

    def without_one(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("contenturl_1.json"):
            return httpx.Response(404, text="BlobNotFound")
        return original(request)

    campaign.service._fetch = without_one  # type: ignore[method-assign]
    merged = campaign.pipeline.merge(shard)
    assert (merged.transcribed, merged.missing, merged.can_retry) == (2, 1, 1)


def test_links_that_expire_in_mid_download_are_renewed(campaign: Campaign) -> None:
    summary = campaign.plan(NAMES[:3])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    campaign.submit(shard)
    campaign.end_all()
    original, service = campaign.service._fetch, campaign.service

    def expiring(request: httpx.Request) -> httpx.Response:
        answer = original(request)
        if request.url.path.endswith("report.json") and service.sas_generation == 1:
            service.sas_generation, service.accepted_sas = 2, {2}
        return answer

    service._fetch = expiring  # type: ignore[method-assign]
    assert campaign.pipeline.merge(shard).transcribed == 3
    assert service.calls["files"] == 2  # whoever came first listed for all


def test_a_transcription_purged_before_download_is_said_and_not_paid_again_unasked(
    campaign: Campaign,
) -> None:
    summary = campaign.plan(NAMES[:3])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    campaign.submit(shard)
    campaign.service.jobs.clear()
    with pytest.raises(ServiceUnavailable, match="right after its submission"):
        campaign.pipeline.merge(shard)
    campaign.clock.now += 200
    merged = campaign.pipeline.merge(shard)
    assert (merged.missing, merged.can_retry) == (3, 0)
    assert campaign.pipeline.reconcile(summary.plan_id, 0) == []
    campaign.pipeline.publish(summary.plan_id)
    assert campaign.rows()["call 00.wav"]["error_code"] == "ResultsPurged"
    assert campaign.posts == 1


def test_a_purged_transcription_is_repaired_where_the_settings_allow_it(
    campaign_with: Callable[..., Campaign],
) -> None:
    campaign = campaign_with(resubmit_purged=True)
    summary = campaign.plan(NAMES[:3])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    campaign.submit(shard)
    (job,) = campaign.service.jobs.values()
    campaign.service.forget(job.transcription_id)
    campaign.clock.now += 200
    merged = campaign.pipeline.merge(shard)
    assert (merged.missing, merged.can_retry) == (3, 3)
    (repair,) = campaign.pipeline.reconcile(summary.plan_id, 0)
    assert campaign.pipeline.reconcile(summary.plan_id, 0) == [repair]
    campaign.round(summary.plan_id, 1)
    report = campaign.pipeline.publish(summary.plan_id)
    assert (report.transcribed, campaign.posts) == (3, 2)
    assert campaign.rows()["call 00.wav"]["attempt"] == 2


def test_an_overdue_transcription_is_given_up_and_repaired_and_its_late_success_is_not_doubled(
    campaign: Campaign,
) -> None:
    summary = campaign.plan(NAMES[:3])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    campaign.submit(shard)
    (stuck,) = campaign.service.jobs.values()
    with pytest.raises(StillRunning):
        campaign.pipeline.merge(shard)
    campaign.pass_deadlines()
    merged = campaign.pipeline.merge(shard)
    assert (merged.missing, merged.can_retry) == (3, 3)
    assert [one.state for one in campaign.submissions.of_plan(summary.plan_id)] == ["given_up"]
    (repair,) = campaign.pipeline.reconcile(summary.plan_id, 0)
    campaign.clock.now += campaign.pipeline.settings.linger_seconds
    campaign.submit(repair)
    assert len(campaign.service.jobs) == 2
    campaign.end_all()
    assert campaign.pipeline.merge(repair).transcribed == 3
    # Its late success, met because somebody clears the first merge, changes nothing in the tables.
    campaign.finish(stuck, campaign.service)
    assert campaign.pipeline.merge(shard).transcribed == 3
    report = campaign.pipeline.publish(summary.plan_id)
    assert (report.transcribed, report.given_up) == (3, 1)
    assert len(campaign.texts()) == 3
    assert len(read_table(campaign.store, "phrases")) == 3


def test_an_overdue_transcription_says_so_in_the_outcomes(campaign: Campaign) -> None:
    summary = campaign.plan(NAMES[:1])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    campaign.submit(shard)
    campaign.pass_deadlines()
    campaign.pipeline.merge(shard)
    campaign.pipeline.publish(summary.plan_id)
    row = campaign.rows()["call 00.wav"]
    assert (row["outcome"], row["error_code"]) == ("missing", "Overdue")
    assert "deadline" in row["error_message"]


def test_a_window_of_one_serves_several_shards_in_turn(campaign_with: Callable[..., Campaign]) -> None:
    campaign = campaign_with(resources={"east": 1}, files_per_transcription=2)
    summary = campaign.plan(NAMES)
    shards = campaign.pipeline.shards(summary.plan_id)
    assert len(shards) == 4
    most = 0
    for shard in shards:
        answer = campaign.pipeline.submit(shard)
        most = max(most, sum(job.status == "NotStarted" for job in campaign.service.jobs.values()))
        if isinstance(answer, NotYet):
            assert "window" in answer.reason
            assert len(answer.waiting_for) == 1
            campaign.submit(shard)
    assert most == 1
    campaign.end_all()
    for shard in shards:
        campaign.pipeline.merge(shard)
    assert campaign.pipeline.publish(summary.plan_id).transcribed == 8


def test_one_transcription_that_never_ends_does_not_shut_the_window_for_ever(
    campaign_with: Callable[..., Campaign],
) -> None:
    campaign = campaign_with(resources={"east": 1}, files_per_transcription=2, max_shards=1)
    summary = campaign.plan(NAMES[:4])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    assert isinstance(campaign.pipeline.submit(shard), NotYet)
    campaign.pass_deadlines()
    assert isinstance(campaign.pipeline.submit(shard), NotYet), "the region may work on it still"
    (given_up,) = campaign.submissions.of_plan(summary.plan_id)
    assert given_up.state == "given_up"
    campaign.clock.now += campaign.pipeline.settings.linger_seconds
    assert isinstance(campaign.pipeline.submit(shard), Submitted)
    assert [one.state for one in campaign.submissions.of_plan(summary.plan_id)] == ["given_up", "submitted"]


def test_what_was_given_up_frees_its_place_as_soon_as_it_is_seen_to_end(
    campaign_with: Callable[..., Campaign],
) -> None:
    campaign = campaign_with(resources={"east": 1}, files_per_transcription=2, max_shards=1)
    summary = campaign.plan(NAMES[:4])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    campaign.pipeline.submit(shard)
    campaign.pass_deadlines()
    answer = campaign.pipeline.submit(shard)
    (job,) = campaign.service.jobs.values()
    assert isinstance(answer, NotYet)
    assert [one.transcription_id for one in answer.waiting_for] == [job.transcription_id], "nobody else ends"

    campaign.finish(job, campaign.service)

    assert isinstance(campaign.pipeline.submit(shard), Submitted)
    assert len(campaign.service.jobs) == 2
    # Its repair would take it: it has ended well, and was given up before the merge.
    assert [one.state for one in campaign.submissions.of_plan(summary.plan_id)] == ["given_up", "submitted"]


def test_what_was_given_up_frees_its_place_once_the_service_does_not_know_it_any_more(
    campaign_with: Callable[..., Campaign],
) -> None:
    campaign = campaign_with(resources={"east": 1}, files_per_transcription=2, max_shards=1)
    summary = campaign.plan(NAMES[:4])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    campaign.pipeline.submit(shard)
    campaign.pass_deadlines()
    assert isinstance(campaign.pipeline.submit(shard), NotYet)
    (job,) = campaign.service.jobs.values()

    campaign.service.forget(job.transcription_id)

    assert isinstance(campaign.pipeline.submit(shard), Submitted), "its end would be waited for without end"
    campaign.end_all()
    campaign.pipeline.merge(shard)
    campaign.pipeline.publish(summary.plan_id)
    assert [(one["outcome"], one["error_code"]) for one in campaign.rows().values()][:2] == [
        ("missing", "Overdue"),
        ("missing", "Overdue"),
    ]


def test_the_deadline_counts_from_when_the_region_was_expected_to_be_done(
    campaign_with: Callable[..., Campaign],
) -> None:
    """Each has 100 hours, for which the region is assumed to need 20; four of them outlast the deadline of 48 hours."""
    campaign = campaign_with(max_shards=1, files_per_transcription=1, audio_speed=5.0)
    summary = campaign.plan([[url(one), "e1", "32000", "360000000", ""] for one in ("a", "b", "c", "d")])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    campaign.pipeline.submit(shard)
    start = campaign.clock.now
    hours = campaign.pipeline.settings.deadline_hours
    due = sorted((one.due_at(hours) - start) / 3600 for one in campaign.submissions.unfinished("east"))
    assert due == pytest.approx([48 + 40, 48 + 80, 48 + 120, 48 + 160]), "twice, for the speed is assumed"

    for ended in range(4):
        campaign.clock.now = start + (ended + 1) * 20 * 3600
        campaign.finish([*campaign.service.jobs.values()][ended], campaign.service)
        if ended < 3:
            with pytest.raises(StillRunning):
                campaign.pipeline.merge(shard)
    campaign.pipeline.merge(shard)
    report = campaign.pipeline.publish(summary.plan_id)
    assert (report.transcribed, report.given_up) == (4, 0)


def test_a_deadline_does_not_follow_the_low_speed_that_short_files_teach(
    campaign_with: Callable[..., Campaign],
) -> None:
    """A file of two minutes takes twenty, most of which it waits: a tenth of real time, which no region works at."""
    campaign = campaign_with(max_shards=1, files_per_transcription=1)
    for night in range(5):
        partition = f"night {night}"
        summary = campaign.plan(
            [[url(partition), "e1", "32000", "120000", ""]], partition=partition, run_key=partition
        )
        (shard,) = campaign.pipeline.shards(summary.plan_id)
        campaign.submit(shard)
        campaign.clock.now += 1200
        campaign.end_all()
        campaign.pipeline.merge(shard)
        campaign.pipeline.publish(summary.plan_id)
    summary = campaign.plan([[url(one), "e1", "32000", "432000000", ""] for one in ("a", "b", "c", "d")])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    campaign.pipeline.submit(shard)
    under_way = campaign.submissions.unfinished("east")
    due = sorted((one.due_at(48.0) - campaign.clock.now) / 3600 for one in under_way)
    assert due == pytest.approx([48 + 48, 48 + 96, 48 + 144, 48 + 192])


def test_what_may_never_end_is_not_waited_for_beside_what_will(
    campaign_with: Callable[..., Campaign],
) -> None:
    campaign = campaign_with(resources={"east": 2}, files_per_transcription=1, max_shards=1)
    (shard,) = campaign.pipeline.shards(campaign.plan(NAMES[:4]).plan_id)
    campaign.pipeline.submit(shard)
    stuck, fast = campaign.service.jobs.values()
    campaign.pass_deadlines()
    campaign.finish(fast, campaign.service)
    answer = campaign.pipeline.submit(shard)
    assert isinstance(answer, NotYet)
    *_, third = campaign.service.jobs.values()
    assert [one.transcription_id for one in answer.waiting_for] == [third.transcription_id]
    assert stuck.status == "NotStarted"
    assert answer.ends == 1


def test_the_signature_of_the_audio_lives_until_its_transcription_is_given_up(
    campaign_with: Callable[..., Campaign],
) -> None:
    campaign = campaign_with(max_shards=1, files_per_transcription=1)
    summary = campaign.plan([[url(one), "e1", "32000", "360000000", ""] for one in ("a", "b", "c", "d")])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    campaign.pipeline.submit(shard)
    lives = []
    for job in campaign.service.jobs.values():
        (source,) = job.body["contentUrls"]
        ends = datetime.fromisoformat(parse_qs(urlsplit(source).query)["se"][0]).timestamp()
        lives.append((ends - campaign.clock.now) / 3600)
    assert lives == pytest.approx([96, 128, 168, 208])


def test_one_that_was_deleted_at_the_service_does_not_shut_the_window_either(
    campaign_with: Callable[..., Campaign],
) -> None:
    campaign = campaign_with(resources={"east": 1}, files_per_transcription=2, max_shards=1)
    summary = campaign.plan(NAMES[:4])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    assert isinstance(campaign.pipeline.submit(shard), NotYet)
    campaign.service.jobs.clear()
    campaign.clock.now += 200
    assert isinstance(campaign.pipeline.submit(shard), Submitted)


@pytest.mark.parametrize("at_the_service", [True, False])
def test_an_intent_of_a_replaced_plan_is_resolved_when_the_window_is_full(
    campaign_with: Callable[..., Campaign], at_the_service: bool
) -> None:
    campaign = campaign_with(resources={"east": 1})
    summary = campaign.plan(NAMES[:2])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    (campaign.service.script_after if at_the_service else campaign.service.script)(
        "submit", httpx.ReadTimeout
    )
    campaign.service.list_lag_seconds = 10
    assert isinstance(campaign.pipeline.submit(shard), NotYet)
    other = campaign.plan(NAMES[4:6], partition="day")  # the source has changed altogether
    (shard,) = campaign.pipeline.shards(other.plan_id)
    answer = campaign.pipeline.submit(shard)
    assert isinstance(answer, NotYet)
    assert answer.until <= campaign.clock.now + campaign.pipeline.settings.lease_seconds
    campaign.submit(shard)
    assert campaign.posts == 2
    campaign.end_all()
    campaign.pipeline.merge(shard)
    assert campaign.pipeline.publish(other.plan_id).transcribed == 2


def test_chunks_go_to_the_resource_with_the_shorter_backlog(campaign_with: Callable[..., Campaign]) -> None:
    campaign = campaign_with(resources={"east": 2, "west": 2})
    assert campaign.run(NAMES).transcribed == 8
    assert {name: one.calls["submit"] for name, one in campaign.services.items()} == {"east": 2, "west": 1}


def test_a_budget_stops_in_time_and_a_higher_one_goes_on(campaign: Campaign) -> None:
    one_chunk = 6 / 3600
    summary = campaign.plan(NAMES, budget_hours=2 * one_chunk)
    shards = campaign.pipeline.shards(summary.plan_id)
    for shard in shards[:2]:
        assert campaign.submit(shard).stopped == 0
    assert campaign.submit(shards[2]).stopped == 1
    assert campaign.posts == 2
    again = campaign.plan(NAMES, budget_hours=3 * one_chunk)
    assert again.plan_id == summary.plan_id
    campaign.round(again.plan_id)
    report = campaign.pipeline.publish(again.plan_id)
    assert (report.transcribed, report.over_budget, report.shortfall) == (8, 0, None)
    assert campaign.posts == 3


def test_what_was_paid_waits_for_no_room_that_the_budget_would_not_let_anybody_use(
    campaign_with: Callable[..., Campaign],
) -> None:
    """One of two chunks fits the budget and fills the window. Its shard goes on without waiting for the other's turn."""
    campaign = campaign_with(resources={"east": 1}, max_shards=1)
    (shard,) = campaign.pipeline.shards(campaign.plan(NAMES[:6], budget_hours=6 / 3600).plan_id)

    answer = campaign.pipeline.submit(shard)

    assert isinstance(answer, Submitted)
    assert (len(answer.refs), answer.stopped) == (1, 1)
    campaign.end_all()
    assert campaign.pipeline.merge(shard).transcribed == 3


def test_what_a_budget_allowed_is_published_and_the_rest_waits_for_more(campaign: Campaign) -> None:
    """Two of three chunks fit. The third's files are missing for that reason, no repair submits them, a higher budget does."""
    one_chunk = 6 / 3600
    report = campaign.run(NAMES, budget_hours=2 * one_chunk, repairs=1)
    assert (report.transcribed, report.missing, report.over_budget, report.can_retry) == (6, 2, 2, 2)
    assert (report.budget, report.budget_hours, report.budget_spent_hours) == (
        "day",
        2 * one_chunk,
        2 * one_chunk,
    )
    assert isinstance(report.shortfall, BudgetExhausted)
    assert "2 audio files" in str(report.shortfall)
    assert "2 files, about 0.001 audio hours, were not submitted" in report.markdown
    assert {row["error_code"] for row in campaign.rows().values() if row["outcome"] == "missing"} == {
        "OverBudget"
    }
    assert campaign.posts == 2

    report = campaign.run(NAMES, budget_hours=3 * one_chunk, run_key="another run")

    assert (report.transcribed, report.over_budget, report.shortfall) == (8, 0, None)
    assert campaign.posts == 3
    assert len(campaign.texts()) == 8


def test_a_partition_for_which_nothing_is_left_of_the_budget_is_published_and_goes_on(
    campaign: Campaign,
) -> None:
    """Others have spent it all: every file is missing, for that reason, and a repair with more submits them."""
    report = campaign.run(NAMES, budget_hours=0.0)
    assert (report.transcribed, report.missing, report.over_budget, report.version) == (0, 8, 8, 1)
    assert campaign.posts == 0
    report = campaign.run([], budget_hours=1.0, run_key="repair", only_failed=True)
    assert (report.transcribed, report.over_budget, report.version) == (8, 0, 2)


def test_a_repair_to_which_nobody_gives_a_budget_has_that_of_what_it_repairs(campaign: Campaign) -> None:
    one_chunk = 6 / 3600
    report = campaign.run(NAMES, budget_hours=2 * one_chunk, budget_name="hard")
    assert (report.transcribed, report.over_budget) == (6, 2)
    report = campaign.run(None, only_failed=True, run_key="repair")
    assert (report.transcribed, report.over_budget, report.budget) == (6, 2, "hard")
    assert report.shortfall is not None
    # Of a budget without a limit there is enough for all.
    Budgets(campaign.pipeline.ledger).set(Budget("hard", None))
    report = campaign.run(None, only_failed=True, run_key="repair")
    assert (report.transcribed, report.over_budget, report.shortfall) == (8, 0, None)


def test_partitions_that_name_the_same_budget_share_it(campaign: Campaign) -> None:
    one_chunk = 6 / 3600
    shared = {"budget_name": "november", "budget_hours": 3 * one_chunk}
    first = campaign.run(NAMES[:6], partition="monday", **shared)
    second = campaign.run([*NAMES[6:], "x.wav", "y.wav"], partition="tuesday", run_key="two", **shared)
    assert (first.transcribed, first.over_budget) == (6, 0)
    assert (second.transcribed, second.over_budget) == (3, 1)
    assert campaign.posts == 3


def test_a_budget_that_was_raised_is_not_set_back_by_the_same_run(campaign: Campaign) -> None:
    """Raise it by the command, clear the run: its form still says the old sum."""
    one_chunk = 6 / 3600
    campaign.run(NAMES, budget_hours=2 * one_chunk)
    Budgets(campaign.pipeline.ledger).set(Budget("day", 3 * 6000))
    report = campaign.run(NAMES, budget_hours=2 * one_chunk)
    assert (report.transcribed, report.over_budget) == (8, 0)


def test_paying_again_has_a_budget_of_its_own(campaign: Campaign) -> None:
    one_chunk = 6 / 3600
    campaign.run(NAMES[:3], budget_hours=one_chunk)
    again = campaign.run(NAMES[:3], budget_hours=one_chunk, reprocess=True, run_key="again")
    assert (again.transcribed_now, again.over_budget) == (3, 0)
    assert campaign.posts == 2


def test_a_second_run_submits_nothing_and_changes_nothing(campaign: Campaign) -> None:
    campaign.says = lambda one: Bad() if one.endswith("04.wav") else "fine words"
    campaign.run(NAMES)
    before, posts = campaign.tables(), campaign.posts
    report = campaign.run(NAMES, run_key="another")
    assert campaign.posts == posts
    assert campaign.tables() == before
    assert (report.version, report.transcribed_now, report.submitted_now, report.price) == (2, 0, 0, 0)


def test_every_step_may_be_run_again_at_any_time(campaign: Campaign) -> None:
    rounds: Counter[str] = Counter()

    def says(one: str) -> object:
        rounds[one] += 1
        return Bad("Timeout") if one.endswith("05.wav") and rounds[one] == 1 else "fine words"

    campaign.says = says
    summary = campaign.plan(NAMES)
    for number in range(2):
        for _ in range(2):
            assert campaign.plan(NAMES).plan_id == summary.plan_id
            campaign.round(summary.plan_id, number)
        for _ in range(2):
            campaign.pipeline.reconcile(summary.plan_id, number)
    reports = [campaign.pipeline.publish(summary.plan_id) for _ in range(2)]
    assert reports[0] == reports[1]
    tables, posts = campaign.tables(), campaign.posts
    assert posts == 4
    # After publication, too, when the service has nothing of it any more.
    for number in range(2):
        campaign.round(summary.plan_id, number)
        campaign.pipeline.reconcile(summary.plan_id, number)
    campaign.pipeline.publish(summary.plan_id)
    assert campaign.tables() == tables
    assert campaign.posts == posts


def test_the_tables_equal_a_naive_recomputation(campaign: Campaign) -> None:
    campaign.says = lambda one: {
        "01": Bad(),
        "02": Absent(),
        "03": Spoilt(),
        "04": Unlisted(),
    }.get(one[-6:-4], f"text {one[-6:-4]} and more")
    report = campaign.run([*NAMES, ["no uri at all", "", "", "", ""], NAMES[0]])
    expected = {f"call {n:02}.wav": f"text {n:02} and more" for n in (0, 5, 6, 7)}
    assert campaign.texts() == expected
    outcomes = campaign.rows()
    assert len(outcomes) == 9
    assert Counter(one["outcome"] for one in outcomes.values()) == {
        "transcribed": 4,
        "failed": 3,
        "missing": 2,
    }
    assert report.files == report.transcribed + report.failed + report.missing == 9
    words = read_table(campaign.store, "words")
    assert len(words) == sum(len(text.split()) for text in expected.values())
    for name, row in outcomes.items():
        if row["outcome"] == "transcribed":
            assert (row["phrases"], row["words"], row["duration_ms"]) == (1, 4, 2000)
            assert dict(row["manifest_columns"]) == {"note": f"of {name}"}
    positions = [int(row["manifest_position"]) for row in outcomes.values()]
    assert sorted(positions) == list(range(9))
    assert report.tables == {"outcomes": 9, "transcripts": 4, "phrases": 4, "words": 16}
