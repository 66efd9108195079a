"""Python lists and numpy arrays to Arrow arrays without `pyarrow.array`.

`pyarrow.array` imports pandas on its first call wherever pandas is installed, which costs every merge process over a
second of CPU and some 60 MB. Building from buffers never does, and is faster besides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from speech_backfill.results.model import MAX_TICKS, TICKS_PER_MS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MAX_FLOAT32 = float(np.finfo(np.float32).max)

Columns = Mapping[str, pa.Array]
"""The columns of a batch by name."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def texts(values: Sequence[str | None]) -> pa.Array:
    """A string column."""
    encoded = [b"" if value is None else value.encode() for value in values]
    lengths = np.fromiter(map(len, encoded), np.int32, len(encoded))
    there = np.fromiter((value is not None for value in values), np.bool_, len(values))
    return text_column(lengths, b"".join(encoded), there)


def text_column(lengths: NDArray[np.int32], data: bytes | memoryview, there: Flags | None = None) -> pa.Array:
    """A string column of values that lie one behind the other in *data*, UTF-8; null where *there* is false."""
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    validity = None if there is None or there.all() else _bitmap(there)
    return pa.Array.from_buffers(
        pa.string(), len(lengths), [validity, pa.py_buffer(offsets), pa.py_buffer(data)]
    )


def repeated_texts(values: Sequence[str], counts: Sequence[int]) -> pa.Array:
    """A dictionary column in which each of *values* stands as often as *counts* says, without repeating it in memory."""
    codes = np.repeat(np.arange(len(values), dtype=np.int32), np.asarray(counts, np.int64))
    return coded_texts(codes, values)


def coded_texts(codes: NDArray[np.int32], values: Sequence[str], there: Flags | None = None) -> pa.Array:
    """A dictionary column: each of *codes* stands for one of *values*; null where *there* is false."""
    kind = pa.dictionary(pa.int32(), pa.string())
    validity = None if there is None or there.all() else _bitmap(there)
    return pa.DictionaryArray.from_buffers(kind, len(codes), [validity, pa.py_buffer(codes)], texts(values))


def integers(values: NDArray[Any], kind: pa.DataType, there: Flags | None = None) -> pa.Array:
    """An integer column of *kind*; null where *there* is false."""
    data = np.ascontiguousarray(values, np.int32 if kind == pa.int32() else np.int64)
    validity = None if there is None or there.all() else _bitmap(there)
    return pa.Array.from_buffers(kind, len(data), [validity, pa.py_buffer(data)])


def optional_integers(values: Sequence[int | None], kind: pa.DataType) -> pa.Array:
    """An integer column of *kind* from plain values."""
    missing = values.count(None)
    if missing == len(values):
        return pa.nulls(missing, kind)
    if missing == 0:
        return integers(np.fromiter(cast("Sequence[int]", values), np.int64, len(values)), kind)
    there = np.fromiter((value is not None for value in values), np.bool_, len(values))
    return integers(np.fromiter((value or 0 for value in values), np.int64, len(values)), kind, there)


def optional_floats(values: Sequence[float | None]) -> pa.Array:
    """A float64 column from plain values."""
    missing = values.count(None)
    if missing == len(values):
        return pa.nulls(missing, pa.float64())
    there = np.fromiter((value is not None for value in values), np.bool_, len(values))
    data = np.fromiter((value or 0.0 for value in values), np.float64, len(values))
    return pa.Array.from_buffers(
        pa.float64(), len(data), [None if missing == 0 else _bitmap(there), pa.py_buffer(data)]
    )


def milliseconds(ticks: Floats) -> pa.Array:
    """A column of milliseconds; null where the ticks are unknown or beyond belief. Halves are rounded to the even one."""
    there = np.abs(ticks) < MAX_TICKS
    rounded = np.rint(np.where(there, ticks, 0.0) / TICKS_PER_MS)
    return integers(rounded, pa.int64(), there)


def confidences(values: Floats) -> pa.Array:
    """A float32 column; null where the confidence is unknown or no float32."""
    there = np.abs(values) <= _MAX_FLOAT32
    data = np.where(there, values, 0.0).astype(np.float32)
    return pa.Array.from_buffers(
        pa.float32(), len(data), [None if there.all() else _bitmap(there), pa.py_buffer(data)]
    )


def booleans(values: Sequence[bool]) -> pa.Array:
    """A boolean column."""
    bits = _bitmap(np.fromiter(values, np.bool_, len(values)))
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, bits])


def times(values: Sequence[datetime | None], kind: pa.DataType) -> pa.Array:
    """A column of UTC times in microseconds; every time must know its zone."""
    microseconds = [None if value is None else (value - _EPOCH) // _MICROSECOND for value in values]
    return optional_integers(microseconds, pa.int64()).view(kind)


def string_maps(values: Sequence[Mapping[str, str]], kind: pa.DataType) -> pa.Array:
    """A column of string to string maps, each sorted by key so that equal maps are equal bytes."""
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum(np.fromiter(map(len, values), np.int32, len(values)), out=offsets[1:])
    pairs = [pair for value in values for pair in sorted(value.items())]
    keys, items = texts([key for key, _ in pairs]), texts([item for _, item in pairs])
    entries = pa.StructArray.from_arrays([keys, items], fields=[kind.key_field, kind.item_field])
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(offsets)], children=[entries])


def _bitmap(flags: Flags) -> pa.Buffer:
    return pa.py_buffer(np.packbits(flags, bitorder="little"))
