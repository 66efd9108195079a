"""Files that are submitted again go no further than those who may have them, whatever became of the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from speech_backfill.errors import ManifestError
from speech_backfill.ledger.ledger import Ledger
from tests.speech_backfill.campaign import Bad, Campaign

NAMES = ["a.wav", "b.wav", "c.wav"]


@pytest.fixture
def campaign(campaign_with: Callable[..., Campaign]) -> Campaign:
    """Anybody may have what the east gets; the west is for files of the EU."""
    made = campaign_with(resources={"east": 4, "west": 4}, max_shards=1, files_per_transcription=1)
    resources = tuple(
        replace(one, residency="eu" if one.name == "west" else "") for one in made.pipeline.resources
    )
    made = replace(made, pipeline=replace(made.pipeline, resources=resources))
    made.says = lambda _: Bad("Timeout")
    return made


@pytest.mark.parametrize(("form", "setting"), [("eu", ""), ("", "eu")])
def test_files_that_could_go_anywhere_go_where_the_form_or_the_setting_says(
    campaign: Campaign, form: str, setting: str
) -> None:
    campaign.run(NAMES, repairs=0)
    before = campaign.services["east"].calls["submit"]
    campaign = campaign.with_settings(residency=setting)
    campaign.says = lambda _: "words"
    again = campaign.run(None, only_failed=True, run_key="repair", residency=form)
    assert again.transcribed == 3
    assert campaign.services["east"].calls["submit"] == before


def test_files_of_which_nobody_knows_where_they_may_go_are_not_planned(
    campaign: Campaign, tmp_path: Path
) -> None:
    campaign.run(NAMES, residency="eu", repairs=0)
    lost = Ledger.open(f"sqlite:///{tmp_path}/another.db", campaign.clock)
    campaign = replace(campaign, pipeline=replace(campaign.pipeline, ledger=lost))
    with pytest.raises(ManifestError, match="not where its files may go"):
        campaign.plan(None, only_failed=True, run_key="repair")
    assert campaign.plan(None, only_failed=True, run_key="repair", residency="eu").to_submit == 3
