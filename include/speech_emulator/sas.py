"""Signed, expiring query strings for result files; the signing key never leaves the process or its data folder."""

import base64
import hashlib
import hmac
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

from speech_emulator.clock import stamp

VERSION = "2024-11-04"


class SasSigner:
    """Mints and checks the query that opens one path until a moment."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def mint(self, path: str, expires_at: float) -> str:
        """A query string that opens `path` until `expires_at`."""
        expiry = stamp(math.ceil(expires_at))
        return urlencode(
            {"sv": VERSION, "se": expiry, "sr": "b", "sp": "rl", "sig": self._signature(path, expiry)}
        )

    def opens(self, path: str, query: Mapping[str, str], now: float) -> bool:
        """Whether this query was minted for this path and has not expired."""
        expiry, signature = query.get("se", ""), query.get("sig", "")
        if not hmac.compare_digest(signature.encode(), self._signature(path, expiry).encode()):
            return False
        return now < datetime.strptime(expiry, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()

    def _signature(self, path: str, expiry: str) -> str:
        digest = hmac.new(self._key, f"{path}\n{expiry}".encode(), hashlib.sha256).digest()
        return base64.b64encode(digest).decode()
