"""A remote file as a read-only file object that fetches what is read, block by block, and stops at a bound."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

BLOCK = 16 * 1024
"""What is fetched at least: more than most headers take, and small beside a recording."""

MOST_REQUESTS = 8
MOST_BYTES = 256 * 1024

ReadRange = Callable[[int, int], bytes]
"""(offset, length) → that part of the file, which lies within its size."""


class BoundReached(Exception):
    """Whoever reads wants more requests or bytes than this file is worth."""


class CutShort(Exception):
    """The file holds less than its size says: it changed while it was read."""


class RangedFile:
    """A file of *size* bytes behind *read_range*; *begins* is its first block (or all of it), fetched already.

    Only `read`, `seek` and `tell`, for parsers that want no more. Blocks are kept, so going back costs nothing, and
    neighbours are fetched together. Raises BoundReached, CutShort, and what *read_range* raises.
    """

    def __init__(
        self,
        read_range: ReadRange,
        size: int,
        *,
        begins: bytes = b"",
        most_requests: int = MOST_REQUESTS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.size = size
        self.requests = 1 if begins else 0
        self.bytes_read = len(begins)
        self._read_range = read_range
        self._most_requests = most_requests
        self._most_bytes = most_bytes
        self._blocks = {0: begins} if begins else {}
        self._at = 0
        if begins and len(begins) != min(BLOCK, size):
            raise CutShort

    def read(self, length: int = -1) -> bytes:
        """At most *length* bytes from here on; fewer only at the end, all that is left where it is negative."""
        begin = min(self._at, self.size)
        end = self.size if length < 0 else min(self.size, begin + length)
        # Before anything is fetched or joined: a length in a header may be any number.
        if end - begin > self._most_bytes:
            raise BoundReached
        if begin == end:
            return b""
        first, last = begin // BLOCK, (end - 1) // BLOCK
        self._fetch([block for block in range(first, last + 1) if block not in self._blocks])
        joined = b"".join(self._blocks[block] for block in range(first, last + 1))
        self._at = end
        return joined[begin - first * BLOCK : end - first * BLOCK]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to *offset*; beyond the end is allowed, before the beginning is an OSError, as for any file."""
        at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        if at < 0:
            raise OSError(errno.EINVAL, "a file begins at 0")
        self._at = at
        return at

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def _fetch(self, missing: list[int]) -> None:
        while missing:
            run = 1
            while run < len(missing) and missing[run] == missing[0] + run:
                run += 1
            begin = missing[0] * BLOCK
            length = min(self.size, begin + run * BLOCK) - begin
            if self.requests >= self._most_requests or self.bytes_read + length > self._most_bytes:
                raise BoundReached
            self.requests += 1
            data = self._read_range(begin, length)
            self.bytes_read += len(data)
            if len(data) != length:
                raise CutShort
            for number in range(run):
                self._blocks[missing[number]] = data[number * BLOCK : (number + 1) * BLOCK]
            missing = missing[run:]
