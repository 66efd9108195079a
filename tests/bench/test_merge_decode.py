"""What the merge is measured against does the same work: every candidate writes every row of the corpus."""

from collections import Counter

import pyarrow.parquet as pq
import pytest

from bench.local_shard import merge_of_a_shard
from bench.merge_decode import OTHERS, ours
from bench.merge_profile import whose
from bench.result_files import corpus

FILES = 6
TABLES = {
    "transcripts": "transcripts",
    "phrases": "phrases",
    "words": "words",
    "displayWords": "words",
    "display_words": "words",
}


def rows(folder):
    """Rows by table of ours; the others write lexical and display words apart."""
    counted = Counter()
    for path in folder.glob("*.parquet"):
        if path.stem in TABLES:
            counted[TABLES[path.stem]] += pq.read_metadata(path).num_rows
    return +counted


@pytest.mark.parametrize("words", [True, False])
@pytest.mark.parametrize("name", OTHERS)
def test_every_candidate_writes_every_row(tmp_path, name, words):
    paths = corpus(tmp_path / "corpus", FILES, words=words)
    for folder, work in (("ours", ours), ("theirs", OTHERS[name])):
        (tmp_path / folder).mkdir()
        work(paths, tmp_path / folder)
    assert rows(tmp_path / "theirs") == rows(tmp_path / "ours")


def test_the_whole_merge_of_a_shard_writes_the_same_parts_each_time(tmp_path):
    paths = corpus(tmp_path / "corpus", FILES, words=True)
    merge = merge_of_a_shard(paths, tmp_path)
    written = []
    for _ in range(2):
        merge()
        written.append({path.name: path.read_bytes() for path in (tmp_path / "store").rglob("*.parquet")})
    assert written[0] == written[1]
    assert {"transcripts.parquet", "phrases.parquet", "words.parquet", "outcomes.parquet"} <= set(written[0])


def test_what_a_library_does_counts_for_who_calls_it():
    stack = (
        "merge_of_a_shard.<locals>.merge (bench/local_shard.py:80);Merger.merge_shard (speech_backfill/merge.py:84);"
        "ParquetFile.write_row_group (speech_backfill/tables/parquet.py:110);ParquetWriter.write_table (pyarrow/parquet/core.py:1200)"
    )
    assert whose(stack) == "`write_row_group` in tables/parquet.py"
