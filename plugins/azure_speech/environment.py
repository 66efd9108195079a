"""The core's pipeline, built from Airflow's connections and SPEECH_BACKFILL_ variables, for the bodies of tasks.

Not for the tops of DAG files: it opens the ledger and reads connections.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from azure_speech.hooks.azure_speech import AzureSpeechHook
from azure_speech.hooks.storage import storage_accounts
from speech_backfill.pipeline import Pipeline
from speech_backfill.settings import Settings


def core_pipeline(variables: Mapping[str, str] = os.environ) -> Pipeline:
    """Open everything that the settings name. Raises SettingsError, LedgerUnavailable or Airflow's "not found"."""
    settings = Settings.from_environment(variables)
    return Pipeline.open(
        settings,
        ledger_url=settings.ledger or default_ledger(variables),
        accounts=storage_accounts(settings.storage_connection_ids),
        resources=[AzureSpeechHook(one).resource() for one in settings.speech_connection_ids],
    )


def default_ledger(variables: Mapping[str, str]) -> str:
    """SQLite beside AIRFLOW_HOME; its folder is made where it is not there yet."""
    folder = Path(variables.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "speech_backfill"
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'ledger.db'}"
