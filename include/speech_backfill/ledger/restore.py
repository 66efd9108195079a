"""Writing what was found elsewhere into a new or restored ledger: adds what is missing, never takes away.

The only rows it changes are those that believe a submission was refused which the service has after all.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from speech_backfill.ledger import schema
from speech_backfill.ledger.engine import insert_into
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import ChunkRecord, PlanRecord, TranscriptionRecord, TranscriptionState

_T = schema.transcriptions


def restore_plan(ledger: Ledger, plan: PlanRecord) -> None:
    """Add *plan* unless it is known."""
    values = {name: getattr(plan, name) for name in PlanRecord.__dataclass_fields__}
    with ledger.engine.begin() as connection:
        connection.execute(insert_into(ledger.engine, schema.plans).values(**values).on_conflict_do_nothing())


def restore_chunk(ledger: Ledger, chunk: ChunkRecord, transcriptions: Iterable[TranscriptionRecord]) -> int:
    """Add *chunk* and those of its *transcriptions* that are not known; returns how many were added or put right."""
    added = 0
    values = {name: getattr(chunk, name) for name in ChunkRecord.__dataclass_fields__}
    row = values | {"options": chunk.options.to_json(), "created_at": ledger.clock()}
    with ledger.engine.begin() as connection:
        connection.execute(insert_into(ledger.engine, schema.chunks).values(**row).on_conflict_do_nothing())
        for one in transcriptions:
            fields = {name: getattr(one, name) for name in TranscriptionRecord.__dataclass_fields__}
            if one.budget is None:
                fields["budget"] = _budget_of_plan(one.plan_id)
            # psycopg has no row count for an INSERT … ON CONFLICT: what was really inserted is what comes back.
            insert = insert_into(ledger.engine, _T).values(**fields).on_conflict_do_nothing()
            added += len(connection.execute(insert.returning(_T.c.attempt)).all())
            if one.transcription_id is not None:
                added += connection.execute(
                    _T.update()
                    .where(
                        sa.and_(_T.c.chunk_id == one.chunk_id, _T.c.attempt == one.attempt),
                        _T.c.state == TranscriptionState.REFUSED,
                    )
                    # What the row knows of who asked and who paid stands where the service can't tell.
                    .values(**{name: value for name, value in fields.items() if name not in _WHO} | _who(one))
                ).rowcount
    return added


_WHO = ("plan_id", "budget")


def _who(found: TranscriptionRecord) -> dict[str, str]:
    return {name: value for name in _WHO if (value := getattr(found, name))}


def _budget_of_plan(plan_id: str) -> sa.ScalarSelect[str | None]:
    """What a transcription of this plan was paid from, as far as the plan is known again."""
    return sa.select(schema.plans.c.budget).where(schema.plans.c.plan_id == plan_id).scalar_subquery()
