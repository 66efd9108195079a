from datetime import datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from speech_backfill.errors import EmptyManifest, MissingColumn, UnreadableManifest


@pytest.fixture
def parquet(tmp_path, read):
    def written(columns, **settings):
        path = tmp_path / "m.parquet"
        pq.write_table(pa.table(columns), path)
        return read(path, **settings)

    return written


def test_columns_of_all_kinds_are_understood(parquet):
    (line,) = parquet(
        {
            "url": pa.array(["az://rec/a.wav"]).dictionary_encode(),
            "size": pa.array([3], pa.int32()),
            "last_modified": pa.array([datetime(2026, 11, 1)], pa.timestamp("ns")),  # noqa: DTZ001
            "duration": pa.array([1.5]),
            "channels": pa.array([[0, 1]]),
            "price": pa.array([Decimal("1.50")]),
            "meta": pa.array([{"a": 1}]),
        }
    )

    assert line.number == 1
    assert (line.file.size_bytes, line.file.modified_at, line.file.duration_ms) == (3, 1793491200.0, 1500)
    assert line.options.channels == (0, 1)
    assert line.file.manifest_columns == {"price": '"1.50"', "meta": '{"a": 1}'}


def test_rows_are_numbered_over_batches_and_row_groups(parquet):
    lines = parquet({"uri": [f"az://rec/{n}.wav" for n in range(10_000)]})

    assert [line.number for line in lines] == list(range(1, 10_001))


def test_nothing_and_numbers_in_the_column_of_uris_refuse_their_rows(parquet):
    assert [line.code for line in parquet({"uri": pa.array([None, None], pa.string())})] == ["InvalidUri"] * 2
    assert [line.code for line in parquet({"uri": [1, 2]})] == ["InvalidUri"] * 2


def test_times_that_python_cannot_hold_are_carried_as_text_or_refused(parquet):
    far = pa.array([2**62], pa.timestamp("us"))

    (carried,) = parquet({"uri": ["az://rec/a.wav"], "when": far})
    (refused,) = parquet({"uri": ["az://rec/a.wav"], "last_modified": far})

    assert carried.file.manifest_columns["when"]
    assert refused.code == "InvalidOption"


def test_a_table_without_rows_is_an_empty_manifest(parquet):
    with pytest.raises(EmptyManifest):
        parquet({"uri": pa.array([], pa.string())})


def test_a_table_without_uris_is_a_missing_column(parquet):
    with pytest.raises(MissingColumn, match="found name"):
        parquet({"name": ["a"]})


def test_what_is_no_parquet_is_an_error(manifest):
    with pytest.raises(UnreadableManifest, match="Parquet"):
        manifest("m.parquet", "uri\naz://rec/a.wav\n")


def test_a_damaged_file_is_an_error(tmp_path, read):
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"uri": [f"az://rec/{n:09}.wav" for n in range(50_000)]}), path)
    data = bytearray(path.read_bytes())
    data[100:20_000] = b"\xaa" * 19_900
    path.write_bytes(data)

    with pytest.raises(UnreadableManifest, match="Parquet"):
        read(path)
