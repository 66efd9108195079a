"""Outcome rows reach Parquet as they are, in order, in any number."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta, timezone

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_backfill.model import Outcome
from speech_backfill.tables.outcomes import OutcomesWriter
from speech_backfill.tables.rows import OutcomeRow
from speech_backfill.tables.schema import OUTCOMES, comment_of

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
moment = st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
int32, int64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
rows = st.builds(
    OutcomeRow,
    file_id=text,
    audio_url=text,
    outcome=st.sampled_from(Outcome),
    can_retry=st.booleans(),
    manifest_columns=st.dictionaries(text, text, max_size=3),
    **dict.fromkeys(
        ["audio_etag", "error_code", "error_message", "transcribed_in", "locale", "options_id", "resource",
         "transcription_id", "chunk_id", "result_object"],
        st.none() | text,
    ),
    **dict.fromkeys(["channels", "phrases", "words", "attempt"], st.none() | int32),
    **dict.fromkeys(["size_bytes", "duration_ms", "manifest_position"], st.none() | int64),
    **dict.fromkeys(["last_modified", "merged_at"], st.none() | moment),
)  # fmt: skip

ROW = OutcomeRow(
    file_id="f" * 32, audio_url="https://x/y.wav", outcome=Outcome.FAILED, error_code="InvalidData"
)


def write(path, given_rows, **options):
    with OutcomesWriter(path, **options) as writer:
        for row in given_rows:
            writer.add(row)
    return writer.close()


def plain(row):
    return {
        **asdict(row),
        "outcome": str(row.outcome),
        "manifest_columns": sorted(row.manifest_columns.items()),
    }


@settings(deadline=None, max_examples=60)
@given(st.lists(rows, min_size=1, max_size=12), st.sampled_from([1, 5, 100]))
def test_rows_come_back_as_they_were(tmp_path_factory, given_rows, row_group_rows):
    path = tmp_path_factory.mktemp("outcomes") / "outcomes.parquet"
    part = write(path, given_rows, row_group_rows=row_group_rows)
    table = pq.read_table(path)
    assert table.schema.equals(OUTCOMES)
    assert [comment_of(one) for one in table.schema] == [comment_of(one) for one in OUTCOMES]
    assert table.to_pylist() == [plain(row) for row in given_rows]
    assert (part.rows, part.bytes) == (len(given_rows), path.stat().st_size)


def test_no_rows_no_file(tmp_path):
    path = tmp_path / "outcomes.parquet"
    path.write_bytes(b"left by an interrupted run")
    assert write(path, []) is None
    assert not path.exists()


def test_the_same_rows_give_the_same_bytes_whatever_the_order_of_their_manifest_columns(tmp_path):
    first = [
        OutcomeRow(file_id="f", audio_url="u", outcome=Outcome.MISSING, manifest_columns={"a": "1", "b": "2"})
    ] * 9
    second = [
        OutcomeRow(file_id="f", audio_url="u", outcome=Outcome.MISSING, manifest_columns={"b": "2", "a": "1"})
    ] * 9
    write(tmp_path / "1", first, row_group_rows=4)
    write(tmp_path / "2", second, row_group_rows=4)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_times_of_other_zones_are_stored_in_utc(tmp_path):
    there = datetime(2026, 11, 1, 1, 30, tzinfo=timezone(timedelta(hours=3)))
    path = tmp_path / "outcomes.parquet"
    write(path, [OutcomeRow(file_id="f", audio_url="u", outcome=Outcome.FAILED, merged_at=there)])
    assert pq.read_table(path)["merged_at"].to_pylist() == [datetime(2026, 10, 31, 22, 30, tzinfo=UTC)]


def test_a_time_without_zone_is_refused_rather_than_guessed(tmp_path):
    naive = OutcomeRow(file_id="f", audio_url="u", outcome=Outcome.FAILED, merged_at=datetime(2026, 11, 1))  # noqa: DTZ001
    with pytest.raises(TypeError):
        write(tmp_path / "outcomes.parquet", [naive])
    assert list(tmp_path.iterdir()) == []


def test_an_error_inside_leaves_no_file(tmp_path):
    def merge():
        with OutcomesWriter(tmp_path / "outcomes.parquet", row_group_rows=1) as writer:
            writer.add(ROW)
            assert list(tmp_path.iterdir()) != []
            raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        merge()
    assert list(tmp_path.iterdir()) == []


def test_a_closed_writer_takes_nothing_more(tmp_path):
    with OutcomesWriter(tmp_path / "outcomes.parquet") as writer:
        pass
    with pytest.raises(ValueError, match="closed"):
        writer.add(ROW)


def test_row_groups_follow_the_rule(tmp_path):
    write(tmp_path / "outcomes.parquet", [ROW] * 25, row_group_rows=10)
    assert pq.read_metadata(tmp_path / "outcomes.parquet").num_row_groups == 3


def test_duckdb_adds_the_outcomes_up(tmp_path):
    path = tmp_path / "outcomes.parquet"
    write(
        path,
        [ROW, ROW, OutcomeRow(file_id="g", audio_url="u", outcome=Outcome.TRANSCRIBED, duration_ms=60_000)],
    )
    counted = duckdb.sql(
        f"SELECT outcome, count(*), sum(duration_ms) FROM '{path}' GROUP BY outcome ORDER BY outcome"
    )
    assert counted.fetchall() == [("failed", 2, None), ("transcribed", 1, 60_000)]
