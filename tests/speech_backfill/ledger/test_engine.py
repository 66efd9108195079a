"""Opening and migrating the ledger, on SQLite and PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from speech_backfill.errors import LedgerUnavailable
from speech_backfill.ledger import schema
from speech_backfill.ledger.engine import MIGRATIONS, open_engine

INCLUDE = MIGRATIONS.parents[2]


def _differences(engine: sa.Engine) -> list[object]:
    options = {
        "version_table": "speech_backfill_version",
        "compare_type": True,
        "compare_server_default": False,
    }
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        return compare_metadata(context, schema.metadata)


def test_migrations_lead_to_the_schema(ledger_url: str) -> None:
    engine = open_engine(ledger_url)
    assert _differences(engine) == []
    engine.dispose()


def test_a_table_that_no_migration_makes_is_noticed(ledger_url: str) -> None:
    engine = open_engine(ledger_url)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE duplicates"))
    assert _differences(engine)
    engine.dispose()


def test_migrations_lead_back_and_forth(ledger_url: str) -> None:
    from alembic import command
    from alembic.config import Config

    engine = open_engine(ledger_url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    for where in ("base", "head"):
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            (command.downgrade if where == "base" else command.upgrade)(config, where)
        tables = set(sa.inspect(engine).get_table_names())
        assert ("plans" in tables) is (where == "head")
    assert _differences(engine) == []
    engine.dispose()


def test_processes_that_open_a_new_ledger_at_once_all_get_it(ledger_url: str) -> None:
    script = (
        "import sys; from speech_backfill.ledger.ledger import Ledger\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(Ledger.open(sys.argv[1], lambda: 1.0).partitions())"
    )
    environment = {**os.environ, "PYTHONPATH": str(INCLUDE)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", script, ledger_url],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for one in workers:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in workers:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    answers = [one.communicate(timeout=60) for one in workers]
    assert [out for out, _ in answers] == ["[]\n"] * 4, [err[-500:] for _, err in answers]


def test_an_unreachable_ledger_says_where_and_what_to_do_and_no_password() -> None:
    with pytest.raises(LedgerUnavailable) as caught:
        open_engine("postgresql+psycopg://someone:a-password-nobody-may-see@127.0.0.1:1/none")
    text = str(caught.value)
    assert "127.0.0.1" in text
    assert "SPEECH_BACKFILL_LEDGER" in text
    assert "a-password-nobody-may-see" not in text


@pytest.mark.parametrize("url", ["no url at all", "sqlite:////proc/none/ledger.db", "unknown://x"])
def test_a_ledger_that_cannot_be_opened_is_one_kind_of_error(url: str) -> None:
    with pytest.raises(LedgerUnavailable):
        open_engine(url)


def test_a_file_that_is_no_database_is_one_kind_of_error(tmp_path: Path) -> None:
    spoilt = tmp_path / "ledger.db"
    spoilt.write_bytes(b"this is no database, and it is long enough to be taken for one" * 100)
    with pytest.raises(LedgerUnavailable, match="can't be used"):
        open_engine(f"sqlite:///{spoilt}")
