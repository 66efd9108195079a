"""Any partition key becomes one directory name, and comes back from it."""

from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_backfill.store import Store
from speech_backfill.tables.errors import InvalidPartitionKey
from speech_backfill.tables.layout import (
    partition_directory,
    partition_file,
    partition_of_file,
    quoted,
    table_directory,
    unquoted,
)

ODD_KEYS = [
    "a/b",
    "50%",
    "a=b",
    "ü 日本",
    "..",
    "x.",
    "a\\b",
    "q?*[x]{y}^'\"",
    "line\nbreak",
    "+",
    "a:b#c",
    "%2F",
]

keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("key", "directory"),
    [
        ("2026-11-01", "partition=2026-11-01"),
        ("2026-11-01T10:00:00", "partition=2026-11-01T10%3A00%3A00"),
        ("a/b=c%", "partition=a%2Fb%3Dc%25"),
        ("spring term", "partition=spring term"),
        ("grün", "partition=grün"),
        ("v1.", "partition=v1%2E"),
    ],
)
def test_directories_are_named_as_spark_names_them(key, directory):
    assert partition_directory(key) == directory


@given(keys)
def test_every_key_comes_back_from_its_name(key):
    name = quoted(key)
    assert unquoted(name) == unquote(name) == key
    assert not set(name) & set("/\\?#*:\n")
    assert partition_of_file(partition_file(key)) == key


def test_paths_lie_below_tables():
    assert table_directory("words", "a/b") == "tables/words/partition=a%2Fb/"
    assert partition_file("a/b") == "tables/_partitions/a%2Fb.json"


@pytest.mark.parametrize("path", ["tables/_partitions/x.json.lock", "tables/_partitions/.x.draft", "x"])
def test_other_files_beside_partition_files_are_no_partitions(path):
    assert partition_of_file(path) is None


@pytest.mark.parametrize("key", ["", "x" * 241, "ü" * 121, "%" * 81, "\ud800"])
def test_a_key_that_can_name_no_directory_is_refused(key):
    with pytest.raises(InvalidPartitionKey):
        partition_directory(key)


@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_store_on_the_local_disk_keeps_the_names_as_they_are(tmp_path, key):
    store = Store.open(str(tmp_path))
    path = f"{table_directory('words', key)}part.parquet"
    store.put(path, b"x")
    assert store.get(path) == b"x"
    assert [one.path for one in store.list("tables/words")] == [path]
    assert (tmp_path / path).is_file()


@pytest.mark.parametrize("key", ODD_KEYS)
def test_duckdb_and_pyarrow_read_the_key_from_the_directory(tmp_path, key):
    folder = tmp_path / partition_directory(key)
    folder.mkdir()
    pq.write_table(pa.table({"x": [1]}), folder / "part.parquet")
    read = duckdb.read_parquet([str(folder / "part.parquet")], hive_partitioning=True)
    if not set(key) & set("*?["):  # DuckDB takes these for a pattern, even encoded names never hold them
        assert read.fetchall() == [(1, key)]
    partitioning = ds.partitioning(pa.schema([("partition", pa.string())]), flavor="hive")
    dataset = ds.dataset(folder / "part.parquet", partitioning=partitioning, partition_base_dir=str(tmp_path))
    assert dataset.to_table().to_pylist() == [{"x": 1, "partition": key}]
