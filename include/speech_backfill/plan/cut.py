"""Cutting: ordered files → chunks → shards. Pure and deterministic; the same files are cut the same way anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from speech_backfill.chunk_files import ChunkedFile
from speech_backfill.model import chunk_id


@dataclass(frozen=True, slots=True)
class CutFile:
    """A file to be cut, with the options it is to be transcribed with."""

    options_id: str
    file: ChunkedFile


@dataclass(frozen=True, slots=True)
class CutChunk:
    """A chunk that was cut."""

    chunk_id: str
    options_id: str
    files: tuple[ChunkedFile, ...]


def cut(files: Iterable[CutFile], *, files_per_chunk: int, salt: str = "") -> Iterator[CutChunk]:
    """Cut *files*, which come sorted by options, into chunks of one set of options and at most *files_per_chunk* files.

    Cutting starts anew at each set of options and fills chunks from the front, so files added at the end of a
    manifest leave all full chunks as they were. Holds one chunk in memory.
    """
    pending: list[ChunkedFile] = []
    options_id = ""
    for one in files:
        if pending and (one.options_id != options_id or len(pending) == files_per_chunk):
            yield _chunk(options_id, pending, salt)
            pending = []
        options_id = one.options_id
        pending.append(one.file)
    if pending:
        yield _chunk(options_id, pending, salt)


def _chunk(options_id: str, files: list[ChunkedFile], salt: str) -> CutChunk:
    return CutChunk(
        chunk_id((one.file_id for one in files), options_id=options_id, salt=salt), options_id, tuple(files)
    )


def shard_of(chunk: int, *, chunks: int, max_shards: int) -> int:
    """Which shard the *chunk*-th of *chunks* belongs to: neighbours together, sizes that differ by one at the most."""
    shards = min(chunks, max_shards)
    return chunk * shards // chunks


def sizes(chunks: int, *, max_shards: int) -> Sequence[int]:
    """How many chunks each shard gets."""
    counts = [0] * min(chunks, max_shards)
    for chunk in range(chunks):
        counts[shard_of(chunk, chunks=chunks, max_shards=max_shards)] += 1
    return counts
