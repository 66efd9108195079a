"""Writes docs/TABLES.md from the schemas: `python -m speech_backfill.tables.document docs/TABLES.md`; the schemas are the truth."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from speech_backfill.tables.schema import SCHEMA_VERSION, TABLES, comment_of

_HEAD = """# Tables

Written by `python -m speech_backfill.tables.document docs/TABLES.md` from the schemas in
`include/speech_backfill/tables/schema.py`; change them there. Schema version @VERSION@.

Each table is a folder of Parquet files, one directory a partition: `tables/<table>/partition=<key>/<part>.parquet`.
The key is in the directory's name and not in the files; special characters in it are percent-encoded, as Spark does.
Which files of a partition are published says `tables/_partitions/<key>.json`, so read through the door:

```python
from speech_backfill.tables.read import read_table, table_files

calls = read_table("store", "transcripts", partition="2026-11-01")  # a DataFrame, with a column `partition`

import duckdb

files = table_files("store", "words")
duckdb.sql("SELECT word, count(*) FROM read_parquet($files, hive_partitioning = true) GROUP BY word", params={"files": files})
```

```python
# Spark
spark.conf.set("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
words = spark.read.option("basePath", "store/tables/words").parquet(*table_files("store", "words"))
```

A glob over `tables/words/` reads the same files, but not safely: while a partition is being published, or after a publisher
died in the middle, it sees parts that are not (or no longer) published, and a file's rows twice. `table_files` never does.

Types are Arrow's names. Times are UTC. A column is null where the service (or the manifest) does not say.
"""


def document() -> str:
    """The whole document."""
    return "\n".join(
        [
            _HEAD.replace("@VERSION@", str(SCHEMA_VERSION)),
            *(_section(name, schema) for name, schema in TABLES.items()),
        ]
    )


def _section(name: str, schema: pa.Schema) -> str:
    rows = [
        f"| `{one.name}` | {one.type} | {'yes' if one.nullable else 'no'} | {comment_of(one)} |"
        for one in schema
    ]
    head = ["| column | type | null | what it holds |", "|---|---|---|---|"]
    return "\n".join([f"## {name}", "", comment_of(schema), "", *head, *rows, ""])


def main(arguments: Sequence[str]) -> int:
    """Write the document to the path given, or print it."""
    match list(arguments):
        case []:
            print(document(), end="")
        case [path]:
            Path(path).write_text(document(), encoding="utf-8")
        case _:
            print("usage: python -m speech_backfill.tables.document [PATH]", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
