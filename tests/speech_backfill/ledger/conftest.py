"""A ledger on both databases, with a clock that the test owns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fakes.speech_service import FakeClock
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.resources import Resources
from speech_backfill.ledger.submissions import Submissions


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ledger(ledger_url: str, clock: FakeClock) -> Iterator[Ledger]:
    opened = Ledger.open(ledger_url, clock)
    Resources(opened).register("east", window=4, region="eastus")
    yield opened
    opened.engine.dispose()


@pytest.fixture
def submissions(ledger: Ledger) -> Submissions:
    return Submissions(ledger)
