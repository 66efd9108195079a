"""Look at one resource for everybody who waits on it: one list instead of a request for each transcription.

A look is made by whoever is due first; the others take what it saw. Nobody is due: nobody looks, and there is no task
in the background to outlive them. After a first whole look only what has changed since is asked for, which is one page
however much waits. Looks never change anything at the service, and a failed one is tolerated.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

from speech_backfill.model import Clock
from speech_backfill.speech.api import Transcription
from speech_backfill.speech.client import SpeechClient
from speech_backfill.speech.connection import Timeouts
from speech_backfill.speech.errors import NotFound, SpeechServiceError, Unauthorized, without_secrets
from speech_backfill.speech.resource import SpeechResource
from speech_backfill.speech.retries import RetryPolicy
from speech_backfill.watch.decide import Ended, Overdue, Seen, Until, Wait, decide, interval

log = logging.getLogger(__name__)

LOOK_BACK_SECONDS = 3 * 86_400.0
"""How far back the first list reaches for ids whose age we don't know yet; older ones are asked for one by one."""

CHANGES_OVERLAP_SECONDS = 600.0
"""How far before the last look the next one begins: lists may lag, and clocks differ."""

WHOLE_EVERY_SECONDS = 1800.0
"""How often everything that is waited for is looked at, changed or not: what a list of changes has missed shows then."""

_ENDS_FOR_PACE = 20
_FEWEST_ENDS = 4

GONE_AFTER_SECONDS = 120.0
"""A transcription counts as gone when the service has denied it for this long: a new one may not be everywhere yet."""

Resolve = Callable[[], Awaitable[SpeechResource]]
Connect = Callable[[SpeechResource], SpeechClient]
Sleep = Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class _Sight:
    """What is known of one wanted transcription."""

    seen: Seen | None = None
    created_at: float | None = None
    denied_since: float | None = None


@dataclass(slots=True)
class _Waiter:
    """Somebody who waits, and for what."""

    wanted: frozenset[str]
    looked: int = 0
    """The number of the last look that this waiter has taken into account."""


@dataclass(slots=True)
class Poller:
    """Looks at one resource. Shared by all waiters of an event loop; see `shared_poller`."""

    name: str
    resolve: Resolve
    """Gives the resource, anew after a refusal, so that a key that was rotated is picked up."""
    connect: Connect
    clock: Clock
    sleep: Sleep
    _waiters: dict[int, _Waiter] = field(default_factory=dict)
    _sights: dict[str, _Sight] = field(default_factory=dict)
    _numbers: count[int] = field(default_factory=count)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _client: SpeechClient | None = None
    _looks: int = 0
    _began_at: float = float("-inf")
    _ended_at: float = float("-inf")
    _failed_looks: int = 0
    _advised_seconds: float = 0.0
    _changes_since: float | None = None
    """When the last look that succeeded began; None before the first."""
    _whole_at: float = float("-inf")
    _ends: deque[float] = field(default_factory=lambda: deque(maxlen=_ENDS_FOR_PACE))
    """When the last of the wanted ended, by the service's clock."""
    problem: str | None = None
    """Why the last look saw nothing; None after a good one."""

    async def wait(
        self,
        wanted: Collection[str],
        *,
        deadline_at: float,
        poll_interval_seconds: float,
        first_look_seconds: float,
        until: Until = "all",
        report: Callable[[str], None] = log.info,
    ) -> Ended | Overdue:
        """Wait until *wanted* have ended (all, or any of them) or *deadline_at* has passed. Raises nothing of the service's.

        The first look is made after *first_look_seconds*, even where the deadline has passed, and looks at the
        resource, whoever makes them, stand at least *poll_interval_seconds* apart. *report* is told what changed, and what went wrong.
        """
        number, waiter = next(self._numbers), _Waiter(frozenset(wanted), self._looks)
        self._waiters[number] = waiter
        for one in waiter.wanted:
            self._sights.setdefault(one, _Sight())
        started_at, pause, told = self.clock(), max(0.0, first_look_seconds), ""
        try:
            while True:
                await self.sleep(pause)
                # The last look of all is made when the deadline has come, so that an end beats it.
                await self._look(
                    waiter, apart_seconds=poll_interval_seconds, last=self.clock() >= deadline_at
                )
                news = self._account(waiter)
                if news != told:
                    report(news)
                    told = news
                verdict = decide(
                    waiter.wanted,
                    self._seen(waiter),
                    now=self.clock(),
                    deadline_at=deadline_at,
                    interval_seconds=interval(
                        poll_interval_seconds=poll_interval_seconds,
                        advised_seconds=self._advised_seconds,
                        youngest_age_seconds=self.clock() - self._youngest(waiter, started_at),
                        failed_looks=self._failed_looks,
                        draw=random.random(),
                        expected_seconds=self._expected(waiter, until),
                    ),
                    until=until,
                )
                match verdict:
                    case Wait(seconds=seconds):
                        pause = seconds
                    case Ended() | Overdue():
                        return verdict
        finally:
            del self._waiters[number]
            self._forget_unwanted()

    async def aclose(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _look(self, waiter: _Waiter, *, apart_seconds: float, last: bool) -> None:
        """See to it that *waiter* has news: somebody's look since its last, or one of its own when one is due.

        The *last* look is one that began after the deadline, whoever made it.
        """
        due_at = self.clock()
        while True:
            async with self._turn:
                if self._began_at >= due_at if last else self._looks > waiter.looked:
                    break
                early = self._ended_at + apart_seconds - self.clock()
                if early <= 0 or last:
                    await self._look_now()
                    break
            await self.sleep(early)
        waiter.looked = self._looks

    async def _look_now(self) -> None:
        """One look for everybody. What fails is noted for the waiters to report; what was seen before stays."""
        self._began_at = self.clock()
        try:
            client = await self._connected()
            await self._see(client)
        except SpeechServiceError as error:
            self.problem = str(error)
            if isinstance(error, Unauthorized):
                await self.aclose()
        except Exception as error:
            # Anything else (a connection that can't be read, a bug) must not end a wait for work that goes on and is
            # paid for: the next look may see it, and the deadline ends the wait at the latest.
            log.warning("Looking at Speech resource %s failed", self.name, exc_info=True)
            self.problem = without_secrets(f"{type(error).__name__}: {error}")
            await self.aclose()
        else:
            self.problem = None
        self._failed_looks = self._failed_looks + 1 if self.problem else 0
        self._ended_at = self.clock()
        self._looks += 1

    async def _connected(self) -> SpeechClient:
        if self._client is None:
            self._client = self.connect(await self.resolve())
        return self._client

    async def _see(self, client: SpeechClient) -> None:
        """What has changed since the last look; everything now and then, and what was never seen."""
        missing = {one for one, sight in self._sights.items() if sight.seen is None or not sight.seen.over}
        if not missing:
            return
        began = self.clock()
        whole = self._changes_since is None or began - self._whole_at >= WHOLE_EVERY_SECONDS
        if not whole and await self._see_changes(client):
            # What was never seen may be older than any change; what was denied once must be denied again to be gone.
            missing = {
                one
                for one in missing
                if self._sights[one].seen is None or self._sights[one].denied_since is not None
            }
        else:
            whole = True
        if missing:
            await self._see_whole(client, missing)
        self._changes_since = began
        if whole:
            self._whole_at = began

    async def _see_changes(self, client: SpeechClient) -> bool:
        """One list of what has changed; false where the service does not narrow it."""
        assert self._changes_since is not None
        since = self._changes_since + (client.clock_offset_seconds or 0.0) - CHANGES_OVERLAP_SECONDS
        async for page in client.list_pages(changed_after=since):
            for one in page:
                if one.last_action_at is None or one.last_action_at < int(since):
                    return False
                if one.transcription_id in self._sights:
                    self._note(one)
        self._advised_seconds = client.advised_wait_seconds or 0.0
        return True

    async def _see_whole(self, client: SpeechClient, missing: set[str]) -> None:
        """Pages of the list for as long as they promise more than asking for the rest one by one would cost."""
        pages_read = 0
        pages = client.list_pages(created_after=self._since(missing))
        async for page in pages:
            pages_read += 1
            for one in page:
                if one.transcription_id in self._sights:
                    self._note(one)
                    missing.discard(one.transcription_id)
            if pages_read >= len(missing):
                break
        self._advised_seconds = client.advised_wait_seconds or 0.0
        failure: SpeechServiceError | None = None
        for one_id in sorted(missing):
            try:
                self._note(await client.get(one_id))
            except NotFound:
                self._deny(one_id)
            except Unauthorized:
                raise
            except SpeechServiceError as error:
                failure = error
        if failure is not None:
            raise failure

    def _since(self, missing: set[str]) -> float:
        """When the oldest wanted transcription was made; a look back where we don't know that of one."""
        known = [created_at for one in missing if (created_at := self._sights[one].created_at) is not None]
        if len(known) < len(missing):
            return min([self.clock() - LOOK_BACK_SECONDS, *known])
        return min(known)

    def _note(self, one: Transcription) -> None:
        sight = self._sights.setdefault(one.transcription_id, _Sight())
        if one.status.ended and one.last_action_at and not (sight.seen and sight.seen.over):
            self._ends.append(one.last_action_at)
        sight.seen, sight.created_at, sight.denied_since = Seen(one.status.value), one.created_at, None

    def _deny(self, transcription_id: str) -> None:
        """The service knows no such transcription: believed when it says so for long enough."""
        sight = self._sights.setdefault(transcription_id, _Sight())
        now = self.clock()
        if sight.denied_since is None:
            sight.denied_since = now
        elif now - sight.denied_since >= GONE_AFTER_SECONDS:
            sight.seen = Seen.GONE

    def _seen(self, waiter: _Waiter) -> Mapping[str, Seen]:
        return {one: seen for one in waiter.wanted if (seen := self._sights[one].seen) is not None}

    def _youngest(self, waiter: _Waiter, started_at: float) -> float:
        """When the youngest unfinished transcription was made; when the wait began where that is unknown."""
        times = [
            sight.created_at if sight.created_at is not None else started_at
            for one in waiter.wanted
            if (sight := self._sights[one]).seen is None or not sight.seen.over
        ]
        return max(times, default=started_at)

    def _expected(self, waiter: _Waiter, until: Until) -> float | None:
        """How long until the wait should end, at the pace of the last ends and one after the other; None: nothing to go by."""
        if len(self._ends) < _FEWEST_ENDS:
            return None
        pace = (max(self._ends) - min(self._ends)) / (len(self._ends) - 1)
        unfinished = sorted(
            (sight.created_at, one)
            for one, sight in self._sights.items()
            if sight.created_at is not None and not (sight.seen and sight.seen.over)
        )
        ranks = [rank for rank, (_, one) in enumerate(unfinished, 1) if one in waiter.wanted]
        if not ranks:
            return None
        # The one that is worked on now was begun when the last one ended. One that is overdue may take as long again.
        begun = max(0.0, self.clock() - max(self._ends))
        return abs(pace * (max(ranks) if until == "all" else min(ranks)) - begun)

    def _account(self, waiter: _Waiter) -> str:
        """One line on how things stand, for the task's log."""
        seen = self._seen(waiter)
        counts = {word: sum(one is word for one in seen.values()) for word in Seen}
        shown = [f"{number} {word.value}" for word, number in counts.items() if number]
        unseen = len(waiter.wanted) - len(seen)
        if unseen:
            shown.append(f"{unseen} not seen yet")
        line = f"Speech resource {self.name}: {', '.join(shown) or 'nothing to wait for'}"
        return f"{line}. The last look failed: {self.problem}" if self.problem else line

    def _forget_unwanted(self) -> None:
        wanted = frozenset[str]().union(*(waiter.wanted for waiter in self._waiters.values()))
        for one in [one for one in self._sights if one not in wanted]:
            del self._sights[one]


def _connect(resource: SpeechResource) -> SpeechClient:
    """A client that gives up soon: the next look is the better repeat, and a deadline may be near."""
    return SpeechClient(
        resource,
        retries=RetryPolicy(tries=2, throttled_tries=2),
        timeouts=Timeouts(answer_seconds=60.0),
    )


@dataclass(slots=True)
class _Shared:
    poller: Poller
    users: int = 0


_POLLERS: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Shared]] = (
    weakref.WeakKeyDictionary()
)


@asynccontextmanager
async def shared_poller(
    name: str,
    resolve: Resolve,
    *,
    connect: Connect = _connect,
    clock: Clock = time.time,
    sleep: Sleep = asyncio.sleep,
) -> AsyncIterator[Poller]:
    """The poller of resource *name* on this event loop: made for the first who waits, closed after the last."""
    pollers = _POLLERS.setdefault(asyncio.get_running_loop(), {})
    shared = pollers.get(name)
    if shared is None:
        shared = pollers[name] = _Shared(Poller(name, resolve, connect, clock, sleep))
    shared.users += 1
    try:
        yield shared.poller
    finally:
        shared.users -= 1
        if not shared.users:
            del pollers[name]
            await shared.poller.aclose()
