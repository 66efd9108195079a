"""Rows of placements and transcriptions inside a transaction, for those who reserve and those who record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from speech_backfill.ledger import schema
from speech_backfill.ledger.engine import locked
from speech_backfill.ledger.records import Placement, TranscriptionRecord, TranscriptionState

_P, _T = schema.placements, schema.transcriptions


def of_place(placement: Placement) -> sa.ColumnElement[bool]:
    """The row of *placement*."""
    return sa.and_(
        _P.c.plan_id == placement.plan_id,
        _P.c.round == placement.round,
        _P.c.chunk_id == placement.chunk.chunk_id,
    )


def standing(connection: sa.Connection, placement: Placement) -> Placement:
    """*placement* as it stands now: another worker may have taken a late success, or have stopped it."""
    row = connection.execute(sa.select(_P.c.attempt, _P.c.stopped).where(of_place(placement))).one_or_none()
    if row is None:
        return placement
    return replace(placement, attempt=int(row.attempt), stopped=row.stopped)


def found_row(connection: sa.Connection, placement: Placement) -> TranscriptionRecord | None:
    """The transcription of the placement's attempt."""
    query = sa.select(_T).where(_T.c.chunk_id == placement.chunk.chunk_id, _T.c.attempt == placement.attempt)
    row = connection.execute(query).one_or_none()
    return None if row is None else record(row)


def locked_row(
    connection: sa.Connection, engine: sa.Engine, placement: Placement
) -> TranscriptionRecord | None:
    """The same, and nobody else makes or changes one until the transaction ends."""
    # The chunk's own row exists before any attempt at it: locking it closes the gap before the insert.
    chunk = sa.select(schema.chunks.c.chunk_id).where(schema.chunks.c.chunk_id == placement.chunk.chunk_id)
    connection.execute(locked(engine, chunk))
    return found_row(connection, placement)


def record(row: sa.Row[Any]) -> TranscriptionRecord:
    """A row of `transcriptions` as its record."""
    values = dict(row._mapping)
    return TranscriptionRecord(**{**values, "state": TranscriptionState(values["state"])})
