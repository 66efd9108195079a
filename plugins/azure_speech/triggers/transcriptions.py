"""Wait in the triggerer until transcriptions have ended, over any number of resources. Only looks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, assert_never

from airflow.triggers.base import BaseTrigger, TriggerEvent

from azure_speech.events import SeenTranscription, TranscriptionsEvent
from azure_speech.hooks.azure_speech import AzureSpeechHook
from speech_backfill.model import TranscriptionRef
from speech_backfill.watch.decide import Ended, Overdue
from speech_backfill.watch.poller import Poller, shared_poller


class TranscriptionsTrigger(BaseTrigger):
    """Fires one event when all *transcriptions* have ended, or when the deadline has passed.

    The deadline is a moment, not a duration: a triggerer that restarts goes on with the same one.

    :param transcriptions: the ids at each connection; its resource is entered with that connection's credential
    :param deadline_at: when to give up, in seconds since 1970; an end that is seen then still counts
    :param poll_interval_seconds: looks at a resource stand at least so far apart
    :param first_look_seconds: when the first look is made; an earlier event could meet a scheduler that has not yet
        noted the deferral
    """

    def __init__(
        self,
        *,
        transcriptions: Mapping[str, Sequence[str]],
        deadline_at: float,
        poll_interval_seconds: float,
        first_look_seconds: float,
    ) -> None:
        """Arguments are ids and numbers only: Airflow keeps them in plain text."""
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow leaves it untyped
        self.transcriptions = {resource: list(ids) for resource, ids in transcriptions.items()}
        self.deadline_at = deadline_at
        self.poll_interval_seconds = poll_interval_seconds
        self.first_look_seconds = first_look_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and its arguments; renaming one breaks tasks that wait while the code is changed."""
        return (
            "azure_speech.triggers.transcriptions.TranscriptionsTrigger",
            {
                "transcriptions": self.transcriptions,
                "deadline_at": self.deadline_at,
                "poll_interval_seconds": self.poll_interval_seconds,
                "first_look_seconds": self.first_look_seconds,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait at every resource at once, then fire once."""
        async with asyncio.TaskGroup() as group:
            waits = {
                name: group.create_task(self._wait(name, ids)) for name, ids in self.transcriptions.items()
            }
        transcriptions: list[SeenTranscription] = []
        overdue: list[TranscriptionRef] = []
        for name, ids in self.transcriptions.items():
            end = waits[name].result()
            transcriptions += [
                SeenTranscription(TranscriptionRef(name, one), end.seen.get(one)) for one in ids
            ]
            match end:
                case Overdue(overdue=late):
                    overdue += [TranscriptionRef(name, one) for one in late]
                case Ended():
                    pass
                case _:
                    assert_never(end)
        event = TranscriptionsEvent(tuple(transcriptions), tuple(overdue))
        yield TriggerEvent(event.to_dict())  # type: ignore[no-untyped-call]  # Airflow leaves it untyped

    async def on_kill(self) -> None:
        """Do nothing at the service.

        Airflow calls this on a stalled triggerer too, and after a clear it can come later than the next attempt; the
        service could not cancel anyway.
        """
        self.log.info(
            "This wait was ended. The transcriptions go on at the service: it has no way to cancel them."
        )

    def poller(self, name: str) -> AbstractAsyncContextManager[Poller]:
        """The poller of connection *name*, shared with every other trigger on it."""
        return shared_poller(name, AzureSpeechHook(name).aresource)

    async def _wait(self, name: str, ids: Sequence[str]) -> Ended | Overdue:
        async with self.poller(name) as poller:
            return await poller.wait(
                ids,
                deadline_at=self.deadline_at,
                poll_interval_seconds=self.poll_interval_seconds,
                first_look_seconds=self.first_look_seconds,
                report=self.log.info,
            )
