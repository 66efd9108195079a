"""The service's JSON of one transcription, kept as compressed lines; the signatures in its URLs are not."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import zstandard

from speech_backfill.store import Store

_SOURCE = re.compile(rb'("source"\s*:\s*"(?:[^"\\?]|\\(?!u003[fF]).)*)(?:\?|\\u003[fF])(?:[^"\\]|\\.)*"')
"""A `source` up to its query, whichever way the question mark is written. Inside a text the quotes would be escaped."""

_LEVEL = 1
"""Level 3 takes half as much CPU again for 3 % less."""


def without_signatures(content: bytes) -> bytes:
    """The result file *content* with the query, and so any SAS, taken out of its source."""
    start = content.find(b'"source"')
    if start < 0:
        return content
    found = _SOURCE.match(content, start)
    end = start if found is None else found.end()
    # Looking for another source byte by byte takes longer than all of this. No signature can do without an equals sign,
    # and those are rare; behind a backslash it may be spelled in another way.
    if content.find(b"=", end) >= 0 or content.find(b"\\", end) >= 0:
        return _SOURCE.sub(rb'\1"', content)
    return content if found is None else b"".join((content[: found.end(1)], b'"', content[end:]))


@contextmanager
def raw_results(local: Path, path: str | None, store: Store) -> Iterator[IO[bytes] | None]:
    """A compressed file for the raw results, uploaded to *path* at the end; None where they are not kept."""
    if path is None:
        yield None
        return
    with local.open("wb") as target, zstandard.ZstdCompressor(level=_LEVEL).stream_writer(target) as writer:
        yield writer
    store.upload(local, path)


def kept_results(local: Path) -> Iterator[tuple[str, bytes]]:
    """(file id, result file) of each line of the raw results in *local*; holds one line in memory."""
    with local.open("rb") as packed, zstandard.ZstdDecompressor().stream_reader(packed) as reader:
        for line in io.BufferedReader(reader):
            head, _, rest = line.partition(b'","result":')
            yield head.removeprefix(b'{"file_id":"').decode(), rest.rstrip(b"\n")[:-1]


def write_line(raw: IO[bytes], file_id: str, content: bytes) -> None:
    """Append one line to *raw*: the result file *content* under its audio file's id."""
    # A JSON string holds no bare line break, so those between tokens may become spaces.
    plain = (
        without_signatures(content.removeprefix(b"\xef\xbb\xbf")).replace(b"\r", b" ").replace(b"\n", b" ")
    )
    raw.write(b'{"file_id":"' + file_id.encode() + b'","result":')
    raw.write(plain)
    raw.write(b"}\n")
