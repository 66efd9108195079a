"""Getting audio: fetched by URL into a temporary file, decoded in stretches; never a whole recording in memory.

FFmpeg is given the file's bytes, a list of audio formats and no protocol, so that a playlist posing as audio
cannot make it open anything else.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import httpx

from speech_emulator.config import Settings
from speech_emulator.recognisers.model import FileFailedError, Request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RATE = 16_000
_FORMATS = "wav,w64,mp3,ogg,flac,asf,aac,amr,amrnb,amrwb,matroska,webm,caf,aiff,au"
_MP4_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2"
_UNREADABLE = "The audio format is invalid or cannot be detected."
_UNREACHABLE = "The file could not be downloaded from the given URI."
_REFUSED = "Authentication failed for recordings URI."


@dataclass(frozen=True, slots=True)
class FetchedAudio:
    """The bytes of one recording in a temporary file."""

    file: IO[bytes]
    size: int


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What decoding says about a recording."""

    channels: int
    duration_ms: int


class AudioFetcher:
    """Downloads recordings at processing time, so that a dead URL or an expired SAS bites then."""

    def __init__(self, settings: Settings, client: httpx.AsyncClient) -> None:
        self._settings = settings
        self._client = client

    @contextlib.asynccontextmanager
    async def fetched(self, url: str) -> AsyncIterator[FetchedAudio]:
        """The recording in a temporary file that is gone afterwards."""
        with tempfile.TemporaryFile(prefix="speech-emulator-") as file:
            size = await self._download(url, file)
            if size == 0:
                raise FileFailedError(self._settings.guesses.empty_file_kind, "The audio file is empty.")
            file.seek(0)
            yield FetchedAudio(file, size)

    async def facts(self, audio: FetchedAudio) -> AudioFacts:
        """Channels and length, by decoding everything once."""
        return await asyncio.to_thread(measure, audio.file, accept_m4a=self._settings.guesses.accept_m4a)

    async def _download(self, url: str, file: IO[bytes]) -> int:
        guesses, limit, size = self._settings.guesses, self._settings.limits.file_bytes, 0
        timeout = self._settings.recogniser.fetch_timeout_seconds
        try:
            async with self._client.stream("GET", url, timeout=timeout, follow_redirects=True) as answer:
                if answer.status_code in {401, 403}:
                    raise FileFailedError(guesses.refused_source_kind, _REFUSED)
                if answer.status_code != 200:
                    raise FileFailedError("InvalidUri", _UNREACHABLE)
                async for piece in answer.aiter_bytes(1 << 16):
                    size += len(piece)
                    if size > limit:
                        raise FileFailedError(
                            guesses.too_large_kind, "The audio file exceeds the size limit."
                        )
                    file.write(piece)
        except (httpx.HTTPError, httpx.InvalidURL):
            raise FileFailedError("InvalidUri", _UNREACHABLE) from None
        return size


def check_channels(facts: AudioFacts, request: Request, settings: Settings) -> tuple[int, ...]:
    """The channels to recognise, or the refusal of what the service cannot do with them."""
    guesses = settings.guesses
    wanted = tuple(channel for channel in request.channels if channel < facts.channels)
    if request.diarization and len(wanted) > 1:
        kind = guesses.stereo_diarization_kind
        raise FileFailedError(kind, "Stereo audio is not supported when using diarization.")
    if request.diarization and facts.duration_ms > settings.limits.diarization_minutes * 60_000:
        message = "The audio length exceeds the limit for diarization. Please shorten the audio."
        raise FileFailedError("LimitExceeded", message)
    if not wanted:
        raise FileFailedError(guesses.missing_channel_kind, "The audio has none of the requested channels.")
    return wanted


def decoded(file: IO[bytes], *, accept_m4a: bool) -> Iterator["NDArray[np.float32]"]:
    """The recording at 16 kHz, as arrays of shape (channels, samples) of a fraction of a second each."""
    import av
    import numpy as np

    file.seek(0)
    formats = f"{_FORMATS},{_MP4_FORMATS}" if accept_m4a else _FORMATS
    options = {"format_whitelist": formats, "protocol_whitelist": "none"}
    try:
        with av.open(file, mode="r", options=options, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise FileFailedError("InvalidData", _UNREADABLE)
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=RATE)
            heard = False
            for frame in container.decode(stream):
                for piece in resampler.resample(frame):
                    heard = True
                    yield np.asarray(piece.to_ndarray(), dtype=np.float32)
            for piece in resampler.resample(None):
                yield np.asarray(piece.to_ndarray(), dtype=np.float32)
            if not heard:
                raise FileFailedError("InvalidData", _UNREADABLE)
    except (av.FFmpegError, ValueError):
        raise FileFailedError("InvalidData", _UNREADABLE) from None


def measure(file: IO[bytes], *, accept_m4a: bool) -> AudioFacts:
    """Channels and length of a recording."""
    channels = samples = 0
    for piece in decoded(file, accept_m4a=accept_m4a):
        channels = piece.shape[0]
        samples += piece.shape[1]
    return AudioFacts(channels, samples * 1000 // RATE)


def stretches(
    file: IO[bytes], *, seconds: float, accept_m4a: bool
) -> Iterator["tuple[int, NDArray[np.float32]]"]:
    """The recording in stretches of at most `seconds`, each with its first sample's number, cut where it is quiet."""
    import numpy as np

    limit, start = int(seconds * RATE), 0
    waiting: list[Any] = []
    held = 0
    for piece in decoded(file, accept_m4a=accept_m4a):
        waiting.append(piece)
        held += piece.shape[1]
        if held >= limit:
            audio = np.concatenate(waiting, axis=1)
            cut = _quietest(audio, max(1, held - 15 * RATE if held > 30 * RATE else held // 2))
            yield start, audio[:, :cut]
            waiting, start = [audio[:, cut:].copy()], start + cut
            held -= cut
    if held:
        yield start, np.concatenate(waiting, axis=1)


def _quietest(audio: "NDArray[np.float32]", earliest: int) -> int:
    """The middle of the quietest fifth of a second after `earliest`."""
    import numpy as np

    step = RATE // 5
    energy = [
        float(np.square(audio[:, at : at + step]).mean())
        for at in range(earliest, audio.shape[1] - step, step // 2)
    ]
    return earliest + int(np.argmin(energy)) * (step // 2) + step // 2 if energy else audio.shape[1]
