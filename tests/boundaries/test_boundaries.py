"""The core and the emulator know no Airflow, and whoever breaks that is told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
LINT = Path(sys.executable).parent / "lint-imports"


def _linted(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{folder / 'include'}:{folder / 'plugins'}"}
    return subprocess.run(
        [str(LINT), "--config", str(folder / "pyproject.toml"), "--no-cache"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("include", "plugins"):
        shutil.copytree(CHECKOUT / name, tmp_path / name, ignore=ignored)
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_are_kept(copy: Path) -> None:
    answer = _linted(copy)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("speech_backfill/merge.py", "import airflow.sdk", "speech_backfill.merge -> airflow"),
        (
            "speech_backfill/ledger/ledger.py",
            "from azure_speech import events",
            "speech_backfill.ledger.ledger -> azure_speech",
        ),
        (
            "speech_emulator/clock.py",
            "import speech_backfill.model",
            "speech_emulator.clock -> speech_backfill.model",
        ),
    ],
)
def test_an_import_across_a_boundary_breaks_its_contract(
    copy: Path, module: str, line: str, broken: str
) -> None:
    path = copy / "include" / module
    text = path.read_text()
    path.write_text(f"{text}\n\ndef _sneaky() -> None:\n    {line}\n")
    answer = _linted(copy)
    assert answer.returncode != 0
    assert "1 broken" in answer.stdout
    assert broken in answer.stdout


@pytest.mark.parametrize("package", ["speech_backfill", "speech_emulator"])
def test_importing_every_module_loads_no_airflow(package: str) -> None:
    script = f"""
import importlib, pkgutil, sys
import {package}
for found in pkgutil.walk_packages({package}.__path__, "{package}."):
    if "migrations" not in found.name and not found.name.endswith("__main__"):
        importlib.import_module(found.name)
loaded = sorted(name for name in sys.modules if name.split(".")[0] in {{"airflow", "azure_speech"}})
print(len([name for name in sys.modules if name.startswith("{package}.")]), loaded)
"""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "include")}
    answer = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    count, loaded = answer.stdout.strip().split(" ", 1)
    assert int(count) > 20
    assert loaded == "[]"
