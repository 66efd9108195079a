"""From bytes to physical lines: decompressed, decoded, bounded. Never holds more than a block and one line."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from speech_backfill.errors import UnreadableManifest

LINE_LIMIT_BYTES = 1 << 20
"""A longer line is refused; it is skipped without being held."""

_BLOCK_BYTES = 1 << 18
_KEPT_OF_LONG_LINE = 4096

_ENCODING_MARKS = (  # the longer marks first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHER_FORMATS = (
    (b"PAR1", "a Parquet file"),
    (b"\x1f\x8b", "gzip (its name should end in .gz)"),
    (b"\x28\xb5\x2f\xfd", "zstd (its name should end in .zst)"),
    (b"PK\x03\x04", "a zip archive or an Excel workbook"),
    (b"%PDF", "a PDF"),
)


@dataclass(frozen=True, slots=True)
class BadLine:
    """A physical line that is no text: *text* is what can be shown of it."""

    text: str
    code: str
    problem: str


def decompressed(chunks: Iterator[bytes], codec: str, *, source: str) -> Iterator[bytes]:
    """What *chunks* hold, decompressed by *codec* (gzip or zstd) block by block. Raises UnreadableManifest."""
    stream = pa.CompressedInputStream(pa.PythonFile(_Readable(chunks), mode="r"), codec)
    while True:
        try:
            block = stream.read(_BLOCK_BYTES)
        except OSError as error:  # pyarrow's answer to damaged or truncated streams
            raise UnreadableManifest(source, codec, str(error)) from error
        if not block:
            return
        yield block


def physical_lines(chunks: Iterator[bytes], *, source: str, expected: str) -> Iterator[str | BadLine]:
    """The lines of *chunks*, each without its line end: one item for each physical line, in order.

    UTF-8 with or without a byte order mark; UTF-16 and UTF-32 with one. Raises UnreadableManifest
    where the whole can't be text.
    """
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= _BLOCK_BYTES // 4:
            break
    for mark, what in _OTHER_FORMATS:
        if head.startswith(mark):
            raise UnreadableManifest(source, expected, f"it is {what}")
    blocks = _rejoined(head, chunks)
    for mark, encoding in _ENCODING_MARKS:
        if head.startswith(mark):
            yield from _split(_transcoded(blocks, encoding, source), b"\n")
            return
    if head[:4096].count(b"\0") > len(head[:4096]) // 4:
        raise UnreadableManifest(
            source, expected, "it is binary, or UTF-16 without a byte order mark; save it as UTF-8"
        )
    if head.startswith(codecs.BOM_UTF8):
        head = head[len(codecs.BOM_UTF8) :]
        blocks = _rejoined(head, chunks)
    yield from _split(blocks, b"\r" if b"\r" in head and b"\n" not in head else b"\n")


def _rejoined(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest


def _transcoded(chunks: Iterator[bytes], encoding: str, source: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for chunk in chunks:
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise UnreadableManifest(source, encoding.upper(), str(error)[:200]) from error


def _split(chunks: Iterator[bytes], end: bytes) -> Iterator[str | BadLine]:
    rest = b""
    length = 0
    """Bytes of the line in hand; more than the limit means that only its beginning is held."""
    for chunk in chunks:
        pieces = chunk.split(end)
        if len(pieces) == 1:
            length += len(chunk)
            if length <= LINE_LIMIT_BYTES:
                rest += chunk
            else:
                rest = (rest + chunk[:_KEPT_OF_LONG_LINE])[:_KEPT_OF_LONG_LINE]
            continue
        if length + len(pieces[0]) > LINE_LIMIT_BYTES:
            yield _too_long((rest + pieces[0][:_KEPT_OF_LONG_LINE])[:_KEPT_OF_LONG_LINE])
        else:
            yield _decoded(rest + pieces[0])
        rest = pieces.pop()
        length = len(rest)
        whole = pieces[1:]
        if max(map(len, whole), default=0) <= LINE_LIMIT_BYTES:
            yield from _decoded_block(whole, end)
        else:
            for piece in whole:
                yield _too_long(piece) if len(piece) > LINE_LIMIT_BYTES else _decoded(piece)
        if length > LINE_LIMIT_BYTES:
            rest = rest[:_KEPT_OF_LONG_LINE]
    if length > LINE_LIMIT_BYTES:
        yield _too_long(rest)
    elif rest:
        yield _decoded(rest)


def _decoded_block(lines: list[bytes], end: bytes) -> Iterator[str | BadLine]:
    """One decoding for all *lines*: most manifests are good, and a call a line costs more than the line."""
    try:
        texts = end.join(lines).decode().split(end.decode()) if lines else []
    except UnicodeDecodeError:
        for line in lines:
            yield _decoded(line)
        return
    for text in texts:
        yield text.removesuffix("\r")


def _decoded(line: bytes) -> str | BadLine:
    try:
        return line.removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        return BadLine(
            line[:_KEPT_OF_LONG_LINE].decode(errors="replace"),
            "InvalidLine",
            f"the line is not UTF-8 (byte {error.start + 1}); save the manifest as UTF-8",
        )


def _too_long(start: bytes) -> BadLine:
    return BadLine(
        start[:_KEPT_OF_LONG_LINE].decode(errors="replace"),
        "InvalidLine",
        f"the line is longer than {LINE_LIMIT_BYTES} bytes",
    )


class _Readable(io.RawIOBase):
    """A file to read from, made of chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Up to *size* bytes; all that is left of the current chunk where *size* is negative."""
        while not self._rest:
            following = next(self._chunks, None)
            if following is None:
                return b""
            self._rest = following
        piece = self._rest if size < 0 else self._rest[:size]
        self._rest = self._rest[len(piece) :]
        return piece
