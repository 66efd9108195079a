"""DuckDB as we open it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from speech_backfill.relations import exactly, parquet, relations
from tests.speech_backfill.campaign import Bad, Campaign

INCLUDE = Path(__file__).resolve().parents[2] / "include"


def test_nothing_is_drawn_on_stdout(tmp_path: Path) -> None:
    # Started with -c, Python looks like a console to DuckDB.
    code = (
        "from pathlib import Path; from speech_backfill.relations import one_row, relations\n"
        "with relations(Path()) as made: print(*one_row(made, \"SELECT current_setting('enable_progress_bar')\"))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(INCLUDE)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == "False\n"


ODD = "it's a [ab]* folder day=1"


def test_a_file_is_read_whatever_signs_its_folder_has_in_its_name(tmp_path: Path) -> None:
    folder, other = tmp_path / ODD, tmp_path / "it's a aX folder day=1"
    for number, one in enumerate((folder, other)):
        one.mkdir()
        pq.write_table(pa.table({"n": [number]}), one / "n.parquet")
    with relations(folder) as made:
        query = f"SELECT * FROM read_parquet({parquet(folder / 'n.parquet')}, hive_partitioning = false)"
        assert made.execute(query).fetchall() == [(0,)]
        query = "SELECT n FROM read_parquet(?, hive_partitioning = false)"
        assert made.execute(query, [[exactly(folder / "n.parquet")]]).fetchall() == [(0,)]


def test_everything_works_in_such_a_folder(
    campaign_with: Callable[..., Campaign], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plan, repair, publish, and a second run that looks into what is published here and elsewhere."""
    (tmp_path / ODD).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ODD))
    campaign = campaign_with()
    names = [f"{number}.wav" for number in range(5)]
    campaign.says = lambda one: Bad("Internal") if one.endswith("3.wav") else "words"
    assert campaign.run(names).transcribed == 4
    again = campaign.run([*names, "new.wav"], run_key="two", repairs=0)
    assert (again.transcribed, again.transcribed_now) == (5, 1)
    assert campaign.run(names[:2], partition="other", run_key="three", repairs=0).transcribed_now == 0
