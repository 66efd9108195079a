"""Airflow in a folder of its own, connections from the environment, and a Speech service on a real port."""

import json
import os
import tempfile
import time

import pytest

# Airflow reads its home while it is imported, which is before any fixture runs.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="speech-backfill-airflow-"))
os.environ.setdefault("AIRFLOW__CORE__UNIT_TEST_MODE", "True")
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")


def pytest_collection_modifyitems(items):
    for item in items:
        if "azure_speech" in str(item.path.parent):
            item.add_marker(pytest.mark.airflow)


@pytest.fixture
def service():
    """A Speech service that keeps real time."""
    from fakes.speech_service import FakeSpeechService

    return FakeSpeechService(name="speech_west", clock=time.time)


@pytest.fixture
def endpoint(service, connect):
    """*service* on a port, known to Airflow as connection speech_west."""
    from fakes.http_server import served
    from fakes.speech_service import KEY

    with served(service) as address:
        connect("speech_west", conn_type="azure_speech", host=address, password=KEY)
        yield address


@pytest.fixture
def connect(monkeypatch):
    """Defines connections as Airflow reads them from the environment."""
    from airflow.sdk.execution_time.cache import SecretCache

    def define(conn_id, **fields):
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
        SecretCache.reset()

    yield define
    SecretCache.reset()
