"""Fixtures of the core's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.speech_backfill.campaign import Campaign


@pytest.fixture
def campaign_with(tmp_path: Path) -> Iterator[Callable[..., Campaign]]:
    """Makes installations with settings of the test's own, and closes their ledgers after it."""
    made: list[Campaign] = []

    def make(**knobs: Any) -> Campaign:
        folder = tmp_path / f"installation-{len(made)}"
        folder.mkdir()
        made.append(Campaign.make(folder, **knobs))
        return made[-1]

    yield make
    for one in made:
        one.pipeline.ledger.engine.dispose()


@pytest.fixture
def campaign(campaign_with: Callable[..., Campaign]) -> Campaign:
    return campaign_with()
