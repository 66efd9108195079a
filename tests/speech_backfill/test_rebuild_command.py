"""`rebuild-ledger` as a person types it, with a ledger on SQLite and on PostgreSQL that has lost everything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from speech_backfill import cli
from speech_backfill.plan.request import PlanRequest
from speech_backfill.submit import Submitted
from speech_emulator.config import from_mapping
from speech_emulator.server import running

ACCOUNT = "https://acct.blob.core.windows.net"


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    settings = {
        "recogniser": {"kind": "synthetic"},
        "queue": {"start_delay_seconds": 0},
        "throttle": {"enabled": False},
        "resources": [{"name": "east", "key": "east-key"}],
    }
    with running(from_mapping(settings)) as address:
        yield address


@pytest.fixture
def accepted(emulator: str, ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An installation in the environment; called, it says how many transcriptions the service has accepted."""
    httpx.post(f"{emulator}/admin/reset").raise_for_status()
    for name in [one for one in os.environ if one.startswith("SPEECH_BACKFILL_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "STORE": str(tmp_path / "store"),
        "LEDGER": ledger_url,
        "FILES_PER_TRANSCRIPTION": "2",
        "POLL_INTERVAL_SECONDS": "0.2",
        "PROBE_FILES": "0",  # there is no account to ask
        "RESOURCE_EAST_ENDPOINT": emulator,
        "RESOURCE_EAST_KEY": "east-key",
        "ACCOUNT_ACCT_KEY": "YS1rZXktdGhhdC1ndWFyZHMtbm90aGluZw==",
    }.items():
        monkeypatch.setenv(f"SPEECH_BACKFILL_{name}", value)
    return lambda: httpx.get(f"{emulator}/admin/state").raise_for_status().json()["accepted"]


def manifest(folder: Path, day: str) -> str:
    path = folder / f"{day}.csv"
    rows = [f"{ACCOUNT}/audio/{day}-{number}.wav,e1,32000" for number in range(5)]
    path.write_text("\n".join(["uri,etag,size_bytes", *rows]) + "\n")
    return str(path)


def lose_the_ledger(url: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        metadata = sa.MetaData()
        metadata.reflect(connection)
        metadata.drop_all(connection)
    engine.dispose()


def test_a_lost_ledger_is_rebuilt_and_nothing_is_submitted_again(
    accepted, ledger_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One partition was published, another is under way at the service: both are known again."""
    assert cli.main(["run", manifest(tmp_path, "monday"), "--partition", "monday"]) == 0
    pipeline = cli._pipeline(resources_needed=True)
    request = PlanRequest(partition="tuesday", run_key="cli", source=manifest(tmp_path, "tuesday"))
    for shard in pipeline.shards(pipeline.plan(request).plan_id):
        assert isinstance(pipeline.submit(shard), Submitted)
    pipeline.ledger.engine.dispose()
    assert accepted() == 6
    lose_the_ledger(ledger_url)
    capsys.readouterr()

    assert cli.main(["rebuild-ledger"]) == 0

    said = capsys.readouterr().out
    assert "1 published partitions, 6 transcriptions added" in said
    assert "3 transcriptions are not accounted for" in said
    for day in ("monday", "tuesday"):
        assert cli.main(["run", manifest(tmp_path, day), "--partition", day, "--json"]) == 0
    assert accepted() == 6
    assert cli.main(["status"]) == 0
    assert capsys.readouterr().out.count("        5           5        0        0") == 2


def test_rebuilding_a_whole_ledger_adds_nothing(
    accepted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be typed at any time."""
    assert cli.main(["run", manifest(tmp_path, "monday"), "--partition", "monday"]) == 0
    capsys.readouterr()

    assert cli.main(["rebuild-ledger"]) == 0

    assert "1 published partitions, 0 transcriptions added" in capsys.readouterr().out
    assert accepted() == 3
