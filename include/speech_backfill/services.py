"""The Speech resources of a run: one client for each, opened when it is first needed and closed together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from speech_backfill.errors import SettingsError
from speech_backfill.ledger.records import TranscriptionRecord
from speech_backfill.ledger.resources import Resources
from speech_backfill.model import Clock
from speech_backfill.speech.client import SpeechClient
from speech_backfill.speech.rate import RequestRate, Shared
from speech_backfill.speech.resource import SpeechResource

OpenClient = Callable[[SpeechResource], SpeechClient]


def _shared(allowance: Resources, name: str) -> Shared:
    """The allowance of resource *name* for an event loop: the ledger's transactions block, so they run in a thread."""

    async def allow(requests: int) -> float:
        return await asyncio.to_thread(allowance.allow, name, requests)

    return allow


class Services:
    """Clients by resource name, as an async context manager."""

    def __init__(
        self,
        resources: Iterable[SpeechResource],
        *,
        clock: Clock = time.time,
        open_client: OpenClient | None = None,
        allowance: Resources | None = None,
    ) -> None:
        """*allowance* is what all workers share of requests; *open_client* is for tests that bring their own transport."""
        self.resources = {one.name: one for one in resources}
        self._open: OpenClient = open_client or (
            lambda resource: SpeechClient(
                resource,
                clock=clock,
                rate=None if allowance is None else RequestRate(shared=_shared(allowance, resource.name)),
            )
        )
        self._clients: dict[str, SpeechClient] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The resources' names, in the order of the settings."""
        return tuple(self.resources)

    def allowed(self, residency: str) -> list[SpeechResource]:
        """The resources that may have files that ask for *residency*; empty: any."""
        return [one for one in self.resources.values() if residency in {"", one.residency}]

    def client(self, name: str) -> SpeechClient:
        """The client of resource *name*. Raises SettingsError for a resource that is not configured (any more)."""
        if name not in self.resources:
            raise SettingsError(
                "SPEECH_BACKFILL_SPEECH_CONNECTIONS",
                f"transcriptions stand at resource {name}, which is not among {', '.join(self.names) or 'none'}",
                "Add its connection again, so that what was paid for can be fetched.",
            )
        if name not in self._clients:
            self._clients[name] = self._open(self.resources[name])
        return self._clients[name]

    def moved_from(self, record: TranscriptionRecord) -> str | None:
        """The endpoint that *record* was submitted to, if its resource's connection points to another one now.

        What the new endpoint does not know proves nothing then.
        """
        now = self.resources.get(record.resource)
        if record.endpoint is None or now is None or now.endpoint == record.endpoint:
            return None
        return record.endpoint

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            await client.aclose()
