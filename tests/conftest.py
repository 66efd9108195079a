"""Fixtures that several folders of tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from azurite import AzuriteNotInstalled, azurite_running


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
