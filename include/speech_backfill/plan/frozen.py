"""The frozen manifest: every audio file of a partition with what the plan means to do about it. Written once."""

from __future__ import annotations

import hashlib
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from speech_backfill.relations import batches, one_row
from speech_backfill.tables.columns import integers

SUBMIT = "submit"
CARRIED = "carried"
ELSEWHERE = "elsewhere"
REFUSED = "refused"

MANIFEST = pa.schema(
    [
        pa.field("position", pa.int64(), nullable=False),
        pa.field("file_id", pa.string(), nullable=False),
        pa.field("audio_url", pa.string(), nullable=False),
        pa.field("etag", pa.string()),
        pa.field("size_bytes", pa.int64()),
        pa.field("modified_at", pa.float64()),
        pa.field("duration_ms", pa.int64()),
        pa.field("options_id", pa.string()),
        pa.field("residency", pa.string()),
        pa.field("disposition", pa.string(), nullable=False),
        pa.field("transcribed_in", pa.string()),
        pa.field("error_code", pa.string()),
        pa.field("error_message", pa.string()),
        pa.field("manifest_columns", pa.map_(pa.string(), pa.string())),
    ]
)

_ONE_FILE = "audio_url, CASE WHEN error_code IN ('InvalidUri', 'InvalidLine', 'InvalidOption') THEN line END"
"""What makes two lines the same: their URL. Lines that name no file are each their own."""

_DECIDE = f"""
CREATE TABLE manifest AS
WITH first_lines AS (
    SELECT min(line) AS line FROM lines GROUP BY {_ONE_FILE}
), firsts AS (
    SELECT l.* FROM lines l SEMI JOIN first_lines USING (line)
), transcribed AS (
    SELECT audio_url FROM prior WHERE outcome = 'transcribed'
), kept AS (
    SELECT * FROM firsts WHERE error_code IS NULL
    UNION ALL
    -- A line refused today (its audio is gone, say) must not take away what was transcribed and paid for before.
    SELECT f.* FROM (SELECT * FROM firsts WHERE error_code IS NOT NULL) f ANTI JOIN transcribed USING (audio_url)
), decided AS (
    SELECT
        l.line, l.file_id, l.audio_url, l.etag, l.size_bytes, l.modified_at, l.duration_ms, l.options_id, l.residency,
        CASE
            WHEN l.error_code IS NOT NULL THEN 'refused'
            WHEN $reprocess AND (p.chunk_id IS NULL OR p.chunk_id NOT IN (SELECT chunk_id FROM own)) THEN 'submit'
            WHEN p.file_id IS NOT NULL AND NOT p.can_retry THEN 'carried'
            WHEN e.file_id IS NOT NULL THEN 'elsewhere'
            ELSE 'submit'
        END AS disposition,
        e.transcribed_in, l.error_code, l.error_message, l.manifest_columns
    FROM kept l
    LEFT JOIN prior p ON p.file_id = l.file_id
    LEFT JOIN (SELECT file_id, min(transcribed_in) AS transcribed_in FROM elsewhere GROUP BY file_id) e ON e.file_id = l.file_id
), gone AS (
    -- Transcribed before and no longer in the source: paid for, so kept. A line that failed cost nothing, and whoever
    -- has mended it in the source does not want to see it fail for ever.
    SELECT
        9000000000000000000 AS line, p.file_id, p.audio_url, p.audio_etag AS etag, p.size_bytes,
        epoch(p.last_modified) AS modified_at, p.duration_ms, p.options_id, '' AS residency, 'carried' AS disposition,
        p.transcribed_in, p.error_code, p.error_message, p.manifest_columns
    FROM prior p ANTI JOIN (SELECT audio_url FROM kept) l USING (audio_url)
    WHERE p.outcome = 'transcribed'
)
SELECT * FROM decided UNION ALL SELECT * FROM gone
"""  # noqa: S608  our own columns

_ONLY_FAILED = """
CREATE TABLE manifest AS
SELECT
    manifest_position AS line, file_id, audio_url, audio_etag AS etag,
    size_bytes, epoch(last_modified) AS modified_at, duration_ms, options_id, coalesce(r.residency, '') AS residency,
    CASE
        WHEN outcome = 'transcribed' THEN 'carried'
        WHEN options_id IS NULL OR options_id = '' THEN 'carried'  -- refused before it had options: can't be submitted
        WHEN can_retry THEN 'submit'
        WHEN $reprocess AND (chunk_id IS NULL OR chunk_id NOT IN (SELECT chunk_id FROM own)) THEN 'submit'
        ELSE 'carried'
    END AS disposition,
    transcribed_in, error_code, error_message, manifest_columns
FROM prior LEFT JOIN residencies r USING (chunk_id)
"""

_DIGESTED = "file_id || ' ' || disposition || ' ' || coalesce(residency, '') || chr(10)"


def decide(connection: duckdb.DuckDBPyConnection, *, reprocess: bool) -> None:
    """Make the table `manifest` from `lines`, `prior`, `own` and `elsewhere`: one row for each URL, with a disposition.

    It has `line` in the place of a position, which `write_manifest` gives. Nothing here needs all rows in memory at once:
    no window over all of them, and no NOT IN of something large, which DuckDB can't spill.
    """
    connection.execute(_DECIDE, {"reprocess": reprocess})


def distinct_lines(connection: duckdb.DuckDBPyConnection) -> int:
    """How many lines of the source are kept: the others repeat a URL that stood before."""
    (kept,) = one_row(connection, f"SELECT count(*) FROM (SELECT 1 FROM lines GROUP BY {_ONE_FILE})")  # noqa: S608
    return int(kept)


def decide_only_failed(connection: duckdb.DuckDBPyConnection, *, reprocess: bool) -> None:
    """Make the table `manifest` from `prior`, `own` and `residencies` (chunk_id, residency): submit what is failed or missing."""
    connection.execute(_ONLY_FAILED, {"reprocess": reprocess})


def write_manifest(connection: duckdb.DuckDBPyConnection, target: Path) -> str:
    """Write the table `manifest` in order and return the digest of its ids, dispositions and residencies.

    What is called `manifest` from then on is a view of the file.
    """
    digest = hashlib.blake2b(digest_size=16)
    columns = ", ".join(f'"{name}"' for name in MANIFEST.names[1:])
    query = f"SELECT {columns}, {_DIGESTED} AS digested FROM manifest ORDER BY line, audio_url"  # noqa: S608  our own names
    position = 0
    with pq.ParquetWriter(target, MANIFEST, compression="zstd") as writer:
        for batch in batches(connection, query):
            digest.update("".join(batch["digested"].to_pylist()).encode())
            positions = integers(np.arange(position, position + len(batch)), pa.int64())
            position += len(batch)
            rows = pa.Table.from_batches([batch.drop_columns(["digested"])])
            writer.write_table(rows.add_column(0, "position", positions).cast(MANIFEST))
    connection.execute("DROP TABLE manifest")
    connection.execute(f"CREATE VIEW manifest AS SELECT * FROM read_parquet('{target}')")  # noqa: S608  our own path
    return digest.hexdigest()
