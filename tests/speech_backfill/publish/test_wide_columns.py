"""Whatever a source says of its files beside what we ask for comes through, however much it is; the memory stays the same."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from speech_backfill.tables.layout import table_directory
from tests.speech_backfill.campaign import Campaign, url

WIDE, NARROW = 2_600, 3_000
CELL = 60_000


def note(number: int) -> str:
    """The wide ones stand together, so that the average says little of them."""
    return f"{number:06}" * (CELL // 6) if number < WIDE else f"{number:06}"


@pytest.fixture
def rows() -> list[list[str]]:
    return [[url(f"{number:06}.wav"), "e1", "32000", "2000", note(number)] for number in range(WIDE + NARROW)]


def test_files_with_wide_columns_are_published(
    campaign_with: Callable[..., Campaign], rows: list[list[str]]
) -> None:
    """160 MB of notes: planned, accounted for and written within DuckDB's 192 MB, and then carried by another run."""
    campaign = campaign_with(files_per_transcription=1000)
    assert campaign.run(rows, repairs=0).transcribed == len(rows)
    # All but the last are no longer in the source, and kept because they were paid for: the first of the manifest is the last.
    again = campaign.run(rows[-1:], run_key="two", repairs=0)
    assert (again.transcribed, again.transcribed_now) == (len(rows), 0)
    (part,) = campaign.store.list(table_directory("outcomes", "day"))
    target = campaign.folder / "outcomes.parquet"
    campaign.store.download(part.path, target)
    with pq.ParquetFile(target) as written:
        number = 0
        for batch in written.iter_batches(100, columns=["manifest_columns"]):
            notes = pc.list_flatten(pc.map_lookup(batch.column(0), "note", "all")).to_pylist()
            assert notes == [note((number + place - 1) % len(rows)) for place in range(len(batch))]
            number += len(batch)
    assert number == len(rows)
