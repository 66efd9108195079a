"""The files of a chunk, as they stand in the store: content-addressed, so writing one twice is the same as once."""

from __future__ import annotations

import msgspec
import pyarrow as pa
import zstandard

from speech_backfill import paths
from speech_backfill.errors import StoreError
from speech_backfill.store import Store
from speech_backfill.tables.columns import texts


class ChunkedFile(msgspec.Struct, frozen=True, array_like=True):
    """One audio file of a chunk: what submitting and merging need of it."""

    file_id: str
    url: str
    etag: str | None
    size_bytes: int | None
    duration_ms: int | None


def write_chunk(store: Store, chunk_id: str, files: list[ChunkedFile]) -> None:
    """Put the chunk's files under its id; the content follows from the id, so whoever was first was right."""
    data = zstandard.ZstdCompressor(level=3).compress(msgspec.json.encode(files))
    store.create(paths.chunk_file(chunk_id), data)


def read_chunk(store: Store, chunk_id: str) -> list[ChunkedFile]:
    """The chunk's files in order. Raises StoreError where they are gone or spoilt."""
    path = paths.chunk_file(chunk_id)
    try:
        packed = store.get(path)
    except FileNotFoundError as error:
        raise StoreError("read", path, "it is not there, although the ledger knows the chunk") from error
    try:
        text = zstandard.ZstdDecompressor().decompress(packed)
        return msgspec.json.decode(text, type=list[ChunkedFile])
    except (zstandard.ZstdError, msgspec.MsgspecError) as error:
        raise StoreError("read", path, f"its content is spoilt ({error})") from error


def file_ids(store: Store, chunk_id: str) -> pa.Table:
    """The ids of a chunk's files as a table with the column file_id, to join with. Raises StoreError as `read_chunk` does."""
    return pa.table({"file_id": texts([one.file_id for one in read_chunk(store, chunk_id)])})
