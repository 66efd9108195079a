"""DuckDB as we open it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
