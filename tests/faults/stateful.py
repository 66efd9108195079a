"""Kills inside one process, for the stateful test: an exception that nothing catches, at the n-th effect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from speech_backfill.store import Store


class Killed(BaseException):
    """The process is dead: no handler of the core may see it, so it is no Exception."""


@dataclass
class Switch:
    """Counts effects down, and throws at the last."""

    left: int | None = None

    def off(self) -> None:
        self.left = None

    def passed(self) -> None:
        """An effect is about to happen, or has just happened."""
        if self.left is None:
            return
        self.left -= 1
        if self.left <= 0:
            raise Killed


@dataclass(frozen=True)
class KillingStore(Store):
    """A store whose writer dies before or after a write."""

    switch: Switch | None = None

    @classmethod
    def of(cls, store: Store, switch: Switch) -> KillingStore:
        return cls(store.url, store.objects, store.local_root, switch)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        assert self.switch is not None
        self.switch.passed()
        yield
        self.switch.passed()

    def put(self, path: str, data: bytes) -> None:
        with self._counted():
            super().put(path, data)

    def create(self, path: str, data: bytes) -> bool:
        with self._counted():
            return super().create(path, data)

    def replace(self, path: str, data: bytes, *, expected_etag: str | None) -> None:
        with self._counted():
            super().replace(path, data, expected_etag=expected_etag)

    def upload(self, source: Path, path: str) -> None:
        with self._counted():
            super().upload(source, path)

    def copy(self, source: str, target: str) -> None:
        with self._counted():
            super().copy(source, target)

    def delete(self, path: str) -> None:
        with self._counted():
            super().delete(path)
