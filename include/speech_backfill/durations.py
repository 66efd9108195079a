"""How long an audio file is where nobody has said it: the rate of its format times its size. Reads no audio.

What budgets reserve must be too much rather than too little. A format that was sampled when the plan was made has a rate
of its own, pushed to the safe side (see plan/estimate.py); every other has a guess on the long side. Neither is a bound: a
chunk full of the few files that are unlike nineteen of twenty of their format may hold more audio than it reserves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from speech_backfill.chunk_files import ChunkedFile
from speech_backfill.settings import Settings

_BYTES_PER_SECOND = {
    "amr": 1_500,
    "speex": 2_000,
    "spx": 2_000,
    "opus": 3_000,
    "ogg": 3_000,
    "webm": 3_000,
    "mp3": 4_000,
    "m4a": 4_000,
    "mp4": 4_000,
    "aac": 4_000,
    "wma": 4_000,
    "flac": 8_000,
    "alaw": 8_000,
    "mulaw": 8_000,
}
"""Low rates at which each format is used for speech; ours, from the codecs' usual settings for telephony and dictation."""

GUESSED_FORMATS = tuple(_BYTES_PER_SECOND)
"""Formats with a guess of their own."""

_OTHER_BYTES_PER_SECOND = 8_000
"""8 kHz A-law in a WAV file. Less is rare: GSM and ADPCM in WAV files take a fifth and a half of it, so headers are better read."""

FORMAT_PATTERN = r"\.([A-Za-z0-9]{1,5})$"
"""Finds the format in a URL: RE2's syntax and Python's."""

_FORMAT = re.compile(FORMAT_PATTERN.replace("$", r"\Z"))

NO_RATES: Mapping[str, float] = MappingProxyType({})
"""Nothing was sampled."""


def format_of(url: str) -> str:
    """The suffix of *url* in lower case; empty where it has none that looks like one."""
    found = _FORMAT.search(url)
    return found.group(1).lower() if found else ""


def guessed_seconds_per_byte(format_: str, settings: Settings) -> float:
    """The rate of files of which nothing was read, on the long side."""
    rate = settings.assumed_bytes_per_second or _BYTES_PER_SECOND.get(format_, _OTHER_BYTES_PER_SECOND)
    return 1 / rate


def audio_ms(
    file: ChunkedFile, settings: Settings, *, seconds_per_byte: Mapping[str, float] = NO_RATES
) -> int:
    """The file's duration in milliseconds where it is known, else what to reserve for it: by *seconds_per_byte*, or the guess."""
    if file.duration_ms:
        return file.duration_ms
    format_ = format_of(file.url)
    rate = seconds_per_byte.get(format_) or guessed_seconds_per_byte(format_, settings)
    return int((file.size_bytes or 0) * rate * 1000)
