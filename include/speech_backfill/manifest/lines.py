"""What a source is read into: good lines and refused lines. Values only; nothing here reads anything.

Whatever leaves this package for an outcome, a message or a table goes through `shown` or `without_secrets`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from speech_backfill.model import AudioFile, TranscriptionOptions

TEXT_LIMIT = 300
"""Characters of a refused line that are kept."""

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
_SECRET = re.compile(r"(?i)(sig(?:=|%3d)|(?:AccountKey|SharedAccessSignature)=)[^&\s\"'<>;]*")
_PASSWORD = re.compile(r"(?i)(://[^/?#\s@:]*):[^/?#\s@]*@")


@dataclass(frozen=True, slots=True)
class ManifestLine:
    """One good line. *number* is its line or row in the manifest (from 1), or its place in a listing."""

    number: int
    file: AudioFile
    options: TranscriptionOptions


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that can't become an audio file; it ends as failed, the other lines go on.

    *text* is what stood there: without its query, without control characters, 300 characters at the most.
    """

    number: int
    text: str
    code: str
    problem: str

    @classmethod
    def of(cls, number: int, text: str, code: str, problem: str) -> RefusedLine:
        """Refuse the line *number*; *text* and *problem* are cleaned here, so callers may pass what they met."""
        return cls(number, shown(text), code, _UNPRINTABLE.sub("", without_secrets(problem))[:1000])


Line = ManifestLine | RefusedLine


def without_secrets(text: str) -> str:
    """*text* with signatures, account keys and passwords of URIs masked, wherever they stand."""
    masked = _SECRET.sub(r"\1…", text)
    return _PASSWORD.sub(r"\1@", masked) if "@" in masked else masked


def shown(text: str) -> str:
    """*text* fit for people: nothing after the first question mark, no secrets, no control characters, short."""
    bare = _UNPRINTABLE.sub("", without_secrets(text[: 8 * TEXT_LIMIT].split("?", 1)[0])).strip()
    return bare if len(bare) <= TEXT_LIMIT else bare[: TEXT_LIMIT - 1] + "…"
