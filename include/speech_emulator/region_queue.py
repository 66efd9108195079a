"""One region's queue: what starts when, and one transcription at a time; how it is worked through is not its business."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Container

from speech_emulator import faults
from speech_emulator.clock import Clock
from speech_emulator.config import Settings
from speech_emulator.processing import life_faults
from speech_emulator.store import Store, Transcription


class RegionQueue:
    """Moves the region's transcriptions from NotStarted to Running and processes them in turn."""

    def __init__(
        self,
        region: str,
        *,
        settings: Settings,
        clock: Clock,
        store: Store,
        process: Callable[[Transcription], Awaitable[None]],
        started: Callable[[Transcription], None],
        stopped: Container[str] = (),
    ) -> None:
        """*stopped* holds the region while it is down."""
        self.region = region
        self._settings = settings
        self._clock = clock
        self._store = store
        self._process = process
        self._started = started
        self._stopped = stopped
        self._chance = random.Random(f"{settings.queue.seed}/{region}")
        self._wake = asyncio.Event()
        self._current: asyncio.Task[None] | None = None
        self._alarm: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Look again: something was accepted, or time has moved."""
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                self._wake.clear()
                self._step()
                await self._wake.wait()
        finally:
            for task in (self._current, self._alarm):
                if task is not None:
                    task.cancel()

    def _step(self) -> None:
        if self.region in self._stopped:
            return
        now = self._clock.now()
        unfinished = self._store.unfinished(self.region)
        due = [row for row in unfinished if row.starts_at <= now]
        if self._settings.guesses.running_while_queued:
            for row in due:
                self._start(row)
        if self._current is None or self._current.done():
            self._current = None
            chosen = self._choose(due)
            if chosen is not None:
                self._start(chosen)
                self._current = asyncio.create_task(self._work(chosen), name=f"transcription {chosen.id}")
        later = [row.starts_at for row in unfinished if row.starts_at > now]
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.create_task(self._ring(min(later) - now)) if later else None

    def _choose(self, due: list[Transcription]) -> Transcription | None:
        ready: list[tuple[bool, Transcription]] = []
        for row in due:
            drawn = life_faults(row) if row.faults != "[]" else []
            endless = next((fault for fault in drawn if isinstance(fault, faults.NeverEnds)), None)
            if endless is None:
                ready.append((any(isinstance(fault, faults.Overtaken) for fault in drawn), row))
                continue
            self._start(row)
            if endless.blocks_region:
                return None
        if not ready:
            return None
        prompt = [row for overtaken, row in ready if not overtaken] or [row for _, row in ready]
        match self._settings.queue.order:
            case "fifo":
                return prompt[0]
            case "lifo":
                return prompt[-1]
            case "random":
                return self._chance.choice(prompt)

    def _start(self, row: Transcription) -> None:
        if row.status == "NotStarted" and (fresh := self._store.find(row.resource, row.id)) is not None:
            if fresh.status != "NotStarted":
                return
            self._store.change(row.id, status="Running", last_action_at=self._clock.now())
            self._started(row)

    async def _work(self, row: Transcription) -> None:
        try:
            await self._process(row)
        except Exception as error:
            # An emulator bug must show as a failed transcription, not as one that hangs.
            now = self._clock.now()
            self._store.change(
                row.id,
                status="Failed",
                error_code="Internal",
                error_message=f"The emulator failed: {type(error).__name__}.",
                ended_at=now,
                last_action_at=now,
                has_report=0,
                purge_at=now + self._clock.span(48 * 3600),
            )
        finally:
            self.wake()

    async def _ring(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._alarm = None
        self.wake()
