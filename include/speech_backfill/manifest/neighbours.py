"""Finds many blobs of a container by listing the folder they share; a help only, whoever is not found is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from posixpath import commonprefix
from typing import Any

import obstore

_PAGE = 1000
_KEPT_AHEAD = 20_000
_NAMES_FOR_A_HIT = 8
"""Listing so many names for a blob that is wanted still costs less than asking for the blob."""


class Neighbours:
    """One listing of one container, which goes on where the last window of a manifest ended.

    Manifests are mostly written in the order of the names, and accounts list in it; where that is not so, or where
    few of the names listed are wanted, the listing is given up. Holds the names of 20 pages at the most.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self._folder: str | None = None
        self._pages: Iterator[Any] = iter(())
        self._ahead: dict[str, Any] = {}
        self._last = ""
        self._listed = 0
        self._hits = 0
        self.given_up = False

    def find(self, paths: set[str]) -> dict[str, Any]:
        """What the listing says of *paths*, for those it shows within reason."""
        if self.given_up or not paths:
            return {}
        folder = _shared_folder(paths)
        if self._folder is None or not f"{folder}/".startswith(f"{self._folder}/"):
            self._folder, self._last, self._ahead = folder, "", {}
            self._pages = iter(obstore.list(self._store, prefix=folder or None, chunk_size=_PAGE))
        found = {path: self._ahead.pop(path) for path in paths & self._ahead.keys()}
        missing = paths - found.keys()
        allowance = _NAMES_FOR_A_HIT * len(paths)
        while missing and allowance > 0 and max(missing) > self._last:
            try:
                page = next(self._pages, None)
            except (
                Exception
            ):  # a SAS without list, a name that the client can't hold: asking one by one still works
                self.given_up = True
                break
            if page is None:
                break
            allowance -= len(page)
            self._listed += len(page)
            for meta in page:
                path = meta["path"]
                if path in missing:
                    found[path] = meta
                    missing.remove(path)
                else:
                    self._ahead[path] = meta
            self._last = page[-1]["path"]
        while len(self._ahead) > _KEPT_AHEAD:
            del self._ahead[next(iter(self._ahead))]
        self._hits += len(found)
        self.given_up = self.given_up or self._listed > _NAMES_FOR_A_HIT * (self._hits + _PAGE)
        return found


def _shared_folder(paths: set[str]) -> str:
    """The folder below which all *paths* lie."""
    return commonprefix([min(paths), max(paths)]).rpartition("/")[0]
