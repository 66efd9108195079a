"""A Speech resource: where it is and how it is entered. Values only; credentials never show in a repr."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from speech_backfill.errors import SettingsError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

API_VERSION = "2025-10-15"
"""The latest generally available version of the Speech to text REST API."""

ENTRA_SCOPE = "https://cognitiveservices.azure.com/.default"


@dataclass(frozen=True, slots=True)
class SpeechKey:
    """One of the resource's two keys."""

    key: str = field(repr=False)

    def __post_init__(self) -> None:
        if not self.key or not self.key.isascii() or not self.key.isprintable() or " " in self.key:
            raise SettingsError(
                "Speech key",
                "it is empty or holds characters that no key has (a space or a line break, perhaps)",
                "Copy key 1 or key 2 of the Speech resource again.",
            )


@dataclass(frozen=True, slots=True)
class EntraToken:
    """An Entra ID identity; the resource needs a custom subdomain, the identity a Speech role."""

    credential: TokenCredential = field(repr=False)
    scope: str = ENTRA_SCOPE


SpeechCredential = SpeechKey | EntraToken


@dataclass(frozen=True, slots=True)
class SpeechResource:
    """One Azure Speech resource in one region.

    *endpoint* is scheme, host and, behind a gateway, a path; a bare host gets https://, and the service's own path is
    cut off where it was pasted along.
    """

    name: str
    """The connection's name: how ledger, logs and events call it."""
    endpoint: str
    credential: SpeechCredential
    region: str = ""
    api_version: str = API_VERSION
    window: int = 4
    """How many unfinished transcriptions it may have: a region works them one at a time."""
    residency: str = ""
    """A tag such as `eu`: files that ask for it go to resources that have it, and nowhere else."""

    def __post_init__(self) -> None:
        text = self.endpoint.strip()
        parts = urlsplit(text if "://" in text else f"https://{text}")
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
            raise SettingsError(
                f"endpoint of Speech resource {self.name}",
                "it is no address such as https://westeurope.api.cognitive.microsoft.com",
                "Copy the endpoint of the Speech resource.",
            )
        if self.window < 1:
            raise SettingsError(
                f"window of Speech resource {self.name}", "it must be 1 or more", "Correct it."
            )
        if not self.api_version:
            raise SettingsError(
                f"api-version of Speech resource {self.name}", "it is empty", f"Use {API_VERSION}."
            )
        path = parts.path.partition("/speechtotext")[0].rstrip("/")
        object.__setattr__(self, "endpoint", f"{parts.scheme}://{parts.netloc.lower()}{path}")
