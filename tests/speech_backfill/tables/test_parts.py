"""The part writer against a plain reference: same rows, one bad file harms no other, same input same bytes."""

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speech_backfill.results.errors import InvalidResultFile
from speech_backfill.tables.batches import ResultSummary
from speech_backfill.tables.parts import PartWriter
from speech_backfill.tables.schema import TABLES
from tests.speech_backfill.tables.reference import rows_of

EACH_ROW_ITS_OWN_GROUP = dict.fromkeys(TABLES, 1)

text = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
# Dyadic, so that float32 holds them and means are exact enough.
confidence = st.none() | st.integers(0, 64).map(lambda part: part / 64)
ticks = st.integers(-1_000_000, 2**45)


def sparse(required, optional):
    return st.fixed_dictionaries(required, optional=optional)


forms = {"display": text, "lexical": text, "itn": text, "maskedITN": text}
times = {"offsetInTicks": ticks | ticks.map(float), "durationInTicks": ticks}
words = st.lists(sparse(times, {"word": text, "confidence": confidence}), max_size=4)
display_words = st.lists(sparse(times, {"displayText": text}), max_size=4)
alternatives = st.lists(
    sparse(
        {}, {"confidence": confidence, **forms, "words": st.none() | words, "displayWords": display_words}
    ),
    max_size=3,
)
phrases = st.lists(
    sparse(
        times,
        {
            "channel": st.integers(0, 2),
            "speaker": st.none() | st.integers(0, 35),
            "locale": st.sampled_from(["en-US", "de-DE", None]),
            "recognitionStatus": text,
            "nBest": st.none() | alternatives,
            "surprise": st.none() | st.integers(),
        },
    ),
    max_size=5,
)
result_files = sparse(
    {"source": st.just("https://x/y.wav?sig=s")},
    {
        "durationInTicks": st.integers(0, 2**50),
        "combinedRecognizedPhrases": st.lists(
            sparse({}, {"channel": st.integers(0, 2), **forms}),
            max_size=3,
            unique_by=lambda one: one.get("channel", 0),
        ),
        "recognizedPhrases": st.none() | phrases,
    },
).map(lambda document: json.dumps(document).encode())


def call(words_per_phrase=3, phrases=2, text="Hello wörld."):
    spoken = [
        {"word": f"w{index}", "offsetInTicks": index * 1e6, "durationInTicks": 1e6, "confidence": 0.5}
        for index in range(words_per_phrase)
    ]
    best = {
        "confidence": 0.75,
        "lexical": "hello",
        "itn": "hello",
        "maskedITN": "hello",
        "display": text,
        "words": spoken,
    }
    return json.dumps(
        {
            "source": "https://acct.blob.core.windows.net/audio/a.wav?sig=SECRET",
            "durationInTicks": 50_000_000,
            "combinedRecognizedPhrases": [{"channel": 0, "display": text}],
            "recognizedPhrases": [
                {"channel": 0, "offsetInTicks": 0, "durationInTicks": 1e7, "nBest": [best]}
                for _ in range(phrases)
            ],
        }
    ).encode()


def written(folder, files, **settings_):
    with PartWriter(folder, **settings_) as writer:
        summaries = [writer.add(*one) for one in files]
    return summaries, writer.close()


def read(parts):
    return {name: pq.read_table(part.path).to_pylist() for name, part in parts.items()}


def comparable(rows):
    return [
        {**row, "confidence": None if row["confidence"] is None else round(row["confidence"], 5)}
        for row in rows
    ]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(st.lists(result_files, max_size=6), st.sampled_from([1, 200, 1 << 20]), st.booleans())
def test_the_rows_are_those_of_the_plain_reference(tmp_path_factory, raws, batch_bytes, tiny_row_groups):
    files = [(f"{index:032x}", f"https://x/{index}.wav", raw) for index, raw in enumerate(raws)]
    options = {"row_group_rows": EACH_ROW_ITS_OWN_GROUP} if tiny_row_groups else {}
    summaries, parts = written(tmp_path_factory.mktemp("parts"), files, batch_bytes=batch_bytes, **options)
    expected = {"transcripts": [], "phrases": [], "words": []}
    for one, summary in zip(files, summaries, strict=True):
        rows = rows_of(*one)
        for name in expected:
            expected[name] += rows[name]
        assert (summary.channels, summary.phrases, summary.words) == tuple(map(len, rows.values()))
    assert {name: comparable(rows) for name, rows in read(parts).items()} == {
        name: comparable(rows) for name, rows in expected.items() if rows
    }


def test_the_summary_tells_what_the_file_added(tmp_path):
    (summary,), _ = written(tmp_path, [("f", "u", call())])
    assert summary == ResultSummary(
        duration_ms=5000,
        channels=1,
        phrases=2,
        words=6,
        locale=None,
        source_url="https://acct.blob.core.windows.net/audio/a.wav",
    )


@pytest.mark.parametrize("batch_bytes", [1, 1 << 20])
def test_a_bad_file_costs_itself_only(tmp_path, batch_bytes):
    good = [("a", "https://x/a.wav", call()), ("b", "https://x/b.wav", call(text="Zwei"))]
    bad = call().replace(b'"display": "Hello', b'"display": 3, "x": "Hello')
    with PartWriter(tmp_path / "with", batch_bytes=batch_bytes) as writer:
        writer.add(*good[0])
        for broken in (b"", b"{", bad, b'{"error":{}}'):
            with pytest.raises(InvalidResultFile):
                writer.add("bad", "https://x/bad.wav", broken)
        writer.add(*good[1])
    _, without = written(tmp_path / "without", good, batch_bytes=batch_bytes)
    for name, part in writer.close().items():
        assert part.path.read_bytes() == without[name].path.read_bytes()


def test_the_same_files_give_the_same_bytes(tmp_path):
    files = [(f"{index}", f"https://x/{index}", call(words_per_phrase=index % 5)) for index in range(40)]
    for folder in ("one", "two"):
        written(tmp_path / folder, files, batch_bytes=10_000, row_group_rows=dict.fromkeys(TABLES, 50))
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["phrases.parquet", "transcripts.parquet", "words.parquet"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_files_have_the_declared_schema_with_its_comments(tmp_path):
    _, parts = written(tmp_path, [("f", "u", call())])
    for name, part in parts.items():
        assert pq.read_schema(part.path).equals(TABLES[name], check_metadata=True)


def test_a_table_without_rows_has_no_part(tmp_path):
    silent = b'{"source":"u","combinedRecognizedPhrases":[],"recognizedPhrases":[]}'
    assert written(tmp_path, [])[1] == {}
    (summary,), parts = written(tmp_path, [("f", "u", silent)])
    assert parts == {}
    assert (summary.channels, summary.phrases, summary.words) == (0, 0, 0)
    _, parts = written(tmp_path, [("f", "u", call(words_per_phrase=0))])
    assert set(parts) == {"transcripts", "phrases"}
    assert not (tmp_path / "words.parquet").exists()


def test_a_part_of_an_interrupted_run_is_not_taken_over(tmp_path):
    written(tmp_path, [("f", "u", call())])
    _, parts = written(tmp_path, [])
    assert parts == {}
    assert list(tmp_path.iterdir()) == []


def test_an_error_inside_leaves_no_part_behind(tmp_path):
    def merge():
        with PartWriter(tmp_path, batch_bytes=1, row_group_rows=EACH_ROW_ITS_OWN_GROUP) as writer:
            writer.add("f", "u", call())
            assert list(tmp_path.iterdir()) != []
            raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        merge()
    assert list(tmp_path.iterdir()) == []


def test_a_closed_writer_takes_nothing_more(tmp_path):
    with PartWriter(tmp_path) as writer:
        pass
    with pytest.raises(ValueError, match="closed"):
        writer.add("f", "u", call())


def test_parts_tell_their_rows_and_size(tmp_path):
    _, parts = written(tmp_path, [("f", "u", call(words_per_phrase=4, phrases=3))])
    assert {name: part.rows for name, part in parts.items()} == {"transcripts": 1, "phrases": 3, "words": 12}
    assert all(part.bytes == part.path.stat().st_size for part in parts.values())


def test_row_groups_follow_the_rule_of_their_table(tmp_path):
    rule = {"transcripts": 10, "phrases": 1_000, "words": 30}
    files = [(f"{index}", "u", call()) for index in range(20)]
    _, parts = written(tmp_path, files, batch_bytes=1, row_group_rows=rule)
    groups = {name: pq.read_metadata(part.path).num_row_groups for name, part in parts.items()}
    assert groups == {"transcripts": 2, "phrases": 1, "words": 4}


def test_a_row_group_is_also_full_at_its_size(tmp_path):
    files = [(f"{index}", "u", call(text="x" * 1000)) for index in range(20)]
    _, parts = written(tmp_path, files, batch_bytes=1, row_group_bytes=5_000)
    assert pq.read_metadata(parts["transcripts"].path).num_row_groups == 4


def test_the_largest_open_row_group_is_written_when_all_together_pass_their_bound(tmp_path):
    files = [(f"{index}", "u", call(text="x" * 1000, phrases=2)) for index in range(20)]

    def groups(parts):
        return {name: pq.read_metadata(part.path).num_row_groups for name, part in parts.items()}

    _, apart = written(tmp_path / "apart", files, batch_bytes=1)
    _, bounded = written(tmp_path / "bounded", files, batch_bytes=1, open_bytes=20_000)
    assert groups(apart) == {"transcripts": 1, "phrases": 1, "words": 1}
    # 1 KB of transcripts and 2 KB of phrases come with each file, and hardly any words.
    assert groups(bounded) == {"transcripts": 2, "phrases": 4, "words": 1}
    assert read(bounded) == read(apart)


def test_numbers_beyond_belief_become_null_and_nothing_else_is_lost(tmp_path):
    huge = "9" * 31
    body = (
        f'{{"source":"u","durationInTicks":{huge},"recognizedPhrases":[{{"channel":0,"offsetInTicks":{huge},'
        f'"durationInTicks":-5e3,"nBest":[{{"confidence":1e300,"display":"kept"}}]}}]}}'
    )
    _, parts = written(tmp_path, [("f", "u", body.encode())])
    (row,) = read(parts)["phrases"]
    assert (row["offset_ms"], row["duration_ms"], row["confidence"], row["display"]) == (
        None,
        0,
        None,
        "kept",
    )
    assert read(parts)["transcripts"][0]["duration_ms"] is None


def test_spark_duckdb_and_pandas_understand_every_encoding(tmp_path):
    """Every Spark 3.3 or newer takes these; BYTE_STREAM_SPLIT only the newest."""
    _, parts = written(tmp_path, [("f", "u", call())])
    understood = {"PLAIN", "RLE", "RLE_DICTIONARY", "DELTA_BINARY_PACKED"}
    for part in parts.values():
        group = pq.read_metadata(part.path).row_group(0)
        for index in range(group.num_columns):
            assert set(group.column(index).encodings) <= understood


def test_long_texts_have_no_statistics_in_the_footer(tmp_path):
    _, parts = written(tmp_path, [("f", "u", call())])
    group = pq.read_metadata(parts["transcripts"].path).row_group(0)
    stated = {
        group.column(index).path_in_schema: group.column(index).is_stats_set
        for index in range(group.num_columns)
    }
    assert stated["file_id"]
    assert not stated["display"]


def test_duckdb_pyarrow_dataset_and_pandas_read_the_same_rows(tmp_path):
    import pandas as pd

    folder = tmp_path / "partition=2026-11-01"
    _, parts = written(folder, [(f"{index:032x}", "https://x/ü.wav", call()) for index in range(5)])
    for part in parts.values():
        expected = pq.read_table(part.path)
        rows = len(expected)
        from_duckdb = duckdb.read_parquet(str(part.path), hive_partitioning=True)
        assert from_duckdb.columns == [*expected.column_names, "partition"]
        assert len(from_duckdb.fetchall()) == rows
        partitioning = ds.partitioning(pa.schema([("partition", pa.string())]), flavor="hive")
        dataset = ds.dataset(part.path, partitioning=partitioning, partition_base_dir=str(tmp_path))
        assert dataset.to_table(columns=expected.column_names).equals(expected)
        assert pd.read_parquet(part.path).to_dict("records")[0]["file_id"] == "0" * 32


def test_merging_does_not_import_pandas(tmp_path):
    program = f"""
import sys
from pathlib import Path
import speech_backfill.merge
from speech_backfill.model import Outcome
from speech_backfill.results.report import read_report
from speech_backfill.tables.outcomes import OutcomesWriter
from speech_backfill.tables.parts import PartWriter
from speech_backfill.tables.rows import OutcomeRow
folder = Path({str(tmp_path)!r})
with PartWriter(folder) as writer:
    writer.add("f", "u", {call()!r})
assert len(writer.close()) == 3
with OutcomesWriter(folder / "outcomes.parquet") as outcomes:
    outcomes.add(OutcomeRow(file_id="f", audio_url="u", outcome=Outcome.TRANSCRIBED, manifest_columns={{"a": "b"}}))
read_report(b'{{"details":[]}}')
sys.exit("pandas" in sys.modules)
"""
    include = str(Path(__file__).parents[3] / "include")
    ran = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": include}, check=False)
    assert ran.returncode == 0
