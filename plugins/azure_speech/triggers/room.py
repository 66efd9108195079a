"""Wait in the triggerer until there may be room for another submission. Only looks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from azure_speech.events import RoomEvent
from azure_speech.hooks.azure_speech import AzureSpeechHook
from speech_backfill.model import TranscriptionRef
from speech_backfill.watch.decide import Ended, Overdue
from speech_backfill.watch.poller import Poller, shared_poller


class RoomTrigger(BaseTrigger):
    """Fires one event when *ends* of *transcriptions* have ended, or when the moment *until* has come.

    :param transcriptions: the ids at each connection that take up the room; may be empty
    :param until: when to try again in any case, in seconds since 1970
    :param ends: so many ends are room for others in line and for enough of our own
    :param poll_interval_seconds: looks at a resource stand at least so far apart
    :param first_look_seconds: no event comes earlier than this, whatever *until* says
    """

    def __init__(
        self,
        *,
        transcriptions: Mapping[str, Sequence[str]],
        until: float,
        poll_interval_seconds: float,
        first_look_seconds: float,
        ends: int = 1,
    ) -> None:
        """Arguments are ids and numbers only: Airflow keeps them in plain text."""
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow leaves it untyped
        self.transcriptions = {resource: list(ids) for resource, ids in transcriptions.items()}
        self.until = until
        self.ends = ends
        self.poll_interval_seconds = poll_interval_seconds
        self.first_look_seconds = first_look_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and its arguments; renaming one breaks tasks that wait while the code is changed."""
        return (
            "azure_speech.triggers.room.RoomTrigger",
            {
                "transcriptions": self.transcriptions,
                "until": self.until,
                "ends": self.ends,
                "poll_interval_seconds": self.poll_interval_seconds,
                "first_look_seconds": self.first_look_seconds,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait at every resource at once, until enough has ended anywhere."""
        ended: list[TranscriptionRef] = []
        if self.transcriptions:
            await self._gather(ended)
        else:
            await asyncio.sleep(max(self.first_look_seconds, self.until - time.time()))
        yield TriggerEvent(RoomEvent(tuple(ended)).to_dict())  # type: ignore[no-untyped-call]  # Airflow leaves it untyped

    async def _gather(self, ended: list[TranscriptionRef]) -> None:
        """Fill *ended* until it holds `ends`, or the moment has come."""
        async with AsyncExitStack() as stack:
            # Held over all waits: the last to leave a poller would close it, and what it has seen would be forgotten.
            pollers = {
                name: await stack.enter_async_context(self.poller(name)) for name in self.transcriptions
            }
            await self._gather_from(pollers, ended)

    async def _gather_from(self, pollers: Mapping[str, Poller], ended: list[TranscriptionRef]) -> None:
        waits: dict[asyncio.Task[Ended | Overdue], str] = {}

        def wait(name: str, ids: Sequence[str], first_look_seconds: float) -> None:
            waits[asyncio.create_task(self._wait(pollers[name], ids, first_look_seconds))] = name

        for name, ids in self.transcriptions.items():
            wait(name, ids, self.first_look_seconds)
        try:
            while waits:
                done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    name, verdict = waits.pop(one), one.result()
                    ended += [TranscriptionRef(name, key) for key, seen in verdict.seen.items() if seen.over]
                    left = {*self.transcriptions[name]} - {ref.transcription_id for ref in ended}
                    if isinstance(verdict, Ended) and left:
                        wait(name, sorted(left), 0.0)
                if len(ended) >= self.ends or time.time() >= self.until:
                    return
        finally:
            for one in waits:
                one.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def on_kill(self) -> None:
        """Do nothing at the service: this only waited for others' transcriptions to end."""
        self.log.info("This wait for room was ended. Transcriptions at the service go on.")

    def poller(self, name: str) -> AbstractAsyncContextManager[Poller]:
        """The poller of connection *name*, shared with every other trigger on it."""
        return shared_poller(name, AzureSpeechHook(name).aresource)

    async def _wait(self, poller: Poller, ids: Sequence[str], first_look_seconds: float) -> Ended | Overdue:
        return await poller.wait(
            ids,
            deadline_at=self.until,
            poll_interval_seconds=self.poll_interval_seconds,
            first_look_seconds=first_look_seconds,
            until="any",
            report=self.log.info,
        )
