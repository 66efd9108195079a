"""DuckDB as the engine for joins and sorts that may outgrow memory: a bounded connection, and Arrow batches out of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

_WILD = re.compile(r"([*?\[])")

THREADS = 2
MEMORY_LIMIT = "192MB"

_MOST_POSITIONS = 32_768
_STEP_BYTES = 16_000_000
"""How many rows are put together, and written, at once: a row group, and fewer where the source has wide columns of its own."""

_NARROW = 400
"""Bytes of a row without its URL, its message and the source's own columns, roughly."""

_SLICE = 16
"""Rows whose width is added up: a step is as many slices as fit."""

_SLICES_AT_ONCE = 10_000

_WIDTHS = """
SELECT {position} // $slice, sum(
    $narrow + strlen(audio_url) + coalesce(strlen(error_message), 0) + coalesce(strlen(manifest_columns::VARCHAR), 0)
)::BIGINT
FROM {relation} GROUP BY 1 ORDER BY 1
"""


@contextmanager
def relations(folder: Path, *, memory_limit: str = MEMORY_LIMIT) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that keeps to *memory_limit* and THREADS and spills into *folder*."""
    connection = duckdb.connect(
        str(folder / "relations.duckdb"),
        config={
            "memory_limit": memory_limit,
            "threads": THREADS,
            "temp_directory": str(folder / "spill"),
            # What dropped tables and ended sorts have freed goes back to the system. By default DuckDB's allocator keeps it
            # unless 512 MB are freed in one go, beside which Python and Arrow need theirs.
            "allocator_bulk_deallocation_flush_threshold": "1MB",
            # Nothing is fetched from anywhere: no extension is installed behind our back.
            "autoinstall_known_extensions": False,
        },
    )
    # Where Python was started with -c it takes itself for a console, and would draw on stdout.
    connection.execute("SET enable_progress_bar = false")
    try:
        yield connection
    finally:
        connection.close()


def parquet(*files: Path) -> str:
    """*files* as the first argument of `read_parquet`: exactly these, whatever signs a folder of the machine has in its name."""
    return f"[{', '.join(text(exactly(one)) for one in files)}]"


def exactly(file: Path) -> str:
    """The name of *file* as a pattern that matches nothing else: DuckDB takes names for patterns."""
    return _WILD.sub(r"[\1]", str(file))


def text(value: str) -> str:
    """*value* as a literal in SQL, for statements that take no parameters."""
    return "'" + value.replace("'", "''") + "'"


def one_row(connection: duckdb.DuckDBPyConnection, query: str, parameters: Any = None) -> tuple[Any, ...]:
    """The only row of *query*; reads it to its end, so that the connection is free for the next."""
    (row,) = connection.execute(query, parameters).fetchall()
    return tuple(row)


def steps(connection: duckdb.DuckDBPyConnection, relation: str, position: str) -> list[tuple[int, int]]:
    """How to go through the files of *relation* in order, in memory that their width does not change: (first position, how many).

    Every *position* that the relation has is in one of them.
    """
    found = connection.execute(
        _WIDTHS.format(relation=relation, position=position), {"slice": _SLICE, "narrow": _NARROW}
    )
    made: list[tuple[int, int]] = []
    first = end = size = 0
    while slices := found.fetchmany(_SLICES_AT_ONCE):
        for number, size_bytes in slices:
            following = (number + 1) * _SLICE
            if end > first and (size + size_bytes > _STEP_BYTES or following - first > _MOST_POSITIONS):
                made.append((first, end - first))
                size = 0
            if not size:
                first = number * _SLICE
            end, size = following, size + size_bytes
    if end > first:
        made.append((first, end - first))
    return made


def batches(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Any = None, *, rows: int = 20_000
) -> Iterator[pa.RecordBatch]:
    """The rows of *query* as Arrow record batches of at most *rows*, streamed."""
    reader: pa.RecordBatchReader = connection.sql(query, params=parameters).to_arrow_reader(rows)
    yield from reader
