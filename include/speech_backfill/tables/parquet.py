"""One Parquet file of one table: schema, encodings and row groups; it never knows what a row means.

Encodings are chosen for what every reader understands. BYTE_STREAM_SPLIT would make confidences a little smaller, but
Spark's vectorised reader learnt it in 2026 only, and the releases before refuse the file. There is no page index: columns
by which rows are looked for have a page in each row group, whose statistics the footer has already.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from speech_backfill.tables.schema import TABLES

ROW_GROUP_ROWS: Final[Mapping[str, int]] = MappingProxyType(
    {"outcomes": 131_072, "transcripts": 65_536, "phrases": 131_072, "words": 262_144}
)
"""When a row group is full. Words are narrow, so they take more rows to be worth a row group."""

ROW_GROUP_BYTES: Final = 16 << 20
"""A row group is full at this size in memory, too: a few thousand transcripts of long calls reach it first."""

_DICTIONARY: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "outcomes": (
            "outcome",
            "error_code",
            "error_message",
            "transcribed_in",
            "channels",
            "locale",
            "options_id",
            "resource",
            "transcription_id",
            "attempt",
            "chunk_id",
            "manifest_columns.key_value.key",
            "manifest_columns.key_value.value",
            "part",
            "result_object",
            "merged_at",
        ),
        "transcripts": ("file_id", "audio_url", "channel", "locale"),
        "phrases": (
            "file_id",
            "audio_url",
            "channel",
            "speaker",
            "locale",
            "recognition_status",
        ),
        "words": ("file_id", "channel", "phrase_index", "word_index", "form", "word", "duration_ms"),
    }
)
"""Columns that repeat themselves within a row group; a dictionary costs the others more than it saves."""

_ENCODINGS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "outcomes": {"manifest_position": "DELTA_BINARY_PACKED"},
        "transcripts": {},
        "phrases": {
            "phrase_index": "DELTA_BINARY_PACKED",
            "offset_ms": "DELTA_BINARY_PACKED",
            "duration_ms": "DELTA_BINARY_PACKED",
        },
        "words": {"offset_ms": "DELTA_BINARY_PACKED"},
    }
)

_LONG_TEXT: Final = frozenset(
    {"display", "lexical", "itn", "masked_itn", "error_message", "result_object", "word"}
)
"""No statistics for these: a footer full of sentences helps nobody to skip a row group."""


_COMPRESSION: Final[Mapping[str, tuple[str, int | None]]] = MappingProxyType(
    {
        "outcomes": ("zstd", 3),
        "transcripts": ("snappy", None),
        "phrases": ("snappy", None),
        "words": ("snappy", None),
    }
)
"""Codec and level. zstd would make texts a third smaller, but takes three times Snappy's CPU on any level: that was a third of a
merge."""


@dataclass(frozen=True, slots=True)
class Part:
    """A closed Parquet file on the local disk."""

    path: Path
    rows: int
    bytes: int


class ParquetFile:
    """A Parquet file that is written batch by batch; it exists from its first full row group on, or from `close`.

    The same batches give the same bytes. Dictionary columns are written as what they stand for: readers see the declared
    schema, comments included.
    """

    def __init__(self, table: str, path: Path, *, row_group_rows: int, row_group_bytes: int) -> None:
        self._table = table
        self._path = path
        self._row_group_rows = row_group_rows
        self._row_group_bytes = row_group_bytes
        self._writer: Any = None
        self._rows = 0

    def is_full(self, rows: int, size_bytes: int) -> bool:
        """Whether so much is worth a row group."""
        return rows >= self._row_group_rows or size_bytes >= self._row_group_bytes

    def write_row_group(self, columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> None:
        """Write one row group of *columns*, which are all columns of the table in any order."""
        declared = TABLES[self._table]
        fields = [one.with_type(columns[one.name].type) for one in declared]
        schema = pa.schema(fields, metadata=declared.metadata)
        rows = pa.Table.from_arrays([columns[one.name] for one in declared], schema=schema)
        if self._writer is None:
            self._writer = self._open(schema)
        self._writer.write_table(rows, row_group_size=len(rows))
        self._rows += len(rows)
        # Arrow's allocator would keep what was freed, and more with every row group.
        pa.default_memory_pool().release_unused()

    def write_batches(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Write *batches*, which have all columns of the table in any order, in full row groups and what is left in a last one.

        It never holds more than one row group. The same rows in other batches may give other row groups.
        """
        pending: list[pa.RecordBatch] = []
        for batch in batches:
            pending.append(batch)
            if self.is_full(sum(len(one) for one in pending), sum(one.nbytes for one in pending)):
                self._write_pending(pending)
        if any(len(one) for one in pending):
            self._write_pending(pending)

    def _write_pending(self, pending: list[pa.RecordBatch]) -> None:
        declared = TABLES[self._table]
        rows = pa.Table.from_batches(pending).select(declared.names).cast(declared)
        pending.clear()
        self.write_row_group({name: rows[name] for name in declared.names})

    def close(self) -> Part | None:
        """End the file; None when nothing was ever written, for then there is no file."""
        if self._writer is None:
            return None
        self._writer.close()
        return Part(self._path, self._rows, self._path.stat().st_size)

    def abort(self) -> None:
        """Drop what was written."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._path.unlink(missing_ok=True)

    def _open(self, schema: pa.Schema) -> Any:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        declared = TABLES[self._table]
        dictionary = _DICTIONARY[self._table]
        compression, level = _COMPRESSION[self._table]
        writer = pq.ParquetWriter(
            self._path,
            schema,
            compression=compression,
            compression_level=level,
            use_dictionary=list(dictionary),
            column_encoding=dict(_ENCODINGS[self._table]) or None,
            write_statistics=_with_statistics(declared.names),
            # The schema of the batches has dictionaries, which readers would take over; the declared one follows.
            store_schema=False,
        )
        writer.add_key_value_metadata({b"ARROW:schema": base64.b64encode(declared.serialize().to_pybytes())})
        return writer


def _with_statistics(names: Sequence[str]) -> list[str]:
    return [name for name in names if name not in _LONG_TEXT and name != "manifest_columns"]
