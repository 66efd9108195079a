"""The final outcomes of a partition: one row for each audio file of the manifest, from rounds, earlier versions and refusals."""

from __future__ import annotations

from pathlib import Path

import duckdb

from speech_backfill.errors import UnexplainedFiles
from speech_backfill.relations import one_row, steps, text
from speech_backfill.tables.parquet import ROW_GROUP_BYTES, ROW_GROUP_ROWS, ParquetFile, Part
from speech_backfill.tables.schema import OUTCOMES

_KEPT = """
CREATE TABLE kept AS
SELECT DISTINCT m.file_id FROM manifest m
SEMI JOIN (SELECT file_id FROM latest WHERE outcome <> 'transcribed') l USING (file_id)
SEMI JOIN (SELECT file_id FROM prior WHERE outcome = 'transcribed') p USING (file_id)
WHERE m.disposition = 'submit'
"""
"""Files that were submitted once more and failed, although this very content was transcribed before: that stands."""

_FOUND = """
CREATE TABLE found AS
WITH outcomes AS (
    SELECT
        true AS now, {columns}, NULL AS transcribed_in,
        CASE outcome WHEN 'transcribed' THEN $plan_id || '-r' || round || '-s' || lpad(shard::VARCHAR, 4, '0') END AS part
    FROM latest
    UNION ALL
    SELECT false AS now, {columns}, transcribed_in, part FROM prior
), wanted AS (
    SELECT m.position, m.file_id, m.disposition = 'submit' AND k.file_id IS NULL AS now
    FROM manifest m LEFT JOIN kept k USING (file_id) WHERE m.disposition IN ('submit', 'carried')
)
SELECT w.position, o.* FROM outcomes o JOIN wanted w USING (file_id, now)
"""
"""The outcomes of this plan (*now*) or of the version before that files of the manifest take, each with its file's position.

Only places are held in memory while the outcomes pass by. Keys are compared for being equal and nothing else: a join with any
other condition can't be spilled.
"""

_COLUMNS = (
    "file_id",
    "outcome",
    "error_code",
    "error_message",
    "can_retry",
    "duration_ms",
    "channels",
    "phrases",
    "words",
    "locale",
    "resource",
    "transcription_id",
    "attempt",
    "chunk_id",
    "result_object",
    "merged_at",
)
"""What an outcome of this plan and one of the version before say alike."""

_FINAL = """
SELECT
    m.file_id, m.audio_url, m.etag AS audio_etag, m.size_bytes,
    make_timestamptz((m.modified_at * 1000000)::BIGINT) AS last_modified,
    CASE
        WHEN m.disposition IN ('submit', 'carried') THEN f.outcome WHEN m.disposition = 'elsewhere' THEN 'transcribed' ELSE 'failed'
    END AS outcome,
    CASE m.disposition WHEN 'refused' THEN m.error_code ELSE f.error_code END AS error_code,
    CASE m.disposition WHEN 'refused' THEN m.error_message ELSE f.error_message END AS error_message,
    coalesce(f.can_retry, false) AS can_retry,
    CASE m.disposition WHEN 'elsewhere' THEN m.transcribed_in ELSE f.transcribed_in END AS transcribed_in,
    f.duration_ms, f.channels, f.phrases, f.words, f.locale,
    nullif(m.options_id, '') AS options_id,
    f.resource, f.transcription_id, f.attempt, f.chunk_id,
    m.position AS manifest_position,
    f.result_object, f.part, f.merged_at,
    m.disposition,
    m.duration_ms AS manifest_duration_ms
FROM (SELECT * FROM manifest WHERE position >= $first AND position < $first + $positions) m
LEFT JOIN (SELECT * FROM found WHERE position >= $first AND position < $first + $positions) f ON f.position = m.position
"""
"""The rows of the files at so many positions from the first on. The source's own columns are left where they are: nobody needs
them before they are written, and in a table they would take its memory again."""


def account(connection: duckdb.DuckDBPyConnection, *, plan_id: str, partition: str) -> None:
    """Make the table `final` from `manifest`, `latest` and `prior`. Raises UnexplainedFiles unless all is accounted for.

    It has the published columns but for the source's own, and the manifest's disposition and duration. The table `moved`
    (part, stem) is made empty: rows of a *part* that is written anew are published under its new *stem*.
    """
    connection.execute(_KEPT)
    connection.execute(_FOUND.format(columns=", ".join(_COLUMNS)), {"plan_id": plan_id})
    connection.execute(f"CREATE TABLE final AS {_FINAL}", {"first": 0, "positions": 0})
    made = steps(connection, "manifest", "position")
    connection.execute("BEGIN")
    for first, positions in made:
        connection.execute(f"INSERT INTO final {_FINAL}", {"first": first, "positions": positions})
    connection.execute("COMMIT")
    connection.execute("DROP TABLE found")
    connection.execute("CREATE TABLE moved (part VARCHAR, stem VARCHAR)")
    rows, explained, distinct, manifest, example = one_row(
        connection,
        """SELECT count(*), count(outcome), (SELECT count(*) FROM (SELECT 1 FROM final GROUP BY file_id)),
                  (SELECT count(*) FROM manifest), min(audio_url) FILTER (WHERE outcome IS NULL) FROM final""",
    )
    if not rows == explained == distinct == manifest:
        detail = f"without one, for example {example}" if example else f"{rows} rows for {distinct} files"
        raise UnexplainedFiles(
            partition=partition, files=manifest, explained=min(explained, distinct), detail=detail
        )


def write_outcomes(connection: duckdb.DuckDBPyConnection, target: Path) -> Part | None:
    """Write `final` in manifest order, in the published schema, with the source's own columns from `manifest`."""
    file = ParquetFile(
        "outcomes", target, row_group_rows=ROW_GROUP_ROWS["outcomes"], row_group_bytes=ROW_GROUP_BYTES
    )
    elsewhere = {"part": "coalesce(m.stem, f.part) AS part", "manifest_columns": "c.manifest_columns"}
    columns = ", ".join(elsewhere.get(name, f'f."{name}"') for name in OUTCOMES.names)
    query = f"""SELECT {columns}
                FROM (SELECT * FROM final WHERE manifest_position >= $first AND manifest_position < $first + $positions) f
                LEFT JOIN (
                    SELECT position AS manifest_position, manifest_columns FROM manifest
                    WHERE position >= $first AND position < $first + $positions
                ) c USING (manifest_position)
                LEFT JOIN moved m ON m.part = f.part ORDER BY f.manifest_position"""  # noqa: S608  our own column names
    try:
        for first, positions in steps(connection, "manifest", "position"):
            step = {"first": first, "positions": positions}
            rows = connection.sql(query, params=step).to_arrow_table()
            file.write_row_group(dict(zip(OUTCOMES.names, rows.cast(OUTCOMES).columns, strict=True)))
    except BaseException:
        file.abort()
        raise
    return file.close()


def write_index(connection: duckdb.DuckDBPyConnection, target: Path) -> None:
    """Write the ids of the files whose rows this partition holds, sorted."""
    connection.execute(
        f"""COPY (SELECT file_id FROM final WHERE outcome = 'transcribed' AND transcribed_in IS NULL ORDER BY file_id)
            TO {text(str(target))} (FORMAT parquet, COMPRESSION zstd)"""  # noqa: S608  our own path
    )
