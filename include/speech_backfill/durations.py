"""How long an audio file is, guessed from its size where nobody says. Reads no audio.

The guesses are on the long side: a budget then stops too early rather than too late.
"""

from __future__ import annotations

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

_OTHER_BYTES_PER_SECOND = 8_000
"""8 kHz A-law in a WAV file: the least that a WAV of speech takes."""


def audio_ms(file: ChunkedFile, settings: Settings) -> int:
    """The file's duration in milliseconds, or the guess."""
    if file.duration_ms:
        return file.duration_ms
    rate = settings.assumed_bytes_per_second
    if not rate:
        suffix = file.url.rpartition(".")[2].lower()
        rate = _BYTES_PER_SECOND.get(suffix, _OTHER_BYTES_PER_SECOND)
    return int((file.size_bytes or 0) / rate * 1000)
