"""Reads the headers of audio files where they lie, for their durations: concurrently, in small ranged requests.

Only ever a help: a file that can't be read is unknown, an account that does not answer is left alone, and after a while
the plan goes on with what there is. So nothing here raises.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, TypeVar

import obstore
from obstore.exceptions import InvalidPathError

from speech_backfill.accounts import BlobLocation, StorageAccounts
from speech_backfill.audio_header import read_duration_ms
from speech_backfill.durations import format_of
from speech_backfill.errors import AudioUriError
from speech_backfill.manifest.faults import first_answer, said
from speech_backfill.ranged_file import BLOCK, RangedFile

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_TIMEOUT_SECONDS = 20
"""For one request with its repeats; shorter than elsewhere, because nothing depends on the answer."""

_LEAST_SECONDS = 60.0
_SECONDS_A_FILE = 0.25
"""How long all headers may take: several times what they take where the account is well."""

_FAILURES = 5
"""After so many requests in a row without an answer an account is left alone: it is down, or throttles us."""


@dataclass(slots=True)
class _Account:
    """What was learned of an account."""

    answered: bool = False
    failures: int = 0

    @property
    def given_up(self) -> bool:
        return self.failures >= _FAILURES

    def asked(self, request: Callable[[], _T]) -> _T:
        """The answer to *request*; what comes of it is noted, whatever a parser makes of an error."""
        try:
            answer = request()
        except Exception as error:
            if _is_answer(error):
                self.answered, self.failures = True, 0
            else:
                self.failures += 1
            raise
        self.answered, self.failures = True, 0
        return answer


@dataclass(slots=True)
class HeaderReader:
    """Reads headers for one plan, and remembers what came of each: a plan that is made again asks nothing twice."""

    accounts: StorageAccounts
    concurrency: int = 32
    _found: dict[str, int | None] = field(default_factory=dict)
    _stores: dict[tuple[str, str], Any] = field(default_factory=dict)
    _known: dict[str, _Account] = field(default_factory=dict)
    _requests: int = 0
    _bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def durations(self, urls: Sequence[str]) -> dict[str, int]:
        """By URL: the duration in milliseconds of those whose header says it."""
        began = time.monotonic()
        ends = began + _LEAST_SECONDS + _SECONDS_A_FILE * len(urls)
        asked = [one for one in dict.fromkeys(urls) if one not in self._found]
        places = [(url, place) for url in asked if (place := self._place(url)) is not None]
        # The first question to an account goes alone: an account that is down is found out once, not 32 times.
        rest = []
        for url, place in places:
            if self._known.setdefault(place.account.name, _Account()).answered:
                rest.append((url, place))
            else:
                self._ask_first(url, place)
        if rest:
            pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="header")
            try:
                wait([pool.submit(self._ask, *one) for one in rest], timeout=ends - time.monotonic())
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
        found = {url: ms for url in urls if (ms := self._found.get(url)) is not None}
        if asked:
            log.info(
                "durations: %d of %d headers read in %.1f s, %d requests, %.1f MB",
                len(found),
                len(urls),
                time.monotonic() - began,
                self._requests,
                self._bytes / 1e6,
            )
        return found

    def _place(self, url: str) -> BlobLocation | None:
        try:
            return self.accounts.of_url(url)
        except AudioUriError:  # a file of an earlier run, whose account is no longer ours
            return None

    def _ask_first(self, url: str, place: BlobLocation) -> None:
        account = self._known[place.account.name]
        if account.given_up:
            return
        try:
            first_answer(lambda: self._ask(url, place))
        except TimeoutError:
            account.failures = _FAILURES
        if not account.answered:
            account.failures = _FAILURES

    def _ask(self, url: str, place: BlobLocation) -> None:
        account = self._known[place.account.name]
        if account.given_up:
            return
        self._found[url] = None
        try:
            store = self._store(place)
            begins, size = account.asked(lambda: _first_block(store, place.path))

            def read_range(offset: int, length: int) -> bytes:
                return account.asked(
                    lambda: bytes(obstore.get_range(store, place.path, start=offset, length=length))
                )

            file = RangedFile(read_range, size, begins=begins)
            self._found[url] = read_duration_ms(file, suffix=format_of(url))
        except Exception as error:  # this file stays unknown, whatever it was; the others go on
            log.debug("durations: a header could not be read: %s", said(error))
            return
        with self._lock:
            self._requests += file.requests
            self._bytes += file.bytes_read

    def _store(self, place: BlobLocation) -> Any:
        key = (place.account.name, place.container)
        with self._lock:
            if key not in self._stores:
                self._stores[key] = place.account.container(place.container, timeout_seconds=_TIMEOUT_SECONDS)
            return self._stores[key]


def _first_block(store: Any, path: str) -> tuple[bytes, int]:
    """The beginning of a blob, and its size as the account says it now: a manifest's may be of another day."""
    answer = obstore.get(store, path, options={"range": (0, BLOCK)})
    return bytes(answer.bytes()), answer.meta["size"]


def _is_answer(error: Exception) -> bool:
    """Whether it is the file that can't be read; not where the account is busy, throttles, or is not reached."""
    if isinstance(error, InvalidPathError | ValueError):
        return True
    status = re.search(r"status code: (\d{3})", str(error))
    return status is not None and status.group(1) not in {"408", "429"} and status.group(1) < "500"
