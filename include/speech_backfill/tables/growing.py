"""Columns that grow by lists of Python values, packed at once, until a row group is full; it knows no table.

Comprehensions, `struct.pack` and `numpy.fromiter` over a built-in are measured to be the fastest ways from attributes to
bytes: `map(attrgetter(…))` takes twice as long, `array.array.extend` five times.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import error as struct_error
from struct import pack
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from speech_backfill.tables.columns import Floats, coded_texts, integers, texts

_NULL: Final = -1
"""Stands for an absent value among lengths, codes and counts, which are never negative."""


class Texts:
    """A string column."""

    def __init__(self) -> None:
        self._chunks: list[pa.Array] = []
        self.size_bytes = 0
        """The memory that the column takes."""

    def add(self, values: Sequence[str | None]) -> None:
        """Append *values*."""
        chunk = texts(values)
        self._chunks.append(chunk)
        self.size_bytes += sum(one.size for one in chunk.buffers() if one is not None)

    def array(self) -> pa.ChunkedArray:
        """All values."""
        return pa.chunked_array(self._chunks, pa.string())


class RepeatingTexts:
    """A string column of few different values, as a dictionary column."""

    def __init__(self) -> None:
        self._codes = bytearray()
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
        codes = np.frombuffer(self._codes, np.int32)
        return coded_texts(np.maximum(codes, 0), list(self._known), codes != _NULL)


def packed_doubles(values: Sequence[float]) -> bytes:
    """*values* for a column of floating-point numbers that grows as a bytearray."""
    return pack(f"{len(values)}d", *values)


def doubles(packed: bytearray) -> Floats:
    """The numbers of such a column, which can't grow while they are alive."""
    return np.frombuffer(packed, np.float64)


def packed_counts(values: Sequence[int | None]) -> bytes:
    """*values*, from 0 to 2**31 - 1 or absent, for a column of counts that grows as a bytearray."""
    missing = values.count(None)
    if missing == len(values):
        return pack("i", _NULL) * missing
    try:
        return pack(f"{len(values)}i", *values)
    except struct_error:
        return pack(f"{len(values)}i", *[_NULL if one is None else one for one in values])


def counts(packed: bytearray) -> NDArray[np.int32]:
    """The numbers of such a column, -1 where they are absent; it can't grow while they are alive."""
    return np.frombuffer(packed, np.int32)


def count_column(packed: bytearray) -> pa.Array:
    """Such a column as Arrow has it."""
    values = counts(packed)
    return integers(np.maximum(values, 0), pa.int32(), values != _NULL)
