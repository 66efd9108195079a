"""The chunks of a plan: those that are claimed already and hold files of ours, then the rest of the files freshly cut."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import duckdb
import numpy as np
import pyarrow as pa

from speech_backfill.chunk_files import file_ids, write_chunk
from speech_backfill.durations import NO_RATES, audio_ms
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import ChunkRecord
from speech_backfill.model import TranscriptionOptions
from speech_backfill.plan.cut import CutChunk
from speech_backfill.plan.dispositions import KEY
from speech_backfill.recut import COLUMNS, ORDER, UNTRIED_COLUMNS, load_cuts, recut
from speech_backfill.relations import THREADS, batches, one_row
from speech_backfill.settings import Settings
from speech_backfill.store import Store
from speech_backfill.tables.columns import integers

_CHUNKS_AT_ONCE = 100
"""Claimed chunks whose file ids are held at a time: a hundred thousand ids at most."""

_CLAIMS = f"""
CREATE TABLE claims AS
SELECT file, min(number) AS number
FROM candidates SEMI JOIN (SELECT {KEY.format("file_id")} AS file FROM manifest WHERE disposition = 'submit') USING (file)
GROUP BY file
"""  # noqa: S608  our own columns

# Only what `recut` asks of an earlier outcome, and in a table of its own: a join with all that is published would have to
# hold either that or the manifest.
_RETRIED = f"""
CREATE TABLE retried AS
SELECT {KEY.format("file_id")} AS file, chunk_id, attempt, error_code, resource FROM prior WHERE can_retry
"""  # noqa: S608  our own columns

# Joined first and sorted then, in a statement each: the hash tables of the one and the rows of the other don't fit together.
_JOINED = f"""
CREATE TABLE to_cut AS
SELECT m.position, {COLUMNS}
FROM (SELECT *, {KEY.format("file_id")} AS file FROM manifest WHERE disposition = 'submit') m ANTI JOIN claims USING (file)
LEFT JOIN retried e ON e.file = m.file
LEFT JOIN cuts c ON c.chunk_id = e.chunk_id AND c.attempt = e.attempt
"""  # noqa: S608  our own columns

_SORTED = f"SELECT * EXCLUDE (position) FROM to_cut m ORDER BY {ORDER}"  # noqa: S608  our own columns

# The usual plan: nothing is claimed and nothing was tried before. Its files stand in ORDER already but for what they ask
# for, so each kind is read for itself: sorting a million rows would take most of the memory that a plan has.
_KINDS = "SELECT DISTINCT options_id, residency FROM manifest WHERE disposition = 'submit' ORDER BY options_id, residency"

_OF_KIND = f"""
SELECT {UNTRIED_COLUMNS} FROM manifest
WHERE disposition = 'submit' AND options_id IS NOT DISTINCT FROM ? AND residency IS NOT DISTINCT FROM ?
"""  # noqa: S608  our own columns

_MOST_KINDS = 32
"""Of more, the manifest would be read too often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunking:
    """How files become chunks of one plan."""

    ledger: Ledger
    store: Store
    settings: Settings
    partition: str
    options: Mapping[str, TranscriptionOptions]
    """By id."""
    salt: str
    seconds_per_byte: Mapping[str, float]
    headers_read: Collection[str]
    """Ids of the files whose duration is from their header."""
    dry_run: bool
    """Whether no chunk is written to the store."""

    def chunks(
        self, connection: duckdb.DuckDBPyConnection, claimed: Sequence[ChunkRecord]
    ) -> tuple[list[tuple[ChunkRecord, str | None]], int]:
        """Those of *claimed* that hold files to submit, then the rest freshly cut; and how many files were claimed.

        With each chunk stands the resource that it had better keep away from.
        """
        taken, under_way = claimed_here(connection, claimed, self._file_ids)
        chunks: list[tuple[ChunkRecord, str | None]] = [(one, None) for one in taken]
        load_cuts(connection, self.ledger, "prior")
        connection.execute(_RETRIED)
        to_cut = _to_cut(connection)
        for one in recut(to_cut, self.settings, salt=self.salt, headers_read=self.headers_read):
            if not self.dry_run:
                write_chunk(self.store, one.chunk.chunk_id, list(one.chunk.files))
            record = chunk_record(
                one.chunk,
                partition=self.partition,
                options=self.options[one.chunk.options_id],
                settings=self.settings,
                seconds_per_byte=self.seconds_per_byte,
            )
            chunks.append((record, one.away_from))
        return chunks, under_way

    def _file_ids(self, chunk: ChunkRecord) -> pa.Table:
        return file_ids(self.store, chunk.chunk_id)


def _to_cut(connection: duckdb.DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
    """The files to cut, as `recut` wants them."""
    known, kinds = one_row(
        connection,
        f"SELECT (SELECT count(*) FROM claims) + (SELECT count(*) FROM retried), (SELECT count(*) FROM ({_KINDS}))",  # noqa: S608  ours
    )
    if known or kinds > _MOST_KINDS:
        # Wide rows again, as in `frozen`: every further thread would hold its own.
        connection.execute("SET threads = 1")
        connection.execute(_JOINED)
        yield from batches(connection, _SORTED)
        connection.execute(f"SET threads = {THREADS}; DROP TABLE to_cut")
        return
    for kind in connection.execute(_KINDS).fetchall():
        yield from batches(connection, _OF_KIND, kind)


def claimed_here(
    connection: duckdb.DuckDBPyConnection,
    claimed: Sequence[ChunkRecord],
    ids_of: Callable[[ChunkRecord], pa.Table],
) -> tuple[list[ChunkRecord], int]:
    """Those of *claimed* that hold files to submit, and how many; fills the table `claims` (file, number of its chunk).

    A file that several chunks hold is the first one's. The manifest is gone through once, however many chunks there are.
    """
    connection.execute("CREATE TABLE candidates (file UHUGEINT, number BIGINT)")
    numbered = iter(enumerate(claimed))
    while some := list(islice(numbered, _CHUNKS_AT_ONCE)):
        connection.register("some_ids", pa.concat_tables(_numbered_ids(some, ids_of)))
        connection.execute(f"INSERT INTO candidates SELECT {KEY.format('file_id')}, number FROM some_ids")  # noqa: S608  our own
        connection.unregister("some_ids")
    connection.execute(_CLAIMS)
    connection.execute("DROP TABLE candidates")
    (total,) = one_row(connection, "SELECT count(*) FROM claims")
    found = connection.execute("SELECT DISTINCT number FROM claims ORDER BY number").fetchall()
    return [claimed[number] for (number,) in found], int(total)


def _numbered_ids(
    some: Sequence[tuple[int, ChunkRecord]], ids_of: Callable[[ChunkRecord], pa.Table]
) -> Iterator[pa.Table]:
    for number, chunk in some:
        ids = ids_of(chunk)
        yield ids.append_column("number", integers(np.full(len(ids), number), pa.int64()))


def chunk_record(
    one: CutChunk,
    *,
    partition: str,
    options: TranscriptionOptions,
    settings: Settings,
    seconds_per_byte: Mapping[str, float] = NO_RATES,
) -> ChunkRecord:
    """What the ledger keeps of a chunk: sums and bounds; unknown durations as *seconds_per_byte* has them, else guessed."""
    urls = [file.url for file in one.files]
    return ChunkRecord(
        chunk_id=one.chunk_id,
        partition=partition,
        options=options,
        files=len(one.files),
        size_bytes=sum(file.size_bytes or 0 for file in one.files),
        audio_ms=sum(audio_ms(file, settings, seconds_per_byte=seconds_per_byte) for file in one.files),
        first_url=min(urls),
        last_url=max(urls),
        residency=one.residency,
    )
