"""The emulator without HTTP: everything that lives as long as the process, built once and wired here."""

import asyncio
import contextlib
import secrets
import sqlite3
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec

from speech_emulator import faults
from speech_emulator.audio import AudioFetcher
from speech_emulator.auth import Doorkeeper
from speech_emulator.clock import Clock, ScaledClock
from speech_emulator.config import ResourceSettings, Settings
from speech_emulator.errors import CannotStartError, encode
from speech_emulator.fault_rules import FaultBoard
from speech_emulator.notifier import Notifier
from speech_emulator.processing import Processor
from speech_emulator.recognisers.model import Recogniser
from speech_emulator.region_queue import RegionQueue
from speech_emulator.results import Results
from speech_emulator.sas import SasSigner
from speech_emulator.store import Store, Transcription
from speech_emulator.throttle import Throttle
from speech_emulator.validation import Submission

_CONFIGURED = "configured-"


class Emulator:
    """State and rules of every emulated resource."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        client: httpx.AsyncClient | None = None,
        recogniser: Recogniser | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock or ScaledClock(settings.clock.time_scale)
        self.client = client or httpx.AsyncClient(limits=httpx.Limits(max_connections=64), trust_env=False)
        self.store = _store(settings.server.data)
        key = self.store.remembered("signing-key") or secrets.token_bytes(32)
        self.store.remember("signing-key", key)
        self.signer = SasSigner(key)
        self.doorkeeper = Doorkeeper(settings, self.clock, key)
        self.faults = self._fault_board()
        self.resources = {resource.name: resource for resource in settings.resources}
        self.throttles: dict[str, Throttle] = {}
        self.recogniser = recogniser or _recogniser(settings, self.client)
        self.results = Results(settings, self.clock, self.store, self.recogniser, self.signer)
        self.notifier = Notifier(settings, self.clock, self.store, self.faults, self.client)
        processor = Processor(
            settings=settings,
            clock=self.clock,
            store=self.store,
            recogniser=self.recogniser,
            results=self.results,
            client=self.client,
            ended=self._announce_end,
        )
        self.stopped_regions: set[str] = set()
        """Regions that are down: their resources answer nothing but 503, and their queues begin nothing."""
        self.queues = {
            region: RegionQueue(
                region,
                settings=settings,
                clock=self.clock,
                store=self.store,
                process=processor.run,
                started=self._announce_start,
                stopped=self.stopped_regions,
            )
            for region in dict.fromkeys(resource.region for resource in settings.resources)
        }
        self.requests: Counter[str] = Counter()
        self.throttled: Counter[str] = Counter()
        self.revoked_sas: set[str] = set()
        self.downloads: Counter[str] = Counter()
        self.restart_counting()

    def restart_counting(self) -> None:
        """Set every counter to nothing and fill every request limit."""
        for counter in (self.requests, self.throttled, self.downloads):
            counter.clear()
        self.revoked_sas.clear()
        self.throttles.update((name, Throttle(self.settings.throttle, self.clock)) for name in self.resources)

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator["Emulator"]:
        """The emulator with its queues at work."""
        workers = [
            asyncio.create_task(queue.run(), name=f"queue {name}") for name, queue in self.queues.items()
        ]
        try:
            yield self
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await self.notifier.aclose()
            await self.recogniser.aclose()
            await self.client.aclose()
            self.store.close()

    def accept(self, resource: ResourceSettings, asked: Submission, base_url: str) -> Transcription:
        """Make a transcription of a checked submission; the same submission twice makes two."""
        now = self.clock.now()
        drawn = self.faults.all(faults.LifeFault, "submit", resource.name, (asked.display_name,))
        lag = sum(fault.seconds for fault in drawn if isinstance(fault, faults.ListLag))
        row = Transcription(
            id=str(uuid.uuid4()),
            resource=resource.name,
            region=resource.region,
            base_url=base_url,
            display_name=asked.display_name,
            description=asked.description,
            locale=asked.locale,
            model=asked.model,
            project=asked.project,
            custom_properties=None
            if asked.custom_properties is None
            else encode(asked.custom_properties).decode(),
            properties=encode(asked.properties).decode(),
            container_url=asked.container_url,
            destination_url=asked.destination_url,
            status="NotStarted",
            created_at=now,
            last_action_at=now,
            starts_at=now + self.clock.span(self.settings.queue.start_delay_seconds),
            visible_at=now + self.clock.span(lag),
            faults=msgspec.json.encode(drawn).decode(),
            files_known=int(asked.container_url is None),
        )
        names = [f"contenturl_{at}.json" for at in range(len(asked.content_urls))]
        if self.settings.guesses.result_index == "shuffled":
            names.reverse()
        self.store.accept(row, asked.content_urls, names)
        self.queues[resource.region].wake()
        self.notifier.event(row, "transcriptionCreation")
        return row

    def stop_region(self, region: str) -> None:
        """Let a region go down; what it works on now still ends, unseen."""
        self.stopped_regions.add(region)

    def start_region(self, region: str) -> None:
        """Let it come back and go on with what it has."""
        self.stopped_regions.discard(region)
        self.queues[region].wake()

    def find(self, resource: str, transcription_id: str) -> Transcription | None:
        """A transcription that exists now."""
        self.purge()
        return self.store.find(resource, transcription_id)

    def delete(self, row: Transcription) -> None:
        """Forget a transcription and its results; a destination container keeps its blobs."""
        self.store.delete(row.id)
        self.notifier.event(row, "transcriptionDeletion")

    def purge(self) -> None:
        """Delete what has outlived its time to live."""
        for row in self.store.due_for_purge(self.clock.now()):
            self.delete(row)

    def _fault_board(self) -> FaultBoard:
        board = FaultBoard(lambda rules: self.store.remember("faults", encode(rules)))
        kept = self.store.remembered("faults") or b"[]"
        known = {rule["id"]: rule for rule in msgspec.json.decode(kept, type=list[dict[str, Any]])}
        # Configured rules are those of the settings read just now, with the counters they had before a restart.
        for number, rule in enumerate(self.settings.faults, 1):
            name = rule.get("id") or f"{_CONFIGURED}{number}"
            before = known.pop(name, {})
            board.add(
                {**rule, "id": name, **{key: before[key] for key in ("seen", "fired") if key in before}}
            )
        for name, rule in known.items():
            if not name.startswith(_CONFIGURED):
                board.add(rule)
        return board

    def _announce_start(self, row: Transcription) -> None:
        self.notifier.event(row, "transcriptionProcessing")

    def _announce_end(self, row: Transcription) -> None:
        self.notifier.event(row, "transcriptionCompletion")


def _store(folder: str | None) -> Store:
    if folder is None:
        return Store(None)
    try:
        return Store(Path(folder))
    except (OSError, sqlite3.Error) as error:
        message = (
            f"The data folder {folder} cannot be used ({error}). "
            "Stop the emulator that uses it, or choose another: --data FOLDER"
        )
        raise CannotStartError(message) from error


def _recogniser(settings: Settings, client: httpx.AsyncClient) -> Recogniser:
    fetcher = AudioFetcher(settings, client)
    match settings.recogniser.kind:
        case "whisper":
            from speech_emulator.recognisers.whisper import WhisperRecogniser

            return WhisperRecogniser(settings, fetcher)
        case "synthetic":
            from speech_emulator.recognisers.synthetic import SyntheticRecogniser

            return SyntheticRecogniser(settings, fetcher)
