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


@contextmanager
def relations(folder: Path, *, memory_limit: str = MEMORY_LIMIT) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that keeps to *memory_limit* and THREADS and spills into *folder*."""
    connection = duckdb.connect(
        str(folder / "relations.duckdb"),
        config={
            "memory_limit": memory_limit,
            "threads": THREADS,
            "temp_directory": str(folder / "spill"),
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


def batches(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Any = None, *, rows: int = 20_000
) -> Iterator[pa.RecordBatch]:
    """The rows of *query* as Arrow record batches of at most *rows*, streamed."""
    reader: pa.RecordBatchReader = connection.sql(query, params=parameters).to_arrow_reader(rows)
    yield from reader
