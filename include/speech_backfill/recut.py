"""How files that were submitted before are cut again: never together once more where the service blamed them together.

A transcription that failed as a whole is halved, so that the bad file ends up alone; one that failed so for a reason that
passes is repeated whole, once. What was given up is repeated whole too, so that a late success of it serves all its files,
and away from its resource. Decides only; submits and places nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import duckdb
import msgspec
import pyarrow as pa

from speech_backfill.chunk_files import ChunkedFile
from speech_backfill.durations import audio_ms
from speech_backfill.error_classes import PASSING_MESSAGE, ErrorClass, OurCode, codes_of
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.plan.cut import CutChunk, CutFile, Limits, cut
from speech_backfill.settings import Settings
from speech_backfill.tables.columns import optional_integers, texts

COLUMNS = """m.options_id, coalesce(m.residency, '') AS residency, m.file_id, m.audio_url, m.etag, m.size_bytes, m.duration_ms,
       CASE WHEN c.most IS NULL THEN '' ELSE c.chunk_id || '-' || c.attempt END AS whole, c.most,
       CASE WHEN c.away OR lower(e.error_code) IN (SELECT code FROM trouble) THEN e.resource END AS away_from"""
"""What `recut` wants of a file *m* of the manifest with its earlier outcome *e* and that one's row *c* of `cuts`."""

UNTRIED_COLUMNS = """options_id, coalesce(residency, '') AS residency, file_id, audio_url, etag, size_bytes, duration_ms,
       '' AS whole, NULL::BIGINT AS most, NULL::VARCHAR AS away_from"""
"""The same of a file that has no earlier outcome."""

ORDER = "whole, away_from NULLS FIRST, m.options_id, m.residency, m.position"

_CUTS = """
CREATE TABLE cuts AS
SELECT chunk_id, attempt, away,
       CASE WHEN blamed OR (whole AND attempt > 1) THEN (files + 1) // 2 WHEN whole OR overdue THEN files END AS most
FROM (
    SELECT *, blamed OR (chunk_id, attempt) IN (SELECT (chunk_id, attempt) FROM failed) AS whole,
           overdue OR (NOT blamed AND trouble) AS away
    FROM (
        SELECT chunk_id, attempt, count(*) AS files,
               bool_or(code = $overdue) AS overdue,
               bool_or(code NOT IN (SELECT code FROM passing) AND code <> $purged AND NOT contains(message, $message)) AS blamed,
               bool_and(code IN (SELECT code FROM trouble)) AS trouble
        FROM tried GROUP BY ALL
    )
)
"""


@dataclass(frozen=True, slots=True)
class Recut:
    """A chunk, and the resource that it had better keep away from."""

    chunk: CutChunk
    away_from: str | None


def load_cuts(connection: duckdb.DuckDBPyConnection, ledger: Ledger, relation: str) -> None:
    """Make the table `cuts`: how large a transcription of the files of each earlier one may be, from the outcomes in *relation*.

    Where an outcome may be tried again although its code never passes, it was the transcription that was blamed, not
    the file; so much can be told without the ledger.
    """
    connection.execute(
        f"""CREATE TEMP VIEW tried AS
            SELECT chunk_id, attempt, lower(coalesce(error_code, '')) AS code, lower(coalesce(error_message, '')) AS message
            FROM {relation} WHERE can_retry AND outcome <> 'transcribed' AND chunk_id IS NOT NULL"""  # noqa: S608  our own name
    )
    for name, codes in (
        ("trouble", codes_of(ErrorClass.ELSEWHERE)),
        ("passing", codes_of(ErrorClass.ELSEWHERE) + codes_of(ErrorClass.AGAIN)),
    ):
        connection.register("some_codes", pa.table({"code": texts([one.lower() for one in codes])}))
        connection.execute(f"CREATE TABLE {name} AS SELECT code FROM some_codes")  # noqa: S608  our own name
        connection.unregister("some_codes")
    chunks = [row[0] for row in connection.execute("SELECT DISTINCT chunk_id FROM tried").fetchall()]
    failed = sorted(ledger.failed_as_a_whole(chunks))
    known = pa.table(
        {
            "chunk_id": texts([chunk for chunk, _ in failed]),
            "attempt": optional_integers([attempt for _, attempt in failed], pa.int32()),
        }
    )
    connection.register("failed", known)
    connection.execute(
        _CUTS,
        {
            "overdue": OurCode.OVERDUE.lower(),
            "purged": OurCode.RESULTS_PURGED.lower(),
            "message": PASSING_MESSAGE,
        },
    )
    connection.unregister("failed")


def recut(
    rows: Iterator[pa.RecordBatch], settings: Settings, *, salt: str = "", headers_read: Collection[str] = ()
) -> Iterator[Recut]:
    """Cut files that come with COLUMNS in ORDER, as the *settings* allow.

    *headers_read*: ids of those whose duration is from their header. Which are read hangs on how many there are and on what the
    account answered, and chunks must not: they are cut by the guess from their sizes.
    """
    limits = limits_of(settings, headers_read)
    for (_, most, away_from), group in groupby(_files(rows), key=lambda row: row[0]):
        files = (row[1] for row in group)
        for one in cut(files, replace(limits, files=min(limits.files, most or limits.files)), salt=salt):
            yield Recut(one, away_from)


def limits_of(settings: Settings, headers_read: Collection[str] = ()) -> Limits:
    """What one transcription may hold. Durations that nobody gave are guessed from sizes, so that they stay the same."""

    def ms_of(file: ChunkedFile) -> int:
        given = msgspec.structs.replace(file, duration_ms=None) if file.file_id in headers_read else file
        return audio_ms(given, settings)

    return Limits(
        files=settings.files_per_transcription,
        size_bytes=settings.bytes_per_transcription,
        audio_ms=settings.hours_per_transcription * 3_600_000,
        ms_of=ms_of,
    )


def _files(
    rows: Iterator[pa.RecordBatch],
) -> Iterator[tuple[tuple[str, int | None, str | None], CutFile]]:
    for batch in rows:
        for options_id, residency, file_id, url, etag, size_bytes, duration_ms, whole, most, away_from in zip(
            *(batch.column(number).to_pylist() for number in range(10)), strict=True
        ):
            file = ChunkedFile(file_id, url, etag, size_bytes, duration_ms)
            yield (whole, most, away_from), CutFile(options_id, file, residency)
