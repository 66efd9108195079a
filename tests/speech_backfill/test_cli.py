"""The command line against the real emulator: exit statuses, messages, no traceback and no secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from speech_backfill import cli
from speech_backfill.store import Store
from speech_backfill.tables.read import read_table
from speech_emulator.config import from_mapping
from speech_emulator.server import running

KEY = "local-emulator-key"
ENDPOINT = "https://acct.blob.core.windows.net"
INCLUDE = Path(cli.__file__).parents[1]


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    """An emulator that makes up what it hears (and says so), without delays or limits."""
    settings = {
        "recogniser": {"kind": "synthetic"},
        "queue": {"start_delay_seconds": 0},
        "throttle": {"enabled": False},
    }
    with running(from_mapping(settings)) as address:
        yield address


@pytest.fixture
def environment(emulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    values = {
        "SPEECH_BACKFILL_STORE": str(tmp_path / "store"),
        "SPEECH_BACKFILL_LEDGER": f"sqlite:///{tmp_path}/ledger.db",
        "SPEECH_BACKFILL_FILES_PER_TRANSCRIPTION": "2",
        "SPEECH_BACKFILL_POLL_INTERVAL_SECONDS": "0.2",
        "SPEECH_BACKFILL_PROBE_FILES": "0",  # there is no account to ask
        "SPEECH_BACKFILL_RESOURCE_EAST_ENDPOINT": emulator,
        "SPEECH_BACKFILL_RESOURCE_EAST_KEY": KEY,
        "SPEECH_BACKFILL_ACCOUNT_ACCT_KEY": "YS1rZXktdGhhdC1ndWFyZHMtbm90aGluZw==",
    }
    for name in [one for one in os.environ if one.startswith("SPEECH_BACKFILL_")]:
        monkeypatch.delenv(name)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    path = tmp_path / "manifest.csv"
    rows = [f"{ENDPOINT}/audio/{number}.wav,e1,32000" for number in range(5)]
    path.write_text("\n".join(["uri,etag,size_bytes", *rows, "ftp://nowhere/x.wav,,"]) + "\n")
    return str(path)


Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run_cli(environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> Cli:
    def run(*arguments: str) -> tuple[int, str, str]:
        status = cli.main(arguments)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        for secret in (KEY, environment["SPEECH_BACKFILL_ACCOUNT_ACCT_KEY"], "sig="):
            assert secret not in captured.out + captured.err
        return status, captured.out, captured.err

    return run


def _transcriptions(emulator: str) -> int:
    answer = httpx.get(
        f"{emulator}/speechtotext/transcriptions?api-version=2025-10-15",
        headers={"Ocp-Apim-Subscription-Key": KEY},
    )
    return len(answer.json()["values"])


def test_plan_run_status_and_report(
    run_cli: Cli, manifest: str, environment: dict[str, str], emulator: str
) -> None:
    status, out, _ = run_cli("plan", manifest, "--partition", "day")
    assert status == 0
    assert "5 in 3 transcriptions" in out
    assert _transcriptions(emulator) == 0

    status, out, _ = run_cli("run", manifest, "--partition", "day", "--word-times")
    assert status == 0
    assert "| 6 | 5 | 1 | 0 | 0 |" in out

    status, out, _ = run_cli("status")
    assert (status, out.count("\n")) == (0, 2)
    assert out.splitlines()[1].split()[:5] == ["day", "1", "6", "5", "1"]

    status, out, _ = run_cli("status", "--partition", "day")
    assert status == 0
    assert "published" in out
    assert out.count("Succeeded") == 3

    status, out, _ = run_cli("report", "day", "--json")
    assert (status, json.loads(out)["transcribed"]) == (0, 5)
    frame = read_table(Store.open(environment["SPEECH_BACKFILL_STORE"]), "transcripts")
    assert len(frame) >= 5
    assert frame["audio_url"].nunique() == 5

    status, out, _ = run_cli("run", manifest, "--partition", "day", "--word-times", "--json")
    assert status == 0
    assert "5 here" in out
    assert '"submitted_now": 0' in out


def test_a_dry_run_prints_the_plan_and_needs_no_resource(
    run_cli: Cli, manifest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ENDPOINT", "KEY"):
        monkeypatch.delenv(f"SPEECH_BACKFILL_RESOURCE_EAST_{name}")
    status, out, _ = run_cli("run", manifest, "--partition", "day", "--dry-run")
    assert status == 0
    assert "dry run" in out
    estimate = out.rsplit("stored", 1)[1].strip()
    assert json.loads(Store.open(os.environ["SPEECH_BACKFILL_STORE"]).get(estimate))["files"] == 6
    status, out, _ = run_cli("plan", manifest, "--partition", "day", "--dry-run", "--json")
    assert (status, json.loads(out)["stored_at"]) == (0, estimate)
    status, _, err = run_cli("run", manifest, "--partition", "day")
    assert status == 1
    assert "no Speech resource" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["plan", "no such file.csv", "--partition", "day"], "does not exist"),
        (["plan", "--partition", "day"], "No source was given"),
        (["plan", "{manifest}", "--partition", ""], "can't name a directory"),
        (["plan", "{manifest}", "--partition", "day", "--locale", "english"], "is no locale"),
        (["plan", "{manifest}", "--partition", "day", "--max-speakers", "99"], "Correct it and start again"),
        (["plan", "--partition", "day", "--only-failed"], "nothing of it is published"),
        (["report", "day"], "is not published"),
        (["run", "{manifest}", "--partition", "day", "--budget-hours", "0"], "were not submitted"),
    ],
)
def test_errors_are_one_message_with_status_1(
    run_cli: Cli, manifest: str, arguments: list[str], says: str
) -> None:
    status, _, err = run_cli(*(one.format(manifest=manifest) for one in arguments))
    assert status == 1
    assert says in err


def test_a_partition_that_was_never_planned_has_status_1(run_cli: Cli) -> None:
    status, out, _ = run_cli("status", "--partition", "none")
    assert status == 1
    assert "never planned" in out


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("SPEECH_BACKFILL_TYPO", "1", "no such setting"),
        ("SPEECH_BACKFILL_STORE", "", "it is not set"),
        ("SPEECH_BACKFILL_LEDGER", "sqlite:////proc/none/ledger.db", "can't be used"),
        ("SPEECH_BACKFILL_RESOURCE_EAST_KEY", "a wrong key", "Speech key"),
        ("SPEECH_BACKFILL_RESOURCE_EAST_KEY", "wrong", "does not let us"),
        ("SPEECH_BACKFILL_RESOURCE_EAST_WINDOW", "many", "no whole number"),
        ("SPEECH_BACKFILL_RESOURCE_EAST_ENDPOINT", "http://127.0.0.1:1", "was not reached"),
        ("SPEECH_BACKFILL_ACCOUNT_ACCT_COLOUR", "red", "no such setting"),
    ],
)
def test_wrong_settings_are_one_message_with_status_1(
    run_cli: Cli, manifest: str, monkeypatch: pytest.MonkeyPatch, *, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    # What can't be reached may be back any time, and is waited for as long as this.
    monkeypatch.setenv("SPEECH_BACKFILL_DEADLINE_HOURS", "0.001")
    status, _, err = run_cli("run", manifest, "--partition", "day")
    assert status == 1
    assert says in err


def test_a_report_whose_file_is_gone_is_an_error_and_no_traceback(
    run_cli: Cli, manifest: str, environment: dict[str, str]
) -> None:
    assert run_cli("run", manifest, "--partition", "day")[0] == 0
    store = Store.open(environment["SPEECH_BACKFILL_STORE"])
    for one in store.list("reports/"):
        store.delete(one.path)
    status, _, err = run_cli("report", "day")
    assert status == 1
    assert "reports/day" in err


@pytest.mark.usefixtures("environment")
def test_wrong_usage_has_status_2() -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["plan", "--no-such-flag"])
    assert caught.value.code == 2


@pytest.mark.usefixtures("environment")
def test_the_module_can_be_run_as_a_process(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "speech_backfill.cli", "plan", "none.csv", "--partition", "day"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(INCLUDE)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 1
    assert answer.stderr.startswith("error: ")
    assert "Traceback" not in answer.stderr


def test_a_ledger_that_fails_on_the_way_is_an_error_without_its_statement(
    run_cli: Cli, manifest: str, environment: dict[str, str]
) -> None:
    assert run_cli("plan", manifest, "--partition", "day")[0] == 0
    engine = sa.create_engine(environment["SPEECH_BACKFILL_LEDGER"])
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE placements"))
    engine.dispose()
    status, _, err = run_cli("run", manifest, "--partition", "day")
    assert status == 1
    assert "The ledger failed" in err
    assert "SELECT" not in err


def test_a_budget_is_set_listed_and_shared_by_its_name(run_cli: Cli, manifest: str) -> None:
    """Five files of four seconds each at the assumed rate; 0.003 hours are enough for four of them, in pairs."""
    status, out, err = run_cli(
        "run", manifest, "--partition", "day", "--budget-name", "all", "--budget-hours", "0.005"
    )
    assert status == 1
    assert "were not submitted, because the budget 'all' allows 0.01 audio hours" in err
    assert "| 6 | 4 | 1 | 1 | 1 |" in out

    status, out, _ = run_cli("budget")
    assert status == 0
    assert out.splitlines()[1].split()[:1] == ["all"]

    status, out, _ = run_cli("budget", "all", "--hours", "1.5")
    assert status == 0
    assert out.splitlines()[1].split()[:2] == ["all", "1.50"]

    status, out, _ = run_cli(
        "run", manifest, "--partition", "day", "--budget-name", "all", "--budget-hours", "0.005"
    )
    assert status == 0
    assert "| 6 | 5 | 1 | 0 | 0 |" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["budget", "x"], "no limit is given"),
        (["budget", "x", "--hours", "1", "--money", "1"], "in hours and in money"),
        (
            ["plan", "{manifest}", "--partition", "day", "--budget-hours", "1", "--budget-money", "1"],
            "in hours and in money",
        ),
    ],
)
def test_a_budget_that_says_nothing_or_two_things_is_refused(
    run_cli: Cli, manifest: str, *, arguments: list[str], says: str
) -> None:
    status, _, err = run_cli(*(one.format(manifest=manifest) for one in arguments))
    assert status == 1
    assert says in err


def test_a_budget_in_money_is_hours_at_the_price(run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEECH_BACKFILL_PRICE_PER_AUDIO_HOUR", "0.5")
    status, out, _ = run_cli("budget", "x", "--money", "10")
    assert status == 0
    assert out.splitlines()[1].split()[:2] == ["x", "20.00"]
    assert run_cli("budget", "x", "--none")[1].splitlines()[1].split()[:2] == ["x", "none"]
