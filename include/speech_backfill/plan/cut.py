"""Cutting: ordered files → chunks → shards. Pure and deterministic; the same files are cut the same way anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from speech_backfill.chunk_files import ChunkedFile
from speech_backfill.model import chunk_id


@dataclass(frozen=True, slots=True)
class CutFile:
    """A file to be cut, with the options it is to be transcribed with and where it may go."""

    options_id: str
    file: ChunkedFile
    residency: str = ""


@dataclass(frozen=True, slots=True)
class CutChunk:
    """A chunk that was cut."""

    chunk_id: str
    options_id: str
    files: tuple[ChunkedFile, ...]
    residency: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one transcription may hold. A file that exceeds a limit by itself gets a chunk of its own."""

    files: int
    size_bytes: float = float("inf")
    audio_ms: float = float("inf")
    ms_of: Callable[[ChunkedFile], int] = lambda file: file.duration_ms or 0
    """A file's duration. It must follow from the file alone, or the same files would be cut otherwise another time."""


def cut(files: Iterable[CutFile], limits: Limits, *, salt: str = "") -> Iterator[CutChunk]:
    """Cut *files*, which come sorted by options and residency, into chunks of one of each within *limits*.

    Cutting starts anew at each set of options and residency and fills chunks from the front, so files added at the end
    of a manifest leave all full chunks as they were. Holds one chunk in memory.
    """
    pending: list[ChunkedFile] = []
    kind = ("", "")
    size_bytes = audio_ms = 0
    for one in files:
        more_bytes, more_ms = one.file.size_bytes or 0, limits.ms_of(one.file)
        if pending and (
            (one.options_id, one.residency) != kind
            or len(pending) == limits.files
            or size_bytes + more_bytes > limits.size_bytes
            or audio_ms + more_ms > limits.audio_ms
        ):
            yield _chunk(*kind, pending, salt)
            pending, size_bytes, audio_ms = [], 0, 0
        kind = (one.options_id, one.residency)
        pending.append(one.file)
        size_bytes += more_bytes
        audio_ms += more_ms
    if pending:
        yield _chunk(*kind, pending, salt)


def _chunk(options_id: str, residency: str, files: list[ChunkedFile], salt: str) -> CutChunk:
    made = chunk_id((one.file_id for one in files), options_id=options_id, salt=salt, residency=residency)
    return CutChunk(made, options_id, tuple(files), residency)


def shards_of(audio_ms: Sequence[int], *, max_shards: int) -> list[int]:
    """Which shard each of the chunks with so much audio belongs to: neighbours together, shards of like duration.

    Every shard has a chunk. Without any duration known, shards have like numbers of chunks.
    """
    shards = min(len(audio_ms), max_shards)
    weights = audio_ms if sum(audio_ms) > 0 else [1] * len(audio_ms)
    total, done, shard = sum(weights), 0, 0
    placed: list[int] = []
    for number, weight in enumerate(weights):
        left = len(weights) - number
        # On to the next where the middle of this chunk lies beyond its share, but never past a shard that needs one.
        if number and shard < shards - 1:
            behind = (done + weight / 2) * shards > (shard + 1) * total
            if (behind and placed[-1] == shard) or left <= shards - 1 - shard:
                shard += 1
        placed.append(shard)
        done += weight
    return placed
