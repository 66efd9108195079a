"""The door for people: published tables as a pandas DataFrame, or their files for DuckDB and Spark. It never writes.

Only parts that a partition file names are read, so a half-written partition is never seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from speech_backfill.accounts import (
    AccountKey,
    Credential,
    Identity,
    SasToken,
    StorageAccount,
    StorageAccounts,
)
from speech_backfill.store import Store
from speech_backfill.tables.errors import (
    NothingPublished,
    UnknownColumn,
    UnknownTable,
    UnreadablePartitionFile,
)
from speech_backfill.tables.layout import partition_file
from speech_backfill.tables.published import PublishedPartition, PublishedTables
from speech_backfill.tables.schema import TABLES

if TYPE_CHECKING:
    import pandas as pd

PARTITION_COLUMN = "partition"

StorageOptions = StorageAccounts | Mapping[str, str]
"""The accounts, or one account as a mapping: account_name with account_key or sas_token (neither: Entra ID, as
DefaultAzureCredential finds it), and blob_endpoint where it is not the public cloud's."""

StoreRoot = str | Path | Store
"""The folder or URL that holds tables/, or a store that is open already."""

_ATTEMPTS = 3


def read_table(
    store_root: StoreRoot,
    name: str,
    *,
    partition: str | Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    filters: Any = None,
    storage_options: StorageOptions | None = None,
) -> pd.DataFrame:
    """The published rows of a table with their `partition` as last column.

    *partition* is a key or several; None reads all that are published. *filters* are pyarrow's: an expression, or tuples
    such as `[("confidence", "<", 0.5)]`; they may name `partition`, too. Integers and booleans that may be absent come as
    pandas' nullable types, maps as dicts.
    """
    table = read_arrow_table(
        store_root,
        name,
        partition=partition,
        columns=columns,
        filters=filters,
        storage_options=storage_options,
    )
    import pandas as pd

    nullable = {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get, maps_as_pydicts="strict")
    return frame


def read_arrow_table(
    store_root: StoreRoot,
    name: str,
    *,
    partition: str | Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    filters: Any = None,
    storage_options: StorageOptions | None = None,
) -> pa.Table:
    """What `read_table` reads, as an Arrow table."""
    import pyarrow.parquet as pq

    schema = _schema(name)
    if columns is not None:
        unknown = [column for column in columns if column not in schema.names]
        if unknown:
            raise UnknownColumn(name, unknown, schema.names)
    expression = pq.filters_to_expression(filters) if isinstance(filters, list) else filters
    selection = _Selection(name, schema, columns, expression)
    store = _open(store_root, storage_options)
    published = PublishedTables(store)
    pieces = [schema.empty_table().select(columns or schema.names)]
    for one in published.chosen(partition):
        pieces += _partition_pieces(store, published, one, selection)
    return pa.concat_tables(pieces)


def table_files(
    store_root: StoreRoot,
    name: str,
    *,
    partition: str | Sequence[str] | None = None,
    storage_options: StorageOptions | None = None,
) -> list[str]:
    """The published Parquet files of a table as paths or URLs under *store_root*, for DuckDB, Spark and others.

    The partition stands in the directory's name: `read_parquet(files, hive_partitioning = true)` in DuckDB.
    """
    _schema(name)
    store = _open(store_root, storage_options)
    # The URL as the reader spelled it: another engine may not know the form that we would choose.
    root = str(store.local_root or (store.url if isinstance(store_root, Store) else store_root)).rstrip("/")
    return [
        f"{root}/{part.path}" for one in PublishedTables(store).chosen(partition) for part in one.parts(name)
    ]


@dataclass(frozen=True, slots=True)
class _Selection:
    """What is wanted of a table."""

    table: str
    schema: pa.Schema
    columns: Sequence[str] | None
    expression: Any


def _schema(name: str) -> pa.Schema:
    if name not in TABLES:
        raise UnknownTable(name, TABLES)
    key = pa.field(PARTITION_COLUMN, pa.string())
    # Nullable throughout: a part written before a column existed has none, and it reads as null.
    return pa.schema([pa.field(one.name, one.type) for one in (*TABLES[name], key)])


def _partition_pieces(
    store: Store, published: PublishedTables, one: PublishedPartition, selection: _Selection
) -> list[pa.Table]:
    """The partition's rows, all from one version: when parts vanish because a newer one was published, that is read."""
    for _ in range(_ATTEMPTS):
        try:
            return [
                _part_rows(store, part.path, one.partition, selection) for part in one.parts(selection.table)
            ]
        except FileNotFoundError as error:
            gone, read = str(error), one.version
            one = published.read(one.partition)
            if one.version == read:
                raise UnreadablePartitionFile(
                    partition_file(one.partition), f"the part {gone} that it names is gone"
                ) from None
    raise UnreadablePartitionFile(
        partition_file(one.partition), "it was replaced again and again while being read"
    )


def _part_rows(store: Store, path: str, key: str, selection: _Selection) -> pa.Table:
    import pyarrow.dataset as ds

    source: Any
    if store.local_root is not None:
        local = store.local_root / path
        if not local.exists():
            raise FileNotFoundError(path)
        source = pa.OSFile(str(local))
    else:
        source = pa.BufferReader(store.get(path))
    with source:
        fragment = ds.ParquetFileFormat().make_fragment(
            source, partition_expression=ds.field(PARTITION_COLUMN) == key
        )
        return fragment.to_table(
            schema=selection.schema, columns=selection.columns, filter=selection.expression
        )


def _open(store_root: StoreRoot, storage_options: StorageOptions | None) -> Store:
    if isinstance(store_root, Store):
        return store_root
    root = str(store_root)
    if "://" not in root or root.startswith("file://"):
        folder = Path(unquote(urlsplit(root).path) if root.startswith("file://") else root).expanduser()
        if not folder.is_dir():
            # Opening the store would make the folder: a mistyped path must not leave one behind.
            raise NothingPublished(root)
    return Store.open(root, _accounts(storage_options))


def _accounts(options: StorageOptions | None) -> StorageAccounts | None:
    if options is None or isinstance(options, StorageAccounts):
        return options
    name = options["account_name"]
    endpoint = options.get("blob_endpoint", f"https://{name}.blob.core.windows.net").rstrip("/")
    return StorageAccounts.of([StorageAccount(name, endpoint, _credential(options))])


def _credential(options: Mapping[str, str]) -> Credential:
    if "account_key" in options:
        return AccountKey(options["account_key"])
    if "sas_token" in options:
        return SasToken(options["sas_token"])
    from azure.identity import DefaultAzureCredential

    return Identity(DefaultAzureCredential())
