"""Accounts for tests of reading sources: one in memory, and reading with them in one call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import obstore
import pytest
from obstore.store import MemoryStore

from speech_backfill.accounts import AccountKey, StorageAccount, StorageAccounts
from speech_backfill.manifest.source import read_source
from speech_backfill.model import TranscriptionOptions


@dataclass(frozen=True, slots=True)
class MemoryAccount(StorageAccount):
    """An account whose containers are MemoryStores; a container that was not made is missing."""

    containers: dict[str, Any] = field(default_factory=dict, compare=False)

    def container(self, name: str, prefix: str = "", *, timeout_seconds: int = 120) -> Any:
        assert not prefix
        if name not in self.containers:
            raise FileNotFoundError("<Code>ContainerNotFound</Code>")
        return self.containers[name]

    def upload(self, container: str, path: str, data: bytes = b"audio") -> None:
        obstore.put(self.containers.setdefault(container, MemoryStore()), path, data)


@pytest.fixture
def account():
    return MemoryAccount("calls", "https://calls.blob.core.windows.net", AccountKey("a2V5"))


@pytest.fixture
def accounts(account):
    return StorageAccounts.of([account])


@pytest.fixture
def read(accounts):
    def reading(source, defaults=TranscriptionOptions(), **settings):  # noqa: B008
        return list(read_source(str(source), accounts=accounts, defaults=defaults, **settings))

    return reading


@pytest.fixture
def manifest(tmp_path, read):
    """Write a manifest and read it."""

    def written(name, content, **settings):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read(path, **settings)

    return written
