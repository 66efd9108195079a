"""Canonical URLs of audio files: exactly what `StorageAccounts.locate` says, remembered by folder because lists repeat them."""

from __future__ import annotations

import re

from speech_backfill.accounts import StorageAccounts
from speech_backfill.errors import AudioUriError
from speech_backfill.manifest.lines import shown

_PLAIN_NAME = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@]+").fullmatch
"""Names that percent-decoding and -encoding leave as they are, in every scheme."""

_PLAIN_QUERY = re.compile(r"[!-~]*").fullmatch
"""Queries that can't change what stands before them: no white space, no control characters."""

_REMEMBERED_FOLDERS = 4096


class CanonicalUrls:
    """URIs → canonical URLs of blobs within *accounts*."""

    def __init__(self, accounts: StorageAccounts) -> None:
        self._accounts = accounts
        self._folders: dict[str, str] = {}

    def of(self, uri: str) -> str:
        """The canonical URL of the blob that *uri* names; raises AudioUriError for everything else."""
        text = uri.strip()
        bare, asked, query = text.partition("?")
        if asked and not _PLAIN_QUERY(query):
            return self._located(text)
        folder, _, name = bare.rpartition("/")
        known = self._folders.get(folder)
        plain = _PLAIN_NAME(name) is not None and name not in {".", ".."}
        if known is not None and plain:
            return known + name
        url = self._located(text)
        # A hash in the folder ends the URI before its last step, in some schemes.
        if plain and "#" not in folder and url.endswith("/" + name):
            if len(self._folders) >= _REMEMBERED_FOLDERS:
                self._folders.clear()
            self._folders[folder] = url[: -len(name)]
        return url

    def _located(self, text: str) -> str:
        try:
            place = self._accounts.locate(text)
            url = place.url
        except AudioUriError:
            raise
        except ValueError:  # brackets that are no IPv6 host, a lone surrogate, …
            raise AudioUriError("InvalidUri", f"{shown(text)!r} is no URI") from None
        if not place.path or place.path.endswith("/"):
            raise AudioUriError("InvalidUri", f"{shown(text)!r} names a container or a folder, not a blob")
        return url
