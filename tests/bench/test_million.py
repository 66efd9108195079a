from __future__ import annotations

from collections import Counter

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from bench.million import Counted, Run, counted, figures
from speech_backfill.store import Store
from speech_backfill.tables.layout import partition_file
from speech_backfill.tables.published import PublishedPart, PublishedPartition
from speech_backfill.tables.schema import SCHEMA_VERSION


def tables(files: int) -> dict[str, Counted]:
    return {one: Counted(files, files) for one in ("outcomes", "transcripts", "phrases")}


def run(files=10, *, cpu=1.0, transcribed=10, published=None, emulator=None, peak=300.0) -> Run:
    return Run(
        files=files,
        seconds=60.0,
        states=Counter(done=9, skipped=3),
        transcribed=transcribed,
        published=tables(10) | (published or {}),
        emulator={"duplicates": {}, "files": 10} | (emulator or {}),
        cpu={"scheduler": cpu, "triggerer": 0.0, "azurite": 100.0, "speech-emulator": 100.0},
        ours={"plan": 200.0, "transcribe.merge": peak},
        others={"scheduler": 9000.0},
    )


def missed(*runs: Run) -> list[str]:
    return [one.what for one in figures(runs) if not one.good]


def test_a_run_that_is_whole_and_small_misses_nothing():
    assert missed(run()) == []


def test_a_file_that_one_table_lacks_is_not_accounted_for():
    lacking = run(published={"phrases": Counted(9, 9)})
    assert lacking.accounted == 9
    assert missed(lacking) == ["of 10 files, accounted for in every table"]


def test_a_second_row_or_submission_of_a_file_is_too_much():
    assert run(published={"outcomes": Counted(11, 10)}).too_many == 1
    assert run(emulator={"duplicates": {"t": 2}, "files": 12}).too_many == 3
    assert missed(run(emulator={"files": 12})) == ["of 10 files, submitted twice or with a second row"]


def test_the_largest_of_our_processes_is_the_one_that_is_named_and_airflows_own_do_not_count():
    (figure,) = [one for one in figures([run(peak=600.0)]) if not one.good]
    assert (figure.measured, figure.unit) == (600.0, "MB (transcribe.merge)")


def test_the_emulated_services_cpu_does_not_count_for_the_growth():
    small, large = run(cpu=1.0), run(20, cpu=2.6, transcribed=20, emulator={"files": 20})
    growth = next(one for one in figures([small, large]) if one.unit == "x")
    assert round(growth.measured, 2) == 1.3
    assert not growth.good


def test_published_tables_are_counted_by_rows_and_by_files_and_one_without_parts_is_left_out(tmp_path):
    store = Store.open(str(tmp_path / "store"))
    parts = {
        "outcomes": {"file_id": ["a", "b", "c"], "outcome": ["transcribed", "transcribed", "failed"]},
        "phrases": {"file_id": ["a", "a", "b"]},
    }
    tables: dict[str, list[PublishedPart]] = {"words": []}
    for name, columns in parts.items():
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table(columns), path)
        store.upload(path, f"tables/{name}/one.parquet")
        tables[name] = [PublishedPart(f"tables/{name}/one.parquet", 3, path.stat().st_size)]
    published = PublishedPartition(schema_version=SCHEMA_VERSION, partition="p", version=1, tables=tables)
    store.put(partition_file("p"), msgspec.json.encode(published))

    assert counted(store, "p") == {"outcomes": Counted(2, 2), "phrases": Counted(3, 2)}
