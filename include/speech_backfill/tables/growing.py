"""Columns that grow by lists of Python values, packed at once, until a row group is full; it knows no table.

Comprehensions, `struct.pack` and `numpy.fromiter` over a built-in are measured to be the fastest ways from attributes to
bytes: `map(attrgetter(…))` takes twice as long, `array.array.extend` five times.
"""

from __future__ import annotations

import mmap as mmap_module
from collections.abc import Sequence
from contextlib import suppress
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from struct import error as struct_error
from struct import pack
from typing import Final, Self, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from speech_backfill.tables.columns import Floats, coded_texts, integers, text_column

_NULL: Final = -1
"""Stands for an absent value among lengths, codes and counts, which are never negative."""

_HUGE_PAGES: Final[int | None] = getattr(mmap_module, "MADV_HUGEPAGE", None)
"""Linux only."""

_FIRST_BYTES: Final = 4 << 20
"""What a column has room for at first, and twice as much whenever it is full; room that is not used takes no memory."""


class GrowingBytes:
    """Bytes that grow at their end, in pages of their own.

    The system gets them back when the last view is gone. Columns on the heap are measured to leave holes among those of the other
    tables, whose row groups end at other times, and more of them with every row group of a merge.
    """

    def __init__(self, *, large: bool = False) -> None:
        """*large*: they will be several MB, which the system may give in pages of two: a twentieth of a merge's CPU less."""
        self._pages: mmap | None = None
        self._size = 0
        self._large = large

    def __len__(self) -> int:
        return self._size

    def __iadd__(self, more: bytes) -> Self:
        if more:
            end = self._size + len(more)
            pages = self._with_room_for(end)
            pages[self._size : end] = more
            self._size = end
        return self

    def view(self) -> memoryview:
        """All bytes, without a copy."""
        return memoryview(b"") if self._pages is None else memoryview(self._pages)[: self._size]

    def _with_room_for(self, size_bytes: int) -> mmap:
        room = _FIRST_BYTES if self._pages is None else len(self._pages)
        if self._pages is not None and size_bytes <= room:
            return self._pages
        while room < size_bytes:
            room *= 2
        pages = mmap(-1, room, flags=MAP_PRIVATE | MAP_ANONYMOUS)
        if self._large and _HUGE_PAGES is not None:
            with suppress(OSError):  # a kernel without them
                pages.madvise(_HUGE_PAGES)
        pages[: self._size] = self.view()
        self._pages = pages
        return pages


class Texts:
    """A string column."""

    def __init__(self) -> None:
        self._bytes, self._lengths = GrowingBytes(large=True), GrowingBytes()

    @property
    def size_bytes(self) -> int:
        """The memory that the column takes."""
        return len(self._bytes) + len(self._lengths)

    def add(self, values: Sequence[str | None]) -> None:
        """Append *values*."""
        there = cast("Sequence[str]", values)
        try:
            joined = "".join(there)
        except TypeError:
            # A None was among them, which is found out here for nothing.
            encoded = [None if value is None else value.encode() for value in values]
            self._bytes += b"".join(value for value in encoded if value)
            self._lengths += packed_counts([None if value is None else len(value) for value in encoded])
            return
        packed = joined.encode()
        as_they_are = len(packed) == len(joined)
        lengths = map(len, there if as_they_are else map(str.encode, there))
        self._lengths += pack(f"{len(there)}i", *lengths)
        self._bytes += packed

    def array(self) -> pa.Array:
        """All values; nothing can be added after."""
        lengths = counts(self._lengths)
        return text_column(np.maximum(lengths, 0), self._bytes.view(), lengths != _NULL)


class RepeatingTexts:
    """A string column of few different values, as a dictionary column."""

    def __init__(self) -> None:
        self._codes = GrowingBytes()
        self._known: dict[str, int] = {}

    @property
    def size_bytes(self) -> int:
        """The memory that the column takes, more or less."""
        return len(self._codes) + sum(map(len, self._known))

    def add(self, values: Sequence[str | None]) -> None:
        """Append *values*."""
        if not values:
            return
        first, known = values[0], self._known
        if values.count(first) == len(values):
            code = _NULL if first is None else known.setdefault(first, len(known))
            self._codes += pack("i", code) * len(values)
        else:
            self._codes += pack(
                f"{len(values)}i",
                *[_NULL if one is None else known.setdefault(one, len(known)) for one in values],
            )

    def array(self) -> pa.Array:
        """All values."""
        codes = counts(self._codes)
        return coded_texts(np.maximum(codes, 0), list(self._known), codes != _NULL)


def packed_doubles(values: Sequence[float]) -> bytes:
    """*values* for a column of floating-point numbers that grows as bytes."""
    return pack(f"{len(values)}d", *values)


def doubles(packed: GrowingBytes) -> Floats:
    """The numbers of such a column."""
    return np.frombuffer(packed.view(), np.float64)


def packed_counts(values: Sequence[int | None]) -> bytes:
    """*values*, from 0 to 2**31 - 1 or absent, for a column of counts that grows as bytes."""
    missing = values.count(None)
    if missing == len(values):
        return pack("i", _NULL) * missing
    try:
        return pack(f"{len(values)}i", *values)
    except struct_error:
        return pack(f"{len(values)}i", *[_NULL if one is None else one for one in values])


def counts(packed: GrowingBytes) -> NDArray[np.int32]:
    """The numbers of such a column, -1 where they are absent."""
    return np.frombuffer(packed.view(), np.int32)


def count_column(packed: GrowingBytes) -> pa.Array:
    """Such a column as Arrow has it."""
    values = counts(packed)
    return integers(np.maximum(values, 0), pa.int32(), values != _NULL)
