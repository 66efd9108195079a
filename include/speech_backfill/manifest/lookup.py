"""Asks the storage accounts for the size and ETag of files whose manifest does not say; never opens a blob."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Any

import obstore
from obstore.exceptions import InvalidPathError, NotFoundError

from speech_backfill.accounts import BlobLocation, StorageAccounts
from speech_backfill.errors import AudioUriError
from speech_backfill.manifest.faults import explained, first_answer
from speech_backfill.manifest.lines import Line, ManifestLine, RefusedLine
from speech_backfill.manifest.neighbours import Neighbours
from speech_backfill.manifest.unusual import head_unusual
from speech_backfill.model import AudioFile

_WINDOW_LINES = 2048
"""Lines held at a time: that is all the memory this takes, and what keeps their order."""

_LISTING_PAYS_FROM = 2000
"""After so many look-ups in one container its listing is tried: a page of names costs as much as one look-up."""


def look_up(
    lines: Iterator[Line], *, accounts: StorageAccounts, max_file_bytes: int, concurrency: int = 32
) -> Iterator[Line]:
    """The same *lines* in the same order, every good one with an ETag and a size from 1 to *max_file_bytes*.

    Lines that bring both are not looked up. Files that are not there, empty or too large become refused lines.
    Raises SourceRefused, SourceUnreachable where the account as a whole does not let us look.
    """
    counter = _Lookup(accounts, concurrency)
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="look-up")
    try:
        while window := list(islice(lines, _WINDOW_LINES)):
            found = counter.found(window, pool)
            for line in window:
                match line:
                    case RefusedLine():
                        yield line
                    case ManifestLine():
                        yield _judged(line, found.get(line.number, line.file), max_file_bytes)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _judged(line: ManifestLine, file: AudioFile | RefusedLine, max_file_bytes: int) -> Line:
    if isinstance(file, RefusedLine):
        return file
    size = file.size_bytes
    if size == 0:
        return RefusedLine.of(line.number, file.url, "EmptyFile", "the file has 0 bytes")
    if size is not None and size > max_file_bytes:
        problem = f"the file has {size} bytes, {max_file_bytes} are allowed"
        return RefusedLine.of(line.number, file.url, "FileTooLarge", problem)
    return line if file is line.file else replace(line, file=file)


class _Lookup:
    """Look-ups of one stream, with what was learned about its containers."""

    def __init__(self, accounts: StorageAccounts, concurrency: int) -> None:
        self._accounts = accounts
        self._concurrency = concurrency
        self._stores: dict[tuple[str, str], Any] = {}
        self._answered: set[str] = set()
        self._looked_up: dict[tuple[str, str], int] = {}
        self._neighbours: dict[tuple[str, str], Neighbours] = {}

    def found(self, window: Sequence[Line], pool: ThreadPoolExecutor) -> dict[int, AudioFile | RefusedLine]:
        """By line number: the file as it is in storage, or why it can't be taken."""
        results: dict[int, AudioFile | RefusedLine] = {}
        open_questions: list[tuple[ManifestLine, BlobLocation]] = []
        for line in window:
            if isinstance(line, ManifestLine) and (line.file.etag is None or line.file.size_bytes is None):
                try:
                    open_questions.append((line, self._accounts.of_url(line.file.url)))
                except AudioUriError as error:  # lines that another caller made of other accounts
                    results[line.number] = RefusedLine.of(
                        line.number, line.file.url, error.code, error.problem
                    )
        rest = self._from_listings(open_questions, results)
        # The first question to an account goes alone: an account that is down is found out once, not 32 times.
        while rest and rest[0][1].account.name not in self._answered:
            line, place = rest.pop(0)
            results[line.number] = self._asked(line, place, alone=True)
            self._answered.add(place.account.name)
        for (line, _), result in zip(
            rest, pool.map(lambda one: self._asked(*one, alone=False), rest), strict=True
        ):
            results[line.number] = result
        return results

    def _from_listings(
        self,
        questions: list[tuple[ManifestLine, BlobLocation]],
        results: dict[int, AudioFile | RefusedLine],
    ) -> list[tuple[ManifestLine, BlobLocation]]:
        """Answer what the listings of much-asked containers can answer; the other questions are returned."""
        by_container: dict[tuple[str, str], list[tuple[ManifestLine, BlobLocation]]] = {}
        for question in questions:
            key = (question[1].account.name, question[1].container)
            by_container.setdefault(key, []).append(question)
        rest = []
        for key, asked in by_container.items():
            self._looked_up[key] = self._looked_up.get(key, 0) + len(asked)
            metas: dict[str, Any] = {}
            if self._looked_up[key] > _LISTING_PAYS_FROM:
                place = asked[0][1]
                if key not in self._neighbours:
                    self._neighbours[key] = Neighbours(self._store(place))
                metas = self._neighbours[key].find({one.path for _, one in asked})
            for line, place in asked:
                meta = metas.get(place.path)
                if meta is None:
                    rest.append((line, place))
                else:
                    results[line.number] = _with(line.file, meta)
        return rest

    def _asked(self, line: ManifestLine, place: BlobLocation, *, alone: bool) -> AudioFile | RefusedLine:
        url = line.file.url
        with explained(url, place.account):
            store = self._store(place)
            try:
                meta: Any = (
                    first_answer(lambda: obstore.head(store, place.path))
                    if alone
                    else obstore.head(store, place.path)
                )
            except (NotFoundError, FileNotFoundError):
                meta = None
            except (InvalidPathError, ValueError):
                meta = head_unusual(place)
        if meta is None:
            return RefusedLine.of(line.number, url, "FileNotFound", "there is no blob at this URL")
        return _with(line.file, meta)

    def _store(self, place: BlobLocation) -> Any:
        key = (place.account.name, place.container)
        if key not in self._stores:
            self._stores[key] = place.account.container(place.container)
        return self._stores[key]


def _with(file: AudioFile, meta: Any) -> AudioFile:
    return replace(
        file,
        etag=(meta.get("e_tag") or "").strip('"') or None,
        size_bytes=meta["size"],
        modified_at=meta["last_modified"].timestamp(),
    )
