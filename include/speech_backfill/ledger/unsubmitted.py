"""What plans have still to submit: audio that no resource has yet, and that comes before that of a plan made now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container

import sqlalchemy as sa

from speech_backfill.ledger import schema
from speech_backfill.ledger.ledger import Ledger
from speech_backfill.ledger.records import PlanState, TranscriptionState


def unsubmitted_ms(ledger: Ledger, *, beside: str, but: Container[str]) -> dict[str, int]:
    """Milliseconds of audio, by residency, that open plans of other partitions than *beside* have still to submit.

    Each chunk counts once, however many plans stand for it, and those in *but* not at all. An open plan of *beside* itself is
    superseded by the next one. A plan that nobody works on any more counts until another one of its partition takes its place,
    and so does what a budget will not allow until that has been tried.
    """
    placed, made, held = schema.placements.c, schema.transcriptions.c, schema.chunks.c
    submitted = sa.exists().where(
        made.chunk_id == placed.chunk_id,
        made.attempt == placed.attempt,
        made.state != TranscriptionState.REFUSED,
    )
    query = (
        sa.select(held.chunk_id, held.residency, held.audio_ms)
        .select_from(schema.placements.join(schema.plans).join(schema.chunks))
        .where(
            schema.plans.c.state == PlanState.OPEN,
            schema.plans.c.partition != beside,
            placed.stopped.is_(None),
            ~submitted,
        )
        .distinct()
    )
    found: defaultdict[str, int] = defaultdict(int)
    with ledger.engine.connect() as connection:
        for row in connection.execute(query):
            if row.chunk_id not in but:
                found[row.residency] += row.audio_ms
    return dict(found)
