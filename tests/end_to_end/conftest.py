"""A real Airflow for the tests of a file: scheduler, triggerer, DAG processor and API server, Azurite and the Speech emulator.

The synthetic recogniser stands in for listening; everything else is what `make up` starts.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from end_to_end.deployment import Deployment, until
from local.scratch import running

SETTINGS = {
    "SPEECH_RECOGNISER": "synthetic",
    "SPEECH_BACKFILL_FILES_PER_TRANSCRIPTION": "4",
    "SPEECH_BACKFILL_POLL_INTERVAL_SECONDS": "2",
    "SPEECH_BACKFILL_FIRST_LOOK_SECONDS": "10",
    "SPEECH_BACKFILL_DAILY_SOURCE": "az://recordings/nightly/{date:%Y/%m/%d}/",
}


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """The stack, started once for all tests of a file: files may run side by side."""
    with running(**SETTINGS) as stack:
        found = Deployment(stack)
        dags = {"speech_backfill_daily", "speech_backfill_manifest", "speech_backfill_repair"}
        until(
            lambda: (
                True
                if dags <= {one["dag_id"] for one in stack.airflow.api.get("/dags?limit=100")["dags"]}
                else None
            ),
            180,
        )
        yield found
