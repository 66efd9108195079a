"""The whole pipeline: what happens to every file when all is calm, and when it is not."""

from __future__ import annotations

from tests.speech_backfill.campaign import Campaign

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
