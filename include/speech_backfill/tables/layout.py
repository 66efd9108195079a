"""Where the tables lie in the store: names only, for any partition key; nothing here reads or writes."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from speech_backfill.tables.errors import InvalidPartitionKey

TABLES_PREFIX = "tables/"
PARTITION_FILES_PREFIX = "tables/_partitions/"
"""Readers of hive layouts skip names that begin with an underscore."""

_PARTITION_FILE_SUFFIX = ".json"
_DIRECTORY_PREFIX = "partition="
_MAX_NAME_BYTES = 240
"""File systems stop at 255 bytes per name; the prefix and the suffix need some of them."""

# The characters that Hive and Spark escape in directory names; besides, a dot at the end, which Azure drops.
_ESCAPED = re.compile(r"""[\x00-\x1f"#%'*/:=?\\\x7f{}\[\]^]|\.\Z""")


def quoted(key: str) -> str:
    """*key* as part of a path: percent-encoded as Spark encodes a partition's value. `unquoted` is the way back."""
    name = _ESCAPED.sub(lambda found: f"%{ord(found.group()):02X}", key)
    if not key:
        raise InvalidPartitionKey(key, "it is empty")
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidPartitionKey(key, "it holds half a surrogate pair") from None
    if length > _MAX_NAME_BYTES:
        raise InvalidPartitionKey(key, f"encoded it has {length} bytes, more than {_MAX_NAME_BYTES}")
    return name


def unquoted(name: str) -> str:
    """The partition key that `quoted` made *name* of."""
    return unquote_to_bytes(name).decode()


def partition_directory(key: str) -> str:
    """The directory of a partition inside a table's directory, `partition=2026-11-01`: hive style."""
    return f"{_DIRECTORY_PREFIX}{quoted(key)}"


def table_directory(table: str, key: str) -> str:
    """The path in the store under which a table's parts of one partition lie, with a slash at the end."""
    return f"{TABLES_PREFIX}{table}/{partition_directory(key)}/"


def partition_file(key: str) -> str:
    """The path in the store of the file that says which parts of a partition are published."""
    return f"{PARTITION_FILES_PREFIX}{quoted(key)}{_PARTITION_FILE_SUFFIX}"


def partition_of_file(path: str) -> str | None:
    """The partition key of which *path* is the `partition_file`; None for any other path."""
    name = path.rpartition("/")[2]
    if not name.endswith(_PARTITION_FILE_SUFFIX):
        return None
    return unquoted(name.removesuffix(_PARTITION_FILE_SUFFIX))
