"""What is submitted again after trouble: only what can succeed, in halves where need be, elsewhere where that helps."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.speech_service import FakeSpeechService, Job
from speech_backfill.ledger.reservations import Reservations
from speech_backfill.ledger.resources import Resources
from speech_backfill.publish.report import RunReport
from speech_backfill.submit import NotYet, Submitted
from tests.speech_backfill.campaign import Bad, Campaign

NAMES = [f"call {n:02}.wav" for n in range(8)]


def names(job: Job) -> frozenset[str]:
    return frozenset(one.split("?")[0].rsplit("%20", 1)[-1] for one in job.body["contentUrls"])


class Fussy(Campaign):
    """A campaign whose service fails a transcription as a whole where *blames* gives a code and a message."""

    blames: Callable[[frozenset[str], int], tuple[str, str] | None]
    seen: list[frozenset[str]]

    def finish(self, job: Job, service: FakeSpeechService) -> None:
        files = names(job)
        self.seen.append(files)
        blame = self.blames(files, self.seen.count(files))
        if blame is None:
            super().finish(job, service)
        else:
            service.end(job.transcription_id, failed=blame)


def fussy(
    folder: Path, blames: Callable[[frozenset[str], int], tuple[str, str] | None], **knobs: object
) -> Fussy:
    made = Fussy.make(folder, **{"files_per_transcription": 8, **knobs})  # type: ignore[arg-type]
    assert isinstance(made, Fussy)
    made.blames, made.seen = blames, []
    return made


def only_failed(campaign: Campaign, number: int) -> RunReport:
    """What the repair DAG does: a run of its own, without rounds after its first."""
    return campaign.run(None, repairs=0, only_failed=True, run_key=f"repair {number}")


def test_halving_goes_on_over_repair_runs_until_the_bad_file_stands_alone(tmp_path: Path) -> None:
    campaign = fussy(tmp_path, lambda files, _: ("InvalidData", "bad") if "03.wav" in files else None)
    report = campaign.run(NAMES, repairs=1)  # as a DAG run has it
    assert (report.transcribed, report.can_retry) == (4, 4)
    report = only_failed(campaign, 1)
    assert (report.transcribed, report.can_retry) == (6, 2)
    report = only_failed(campaign, 2)
    assert (report.transcribed, report.failed, report.can_retry) == (7, 1, 0)
    assert campaign.outcomes()["call 03.wav"] == "failed"
    assert max(Counter(campaign.seen).values()) == 1, "the same files were blamed together twice"
    assert campaign.posts == 7
    only_failed(campaign, 3)
    assert campaign.posts == 7


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    bad=st.sets(st.integers(0, 12), max_size=4),
    files=st.integers(1, 13),
    per=st.integers(1, 13),
    rounds=st.integers(0, 2),
)
def test_every_bad_file_ends_alone_and_every_good_one_transcribed(
    bad: set[int], files: int, per: int, rounds: int
) -> None:
    rows = [f"call {n:02}.wav" for n in range(files)]
    wrong = {f"{n:02}.wav" for n in bad}
    with tempfile.TemporaryDirectory() as folder:
        campaign = fussy(
            Path(folder),
            lambda files, _: ("InvalidData", "bad") if wrong & files else None,
            files_per_transcription=per,
        )
        report = campaign.run(rows, repairs=rounds)
        runs = 0
        while report.can_retry:
            runs += 1
            assert runs < 6, "halving does not end"
            report = only_failed(campaign, runs)
        failed = {name for name, outcome in campaign.outcomes().items() if outcome == "failed"}
        assert failed == {name for name in rows if name.rsplit(" ")[-1] in wrong}
        assert report.transcribed == files - len(failed)
        assert max(Counter(campaign.seen).values()) == 1
        # Each bad file costs two submissions for each halving of its chunk, and no more.
        chunks = -(-files // per)
        assert campaign.posts <= chunks + 2 * len(failed) * (per - 1).bit_length()
        campaign.pipeline.ledger.engine.dispose()


def test_a_whole_that_failed_for_what_passes_is_repeated_whole_once_and_then_halved(tmp_path: Path) -> None:
    campaign = fussy(
        tmp_path, lambda files, _: ("Internal", "trouble") if "03.wav" in files and len(files) > 4 else None
    )
    report = campaign.run(NAMES, repairs=2)
    assert [len(one) for one in campaign.seen] == [8, 8, 4, 4]
    assert report.transcribed == 8


def test_a_passing_whole_that_comes_back_well_is_not_halved(tmp_path: Path) -> None:
    campaign = fussy(tmp_path, lambda _, tries: ("Timeout", "trouble") if tries == 1 else None)
    assert campaign.run(NAMES).transcribed == 8
    assert [len(one) for one in campaign.seen] == [8, 8]


def test_a_source_signature_that_ended_in_the_queue_is_cured_by_a_fresh_one(tmp_path: Path) -> None:
    campaign = fussy(tmp_path, lambda _, __: None, files_per_transcription=3)
    jobs: list[Job] = []

    def end(files: frozenset[str], _: int) -> tuple[str, str] | None:
        job = next(one for one in campaign.service.jobs.values() if names(one) == files and not one.error)
        jobs.append(job)
        ends = min(
            parse_qs(urlsplit(one).query)["se"][0] for one in job.body["contentUrls"]
        )  # one format, so texts compare as times do
        late = datetime.fromtimestamp(campaign.clock.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") > ends
        return ("InvalidData", "Authentication failed for recordings URI.") if late else None

    campaign.blames = end
    summary = campaign.plan(NAMES[:3])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    campaign.submit(shard)
    campaign.clock.now += 97 * 3600  # the queue outlives the 96 hours of sas_hours
    campaign.end_all()
    assert campaign.pipeline.merge(shard).can_retry == 3
    assert campaign.pipeline.reconcile(summary.plan_id)
    campaign.round(summary.plan_id, 1)
    assert campaign.pipeline.publish(summary.plan_id).transcribed == 3
    assert [len(names(one)) for one in jobs] == [3, 3]


# --- elsewhere ------------------------------------------------------------------------------------


def overdue(campaign: Campaign, rows: list[str]) -> tuple[str, Job]:
    """One transcription that is given up; its plan and the job."""
    summary = campaign.plan(rows)
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    campaign.submit(shard)
    (job,) = [one for service in campaign.services.values() for one in service.jobs.values()]
    campaign.pass_deadlines()
    campaign.pipeline.merge(shard)
    return summary.plan_id, job


def test_what_was_given_up_goes_to_another_resource(campaign_with: Callable[..., Campaign]) -> None:
    campaign = campaign_with(resources={"east": 9, "west": 9})
    # West has the longer backlog, so that only the avoidance can lead there.
    busy = campaign.plan([f"other {n}.wav" for n in range(9)], partition="other")
    plan_id, stuck = overdue(campaign, NAMES[:3])
    there = next(name for name, one in campaign.services.items() if stuck.transcription_id in one.jobs)
    for shard in campaign.pipeline.shards(busy.plan_id):
        campaign.submit(shard)
    (repair,) = campaign.pipeline.reconcile(plan_id)
    campaign.submit(repair)
    (record,) = [one for one in campaign.submissions.of_plan(plan_id) if one.attempt == 2]
    assert record.resource != there


def test_a_later_run_keeps_away_too(campaign_with: Callable[..., Campaign]) -> None:
    campaign = campaign_with(resources={"east": 4, "west": 4})
    plan_id, stuck = overdue(campaign, NAMES[:3])
    campaign.pipeline.publish(plan_id)
    assert stuck.transcription_id in campaign.services["east"].jobs
    repair = campaign.plan(None, only_failed=True, run_key="repair")
    (shard,) = campaign.pipeline.shards(repair.plan_id)
    campaign.submit(shard)
    assert campaign.services["west"].calls["submit"] == 1


def test_where_there_is_no_other_resource_the_same_one_is_taken(campaign: Campaign) -> None:
    plan_id, job = overdue(campaign, NAMES[:3])
    (repair,) = campaign.pipeline.reconcile(plan_id)
    answer = campaign.pipeline.submit(repair)
    assert isinstance(answer, NotYet), "it is at work on these very files, for all we know"
    assert [one.transcription_id for one in answer.waiting_for] == [job.transcription_id]
    assert campaign.posts == 1
    campaign.clock.now += campaign.pipeline.settings.linger_seconds
    assert isinstance(campaign.pipeline.submit(repair), Submitted)
    assert campaign.posts == 2


def test_what_may_end_late_is_not_driven_to_a_region_that_is_not_well(
    campaign_with: Callable[..., Campaign],
) -> None:
    campaign = campaign_with(resources={"east": 9, "west": 9})
    resources = Resources(campaign.pipeline.ledger)
    plan_id, job = overdue(campaign, NAMES[:3])
    (place,) = [name for name, one in campaign.services.items() if job.transcription_id in one.jobs]
    (elsewhere,) = {*campaign.services} - {place}
    resources.set_aside(elsewhere, "it fails everything")
    (repair,) = campaign.pipeline.reconcile(plan_id)
    posts = campaign.posts

    answer = campaign.pipeline.submit(repair)

    assert isinstance(answer, NotYet)
    assert not answer.no_room, "others have room"
    assert [one.transcription_id for one in answer.waiting_for] == [job.transcription_id]
    assert "may end yet" in answer.reason
    campaign.finish(job, campaign.services[place])
    assert isinstance(campaign.pipeline.submit(repair), Submitted)
    assert campaign.posts == posts


def test_another_resource_of_the_region_is_no_other_place(campaign_with: Callable[..., Campaign]) -> None:
    campaign = campaign_with(resources={"one": 4, "two": 4}, region="westeurope")
    plan_id, job = overdue(campaign, NAMES[:3])
    (repair,) = campaign.pipeline.reconcile(plan_id)
    assert isinstance(campaign.pipeline.submit(repair), NotYet)
    (service,) = [one for one in campaign.services.values() if one.jobs]

    campaign.finish(job, service)

    assert isinstance(campaign.pipeline.submit(repair), Submitted)
    assert campaign.posts == 1, "its late success is taken"


def test_region_trouble_of_one_file_goes_elsewhere_and_a_mere_timeout_anywhere(
    campaign_with: Callable[..., Campaign],
) -> None:
    campaign = campaign_with(resources={"east": 4, "west": 4})
    codes = {"00": "Internal", "01": "Timeout"}
    campaign.says = lambda one: Bad(codes[one[-6:-4]]) if one[-6:-4] in codes else "fine"
    summary = campaign.plan(NAMES[:3])
    campaign.round(summary.plan_id)
    campaign.pipeline.reconcile(summary.plan_id)
    placed = campaign.pipeline.ledger.placements(summary.plan_id, 1)
    assert [(one.away_from, one.chunk.first_url[-6:-4]) for one in placed] == [(None, "01"), ("east", "00")]


def test_a_late_success_is_taken_instead_of_paying_again(campaign_with: Callable[..., Campaign]) -> None:
    campaign = campaign_with(resources={"east": 4, "west": 4})
    plan_id, stuck = overdue(campaign, NAMES[:3])
    (repair,) = campaign.pipeline.reconcile(plan_id)
    campaign.finish(stuck, campaign.services["east"])
    refs = campaign.submit(repair).refs
    assert [one.transcription_id for one in refs] == [stuck.transcription_id]
    assert campaign.pipeline.merge(repair).transcribed == 3
    report = campaign.pipeline.publish(plan_id)
    assert (report.transcribed, report.transcriptions, report.submitted_now) == (3, 1, 1)
    assert report.billed_audio_hours == pytest.approx(6 / 3600)
    assert campaign.posts == 1
    assert len(campaign.texts()) == 3


def test_a_late_success_is_taken_by_a_later_repair_run(campaign: Campaign) -> None:
    plan_id, stuck = overdue(campaign, NAMES[:3])
    campaign.pipeline.publish(plan_id)
    assert stuck.transcription_id in campaign.service.jobs
    campaign.finish(stuck, campaign.service)
    assert only_failed(campaign, 1).transcribed == 3
    assert campaign.posts == 1


def test_a_late_failure_is_not_taken(campaign: Campaign) -> None:
    plan_id, stuck = overdue(campaign, NAMES[:3])
    (repair,) = campaign.pipeline.reconcile(plan_id)
    campaign.service.end(stuck.transcription_id, failed=("Internal", "trouble"))
    campaign.submit(repair)
    assert campaign.posts == 2


def test_a_region_that_cannot_be_asked_does_not_hold_the_repair_up(
    campaign_with: Callable[..., Campaign],
) -> None:
    campaign = campaign_with(resources={"east": 4, "west": 4})
    plan_id, _ = overdue(campaign, NAMES[:3])
    (repair,) = campaign.pipeline.reconcile(plan_id)
    campaign.services["east"].script("get", *[httpx.ConnectError] * 30)
    campaign.submit(repair)
    assert campaign.services["west"].calls["submit"] == 1


def test_two_that_end_both_are_one_in_the_tables_and_both_in_the_cost(campaign: Campaign) -> None:
    plan_id, stuck = overdue(campaign, NAMES[:3])
    (repair,) = campaign.pipeline.reconcile(plan_id)
    campaign.clock.now += campaign.pipeline.settings.linger_seconds
    campaign.submit(repair)
    campaign.end_all()
    campaign.pipeline.merge(repair)
    report = campaign.pipeline.publish(plan_id)
    assert report.transcribed == 3
    assert report.billed_audio_hours == pytest.approx(12 / 3600)
    assert len(campaign.texts()) == 3
    assert campaign.service.jobs == {}, stuck.transcription_id


def test_a_late_success_taken_by_one_worker_is_not_submitted_by_another(campaign: Campaign) -> None:
    plan_id, stuck = overdue(campaign, NAMES[:3])
    (repair,) = campaign.pipeline.reconcile(plan_id)
    (stale,) = campaign.pipeline.ledger.placements(plan_id, 1)
    campaign.finish(stuck, campaign.service)
    campaign.submit(repair)
    answer = Reservations(campaign.pipeline.ledger).reserve(
        stale, owner="slow", lease_seconds=60, resources=["east"]
    )
    assert answer.record.transcription_id == stuck.transcription_id  # type: ignore[union-attr]


def test_a_late_success_is_taken_although_a_worker_died_before_it_sent_the_next_attempt(
    campaign: Campaign,
) -> None:
    plan_id, stuck = overdue(campaign, NAMES[:3])
    (repair,) = campaign.pipeline.reconcile(plan_id)
    (placement,) = campaign.pipeline.ledger.placements(plan_id, 1)
    Reservations(campaign.pipeline.ledger).reserve(
        placement, owner="dead", lease_seconds=60, resources=["east"]
    )
    campaign.finish(stuck, campaign.service)
    campaign.clock.now += 61
    refs = campaign.submit(repair).refs
    assert [one.transcription_id for one in refs] == [stuck.transcription_id]
    assert campaign.posts == 1


# --- purged ---------------------------------------------------------------------------------------


def purged(campaign: Campaign) -> str:
    summary = campaign.plan(NAMES[:3])
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    campaign.submit(shard)
    campaign.end_all()
    campaign.service.jobs.clear()
    campaign.clock.now += 200 * 3600
    campaign.pipeline.merge(shard)
    return summary.plan_id


def test_purged_results_are_reported_with_what_they_would_cost_and_not_paid_again(campaign: Campaign) -> None:
    plan_id = purged(campaign)
    assert campaign.pipeline.reconcile(plan_id) == []
    report = campaign.pipeline.publish(plan_id)
    assert (report.missing, report.can_retry, report.purged) == (3, 0, 3)
    assert report.purged_audio_hours == pytest.approx(6 / 3600)
    assert report.purged_price == pytest.approx(6 / 3600 * 0.18)
    assert "SPEECH_BACKFILL_RESUBMIT_PURGED" in report.markdown
    assert only_failed(campaign, 1).missing == 3
    assert campaign.posts == 1
    assert campaign.run(None, only_failed=True, reprocess=True, run_key="asked").transcribed == 3
    assert campaign.posts == 2


def test_a_merge_that_is_run_again_after_the_purge_reads_what_the_store_kept(campaign: Campaign) -> None:
    summary = campaign.plan(NAMES[:3])
    campaign.round(summary.plan_id)
    campaign.service.jobs.clear()
    campaign.clock.now += 3600
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    assert campaign.pipeline.merge(shard).transcribed == 3
    assert campaign.pipeline.publish(summary.plan_id).transcribed == 3
    assert campaign.texts() == {name: f"words of {name}" for name in NAMES[:3]}


def test_a_merge_after_the_purge_does_not_take_the_place_of_a_better_one(
    campaign_with: Callable[..., Campaign],
) -> None:
    campaign = campaign_with(keep_raw_results=False)
    campaign.says = lambda one: Bad("InvalidData", "noise") if one.endswith("01.wav") else "fine words"
    summary = campaign.plan(NAMES[:3])
    campaign.round(summary.plan_id)
    campaign.service.jobs.clear()
    campaign.clock.now += 3600
    (shard,) = campaign.pipeline.shards(summary.plan_id)
    merged = campaign.pipeline.merge(shard)
    assert (merged.transcribed, merged.failed, merged.missing) == (2, 1, 0)
    campaign.pipeline.publish(summary.plan_id)
    assert campaign.rows()["call 01.wav"]["error_message"] == "noise"
