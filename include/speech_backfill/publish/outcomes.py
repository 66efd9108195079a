"""The final outcomes of a partition: one row for each audio file of the manifest, from rounds, earlier versions and refusals."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa

from speech_backfill.errors import UnexplainedFiles
from speech_backfill.relations import batches, one_row
from speech_backfill.tables.parquet import ROW_GROUP_BYTES, ROW_GROUP_ROWS, ParquetFile, Part
from speech_backfill.tables.schema import OUTCOMES

_FINAL = """
CREATE TABLE final AS
SELECT
    m.file_id, m.audio_url, m.etag AS audio_etag, m.size_bytes,
    make_timestamptz((m.modified_at * 1000000)::BIGINT) AS last_modified,
    CASE m.disposition
        WHEN 'submit' THEN coalesce(l.outcome, p.outcome) WHEN 'carried' THEN p.outcome WHEN 'elsewhere' THEN 'transcribed' ELSE 'failed'
    END AS outcome,
    CASE m.disposition WHEN 'refused' THEN m.error_code ELSE coalesce(l.error_code, p.error_code) END AS error_code,
    CASE m.disposition WHEN 'refused' THEN m.error_message ELSE coalesce(l.error_message, p.error_message) END AS error_message,
    coalesce(l.can_retry, p.can_retry, false) AS can_retry,
    CASE m.disposition WHEN 'elsewhere' THEN m.transcribed_in ELSE p.transcribed_in END AS transcribed_in,
    coalesce(l.duration_ms, p.duration_ms) AS duration_ms,
    coalesce(l.channels, p.channels) AS channels,
    coalesce(l.phrases, p.phrases) AS phrases,
    coalesce(l.words, p.words) AS words,
    coalesce(l.locale, p.locale) AS locale,
    nullif(m.options_id, '') AS options_id,
    coalesce(l.resource, p.resource) AS resource,
    coalesce(l.transcription_id, p.transcription_id) AS transcription_id,
    coalesce(l.attempt, p.attempt) AS attempt,
    coalesce(l.chunk_id, p.chunk_id) AS chunk_id,
    m.position AS manifest_position,
    m.manifest_columns,
    coalesce(l.result_object, p.result_object) AS result_object,
    CASE
        WHEN m.disposition = 'submit' AND l.outcome = 'transcribed'
            THEN $plan_id || '-r' || l.round || '-s' || lpad(l.shard::VARCHAR, 4, '0')
        ELSE p.part
    END AS part,
    coalesce(l.merged_at, p.merged_at) AS merged_at
FROM manifest m
LEFT JOIN latest l ON m.disposition = 'submit' AND l.file_id = m.file_id AND l.file_id NOT IN (SELECT file_id FROM kept)
LEFT JOIN prior p
    ON p.file_id = m.file_id AND (m.disposition = 'carried' OR p.file_id IN (SELECT file_id FROM kept))
"""

_KEPT = """
CREATE TABLE kept AS
SELECT m.file_id FROM manifest m JOIN latest l USING (file_id) JOIN prior p USING (file_id)
WHERE m.disposition = 'submit' AND l.outcome <> 'transcribed' AND p.outcome = 'transcribed'
"""
"""Files that were submitted once more and failed, although this very content was transcribed before: that stands."""


def account(connection: duckdb.DuckDBPyConnection, *, plan_id: str, partition: str) -> None:
    """Make the table `final` from `manifest`, `latest` and `prior`. Raises UnexplainedFiles unless all is accounted for."""
    connection.execute(_KEPT)
    connection.execute(_FINAL, {"plan_id": plan_id})
    rows, explained, distinct, manifest, example = one_row(
        connection,
        """SELECT count(*), count(outcome), count(DISTINCT file_id), (SELECT count(*) FROM manifest),
                  min(audio_url) FILTER (WHERE outcome IS NULL) FROM final""",
    )
    if not rows == explained == distinct == manifest:
        detail = f"without one, for example {example}" if example else f"{rows} rows for {distinct} files"
        raise UnexplainedFiles(
            partition=partition, files=manifest, explained=min(explained, distinct), detail=detail
        )


def write_outcomes(connection: duckdb.DuckDBPyConnection, target: Path) -> Part | None:
    """Write `final` in manifest order, in the published schema."""
    file = ParquetFile(
        "outcomes", target, row_group_rows=ROW_GROUP_ROWS["outcomes"], row_group_bytes=ROW_GROUP_BYTES
    )
    columns = ", ".join(f'"{name}"' for name in OUTCOMES.names)
    query = f"SELECT {columns} FROM final ORDER BY manifest_position"  # noqa: S608  our own column names
    try:
        for batch in batches(connection, query, rows=ROW_GROUP_ROWS["outcomes"]):
            table = pa.Table.from_batches([batch]).cast(OUTCOMES)
            file.write_row_group({name: table[name] for name in OUTCOMES.names})
    except BaseException:
        file.abort()
        raise
    return file.close()


def write_index(connection: duckdb.DuckDBPyConnection, target: Path) -> None:
    """Write the ids of the files whose rows this partition holds, sorted."""
    connection.execute(
        f"""COPY (SELECT file_id FROM final WHERE outcome = 'transcribed' AND transcribed_in IS NULL ORDER BY file_id)
            TO '{target}' (FORMAT parquet, COMPRESSION zstd)"""  # noqa: S608  our own path
    )
