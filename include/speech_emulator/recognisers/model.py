"""What every recogniser returns, and how it fails; nothing here knows the shape of result files."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec


class Word(msgspec.Struct, frozen=True, array_like=True):
    """One word as displayed, with its place in the audio and a confidence from 0 to 1."""

    text: str
    start_ms: int
    end_ms: int
    confidence: float


class Phrase(msgspec.Struct, frozen=True, array_like=True):
    """A stretch of speech on one channel."""

    channel: int
    start_ms: int
    end_ms: int
    confidence: float
    text: str
    words: tuple[Word, ...]


class Recognised(msgspec.Struct, frozen=True, array_like=True):
    """What was heard in one audio file."""

    duration_ms: int
    channels: tuple[int, ...]
    phrases: tuple[Phrase, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """What a recogniser needs to know of a transcription."""

    channels: Sequence[int]
    diarization: bool
    locale: str


class FileFailedError(Exception):
    """One audio file cannot be transcribed, for a reason that belongs into the report."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


class Recogniser(Protocol):
    """Turns the audio behind a URL into phrases."""

    @property
    def workers(self) -> int:
        """How many files it can take at the same time."""
        ...

    @property
    def keeps_results(self) -> bool:
        """Whether its answer must be stored; otherwise it is derived from the URL again whenever asked for."""
        ...

    async def recognise(self, url: str, request: Request) -> Recognised:
        """The phrases of one file, or FileFailedError."""
        ...

    def again(self, url: str, request: Request) -> Recognised:
        """The same answer once more, for a recogniser that does not have its results stored."""
        ...

    async def aclose(self) -> None:
        """Let go of threads and connections."""
        ...
