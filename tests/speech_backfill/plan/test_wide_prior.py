"""Files published before come back with all their columns; a plan over many of them stays within the planner's DuckDB."""

from __future__ import annotations

from pathlib import Path

import pytest

from speech_backfill.plan import chunks, dispositions, frozen, planner
from speech_backfill.relations import relations

FILES = 300_000

_WIDE = f"""
COPY (
    SELECT
        i AS manifest_position, md5(i::VARCHAR) AS file_id, 'https://account.blob.core.windows.net/calls/' || i || '.wav' AS audio_url,
        '0x8DC' || i AS audio_etag, i AS size_bytes, TIMESTAMPTZ '2026-01-01' AS last_modified, 60000::BIGINT AS duration_ms,
        'abcdef0123456789' AS options_id, if(i % 10 = 0, 'failed', 'transcribed') AS outcome, i % 10 = 0 AS can_retry,
        NULL::VARCHAR AS error_code, NULL::VARCHAR AS error_message, NULL::VARCHAR AS transcribed_in,
        md5((i // 1000)::VARCHAR) AS chunk_id,
        MAP {{'caller': md5('c' || i), 'queue': md5('q' || i), 'note': md5('n' || i) || md5('m' || i), 'agent': md5('a' || i)}}
            AS manifest_columns
    FROM range({FILES}) numbers(i)
) TO 'TARGET' (FORMAT parquet)
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    with relations(folder, memory_limit="1GB") as connection:
        connection.execute(_WIDE.replace("TARGET", str(folder / "prior.parquet")))
    return folder / "prior.parquet"


def test_only_what_failed_of_many_wide_files_is_planned(published: Path, tmp_path: Path) -> None:
    with relations(tmp_path, memory_limit=planner._MEMORY_LIMIT) as connection:
        connection.execute(
            f"""CREATE VIEW prior AS SELECT * REPLACE (if(outcome = 'failed', NULL, duration_ms) AS duration_ms)
                FROM read_parquet('{published}')"""
        )
        connection.execute(
            f"""CREATE VIEW planned AS SELECT manifest_position AS position, file_id, manifest_position AS duration_ms
                FROM read_parquet('{published}')"""
        )
        connection.execute("CREATE TABLE own (chunk_id VARCHAR)")
        connection.execute("CREATE TABLE residencies (chunk_id VARCHAR, residency VARCHAR)")
        dispositions.decide_only_failed(connection, reprocess=False)

        frozen.write_manifest(connection, None, tmp_path / "manifest.parquet")

        found = connection.execute(
            """SELECT disposition, count(*), count(*) FILTER (WHERE duration_ms = if(disposition = 'submit', position, 60000))
               FROM manifest GROUP BY ALL ORDER BY ALL"""
        ).fetchall()
    failed = FILES // 10
    assert found == [("carried", FILES - failed, FILES - failed), ("submit", failed, failed)]


def test_very_many_files_that_were_tried_before_are_cut_within_the_planner_s_memory(
    tmp_path: Path,
) -> None:
    """The join with what became of them, and the sort by it, would not fit together."""
    files = 600_000
    with relations(tmp_path, memory_limit="1GB") as connection:
        connection.execute(
            f"""COPY (SELECT i AS position, md5(i::VARCHAR) AS file_id, 'https://account.blob.core.windows.net/calls/2026/' || i AS audio_url,
                    '0x8DC' || i AS etag, i AS size_bytes, 60000::BIGINT AS duration_ms, 'abcdef0123456789' AS options_id,
                    '' AS residency, 'submit' AS disposition, md5('c' || i // 1000) AS chunk_id, 1 AS attempt, true AS can_retry,
                    'Timeout' AS error_code, 'east' AS resource
                FROM range({files}) numbers(i)) TO '{tmp_path / "tried.parquet"}' (FORMAT parquet)"""
        )
    (tmp_path / "plan").mkdir()
    with relations(tmp_path / "plan", memory_limit=planner._MEMORY_LIMIT) as connection:
        for view in ("manifest", "prior"):
            connection.execute(
                f"CREATE VIEW {view} AS SELECT * FROM read_parquet('{tmp_path / 'tried.parquet'}')"
            )
        connection.execute("CREATE TABLE claims (file UHUGEINT, number BIGINT)")
        connection.execute("CREATE TABLE trouble (code VARCHAR)")
        connection.execute("CREATE TABLE cuts (chunk_id VARCHAR, attempt INTEGER, away BOOLEAN, most BIGINT)")
        connection.execute(chunks._RETRIED)
        cut = sum(len(batch) for batch in chunks._to_cut(connection))
    assert cut == files
