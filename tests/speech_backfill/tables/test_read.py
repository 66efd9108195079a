"""Readers see what is published, whole partitions only, from a folder or from a container."""

import json
import re
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from speech_backfill.model import Outcome
from speech_backfill.store import Store
from speech_backfill.tables.document import document
from speech_backfill.tables.errors import (
    NothingPublished,
    PartitionNotPublished,
    UnknownColumn,
    UnknownTable,
    UnreadablePartitionFile,
)
from speech_backfill.tables.layout import partition_file, table_directory
from speech_backfill.tables.outcomes import OutcomesWriter
from speech_backfill.tables.parts import PartWriter
from speech_backfill.tables.read import read_arrow_table, read_table, table_files
from speech_backfill.tables.rows import OutcomeRow
from speech_backfill.tables.schema import TABLES
from tests.speech_backfill.tables.test_parts import call


def publish(store, scratch, key, files, *, version=1, schema_version=1):
    """Publish *files* (id, raw) as one part per table, the way the publish step records it."""
    with PartWriter(scratch / "parts") as writer:
        for file_id, raw in files:
            writer.add(file_id, f"https://x/{file_id}.wav", raw)
    with OutcomesWriter(scratch / "outcomes.parquet") as outcomes:
        for file_id, _ in files:
            outcomes.add(
                OutcomeRow(
                    file_id=file_id,
                    audio_url="u",
                    outcome=Outcome.TRANSCRIBED,
                    size_bytes=7,
                    manifest_columns={"agent": "Zoë"},
                )
            )
    tables = {}
    for name, part in {**writer.close(), "outcomes": outcomes.close()}.items():
        path = f"{table_directory(name, key)}{version:04}.parquet"
        store.put(path, part.path.read_bytes())
        tables[name] = [{"path": path, "rows": part.rows, "bytes": part.bytes}]
    content = {
        "schema_version": schema_version,
        "partition": key,
        "version": version,
        "plan_id": "p1",
        "tables": tables,
        "written_by_a_later_version": True,
    }
    store.put(partition_file(key), json.dumps(content).encode())
    return tables


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path):
    return Store.open(str(tmp_path / "store") if request.param == "folder" else "memory://")


@pytest.fixture
def two_days(store, tmp_path):
    publish(store, tmp_path, "2026-11-01", [("a", call()), ("b", call(words_per_phrase=0))])
    publish(store, tmp_path, "2026-11-02", [("c", call(text="Zwei"))])
    return store


def test_a_table_is_a_data_frame_with_its_partition(two_days):
    frame = read_table(two_days, "transcripts")
    assert list(frame.columns) == [*TABLES["transcripts"].names, "partition"]
    assert frame[["file_id", "partition"]].values.tolist() == [
        ["a", "2026-11-01"],
        ["b", "2026-11-01"],
        ["c", "2026-11-02"],
    ]
    assert frame["display"].tolist() == ["Hello wörld.", "Hello wörld.", "Zwei"]


def test_nullable_integers_stay_integers_and_maps_are_dicts(two_days):
    frame = read_table(two_days, "outcomes")
    assert frame["size_bytes"].tolist() == [7, 7, 7]
    assert frame["duration_ms"].dtype == pd.Int64Dtype()
    assert frame["duration_ms"].isna().all()
    assert frame["manifest_columns"].tolist()[0] == {"agent": "Zoë"}


@pytest.mark.parametrize(
    ("partition", "ids"), [("2026-11-02", ["c"]), (["2026-11-02", "2026-11-01"], ["c", "a", "b"])]
)
def test_partitions_are_read_as_asked(two_days, partition, ids):
    assert read_table(two_days, "transcripts", partition=partition)["file_id"].tolist() == ids


def test_columns_and_filters_narrow_the_read(two_days):
    frame = read_table(two_days, "transcripts", columns=["file_id"], filters=[("display", "==", "Zwei")])
    assert frame.to_dict("records") == [{"file_id": "c"}]
    frame = read_table(two_days, "words", columns=["partition", "word"], filters=ds.field("word_index") == 1)
    assert (
        frame.to_dict("records")
        == [{"partition": "2026-11-01", "word": "w1"}] * 2 + [{"partition": "2026-11-02", "word": "w1"}] * 2
    )


def test_the_partition_can_be_filtered_on(two_days):
    frame = read_table(two_days, "outcomes", filters=[("partition", ">", "2026-11-01")])
    assert frame["file_id"].tolist() == ["c"]


def test_a_partition_without_rows_of_a_table_reads_as_empty_with_its_columns(store, tmp_path):
    publish(store, tmp_path, "quiet", [("a", call(words_per_phrase=0))])
    table = read_arrow_table(store, "words")
    assert table.num_rows == 0
    assert table.schema.names == [*TABLES["words"].names, "partition"]
    assert table.schema.field("offset_ms").type == pa.int64()


def test_parts_that_are_not_published_are_not_read(two_days):
    (path,) = [one.path for one in two_days.list("tables/words/partition=2026-11-02")]
    two_days.put(path.replace("0001", "0002"), b"half a part")
    assert len(read_table(two_days, "words", partition="2026-11-02")) == 6


def test_odd_partition_keys_are_read_back(store, tmp_path):
    for key in ("a/b=c 50%", "日本."):
        publish(store, tmp_path, key, [("a", call())])
    assert set(read_table(store, "phrases")["partition"]) == {"a/b=c 50%", "日本."}
    assert read_table(store, "phrases", partition="日本.")["file_id"].tolist() == ["a", "a"]


def test_a_column_that_an_older_part_lacks_reads_as_null(two_days, tmp_path):
    import pyarrow.parquet as pq

    (path,) = [one.path for one in two_days.list("tables/transcripts/partition=2026-11-02")]
    old = tmp_path / "old.parquet"
    old.write_bytes(two_days.get(path))
    pq.write_table(pq.read_table(old, partitioning=None).drop_columns(["speech_ms", "locale"]), old)
    two_days.put(path, old.read_bytes())
    assert read_table(two_days, "transcripts", partition="2026-11-02")["locale"].isna().all()


def test_a_reader_overtaken_by_a_new_version_reads_the_new_one_whole(two_days, tmp_path):
    def supersede():
        publish(two_days, tmp_path, "2026-11-01", [("new", call())], version=2)
        for one in list(two_days.list("tables")):
            if "2026-11-01" in one.path and "0001" in one.path:
                two_days.delete(one.path)

    pending = [supersede]

    class Racing(Store):
        """Publishes a newer version, and removes the old parts, just before the first part is read."""

        def get(self, path):
            if path.endswith(".parquet") and pending:
                pending.pop()()
            return super().get(path)

    racing = Racing(two_days.url, two_days.objects, None)
    assert read_table(racing, "transcripts", partition="2026-11-01")["file_id"].tolist() == ["new"]
    assert not pending


def test_a_published_part_that_is_gone_is_named(two_days):
    (path,) = [one.path for one in two_days.list("tables/words/partition=2026-11-02")]
    two_days.delete(path)
    with pytest.raises(
        UnreadablePartitionFile, match=f"{re.escape(path)} .* bring back what is spoilt or gone"
    ):
        read_table(two_days, "words")


def test_asking_for_what_is_not_there_says_what_is(two_days):
    with pytest.raises(UnknownTable, match="outcomes, transcripts, phrases, words"):
        read_table(two_days, "sentences")
    with pytest.raises(UnknownColumn, match="no column offset_s"):
        read_table(two_days, "words", columns=["offset_s"])
    with pytest.raises(
        PartitionNotPublished, match=r"2026-11-03 is not published. Published: 2026-11-01, 2026-11-02"
    ):
        read_table(two_days, "words", partition=["2026-11-01", "2026-11-03"])


def test_a_store_without_tables_is_said_to_be_one(store):
    with pytest.raises(NothingPublished):
        read_table(store, "words")


def test_a_mistyped_folder_is_not_made(tmp_path):
    with pytest.raises(NothingPublished, match="typo"):
        read_table(tmp_path / "typo", "words")
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"schema_version":1}'])
def test_a_damaged_partition_file_is_named(two_days, content):
    two_days.put(partition_file("2026-11-02"), content)
    with pytest.raises(UnreadablePartitionFile, match=r"tables/_partitions/2026-11-02\.json"):
        read_table(two_days, "words")


def test_tables_of_a_newer_schema_are_not_guessed_at(store, tmp_path):
    publish(store, tmp_path, "x", [("a", call())], schema_version=99)
    with pytest.raises(UnreadablePartitionFile, match="schema version 99"):
        read_table(store, "words")


def test_duckdb_reads_the_published_files(tmp_path):
    folder = tmp_path / "store"
    store = Store.open(str(folder))
    publish(store, tmp_path, "2026-11-01", [("a", call())])
    publish(store, tmp_path, "a/b", [("b", call())])
    files = table_files(folder, "words")
    assert files == [
        str(folder / "tables/words/partition=2026-11-01/0001.parquet"),
        str(folder / "tables/words/partition=a%2Fb/0001.parquet"),
    ]
    counted = duckdb.sql(
        "SELECT partition, count(*) FROM read_parquet($files, hive_partitioning = true) GROUP BY 1 ORDER BY 1",
        params={"files": files},
    )
    assert counted.fetchall() == [("2026-11-01", 6), ("a/b", 6)]
    assert table_files(folder, "words", partition="a/b") == files[1:]


def test_the_example_in_the_document_runs(tmp_path, monkeypatch):
    store = Store.open(str(tmp_path / "store"))
    publish(store, tmp_path, "2026-11-01", [("a", call())])
    monkeypatch.chdir(tmp_path)
    example, _needs_spark = re.findall(r"```python\n(.*?)```", document(), re.DOTALL)
    names = {}
    exec(example, names)
    assert len(names["calls"]) == 1


def test_all_parts_of_a_partition_are_read_by_hive_readers_too(tmp_path):
    store = Store.open(str(tmp_path / "store"))
    publish(store, tmp_path, "2026-11-01", [("a", call())])
    pattern = Path(tmp_path / "store/tables/phrases/*/*.parquet")
    rows = duckdb.sql(f"SELECT partition FROM read_parquet('{pattern}', hive_partitioning = true)").fetchall()
    assert len(rows) == 2
