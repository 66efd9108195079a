"""Fixtures that several folders of tests share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from azurite import AzuriteNotInstalled, azurite_running
from postgres import PostgresNotAvailable, fresh_database, postgres_running

# No test is timed: how long one example takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def azurite() -> Iterator[str]:
    """The endpoint of an Azurite of this test session's own."""
    try:
        running = azurite_running()
        endpoint = running.__enter__()
    except AzuriteNotInstalled as error:
        pytest.skip(str(error))
    try:
        yield endpoint
    finally:
        running.__exit__(None, None, None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The SQLAlchemy URL of a PostgreSQL server of this test session's own."""
    try:
        running = postgres_running()
        url = running.__enter__()
    except PostgresNotAvailable as error:
        pytest.skip(f"PostgreSQL: {error}")
    try:
        yield url
    finally:
        running.__exit__(None, None, None)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty ledger: a SQLite file, and a database of a real PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.db"
        return
    with fresh_database(request.getfixturevalue("postgres_server"), f"ledger_{uuid.uuid4().hex[:12]}") as url:
        yield url
