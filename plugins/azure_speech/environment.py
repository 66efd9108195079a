"""The core's pieces, built from Airflow's connections and SPEECH_BACKFILL_ variables, for the bodies of tasks.

Not for the tops of DAG files: it opens the ledger and reads connections.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from azure_speech.hooks.azure_speech import AzureSpeechHook
from azure_speech.hooks.storage import storage_accounts
from speech_backfill.accounts import StorageAccounts
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.model import Clock
from speech_backfill.services import OpenClient, Services
from speech_backfill.settings import Settings
from speech_backfill.speech.resource import SpeechResource
from speech_backfill.store import Store


@dataclass(frozen=True, slots=True)
class Environment:
    """What a step of the core needs from its surroundings."""

    settings: Settings
    ledger: Ledger
    store: Store
    accounts: StorageAccounts
    resources: tuple[SpeechResource, ...]
    clock: Clock = time.time
    open_client: OpenClient | None = None

    def services(self) -> Services:
        """The resources' clients, as an async context manager."""
        return Services(self.resources, clock=self.clock, open_client=self.open_client)


def core_environment(variables: Mapping[str, str] = os.environ) -> Environment:
    """Open everything that the settings name. Raises SettingsError, LedgerUnavailable or Airflow's "not found"."""
    settings = Settings.from_environment(variables)
    accounts = storage_accounts(settings.storage_connection_ids)
    return Environment(
        settings=settings,
        ledger=Ledger.open(settings.ledger or default_ledger(variables), time.time),
        store=Store.open(settings.require_store(), accounts),
        accounts=accounts,
        resources=tuple(AzureSpeechHook(one).resource() for one in settings.speech_connection_ids),
    )


def default_ledger(variables: Mapping[str, str]) -> str:
    """SQLite beside AIRFLOW_HOME; its folder is made where it is not there yet."""
    folder = Path(variables.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "speech_backfill"
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'ledger.db'}"
