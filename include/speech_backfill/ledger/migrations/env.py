"""Alembic's entry point: runs the steps on the connection that ledger/engine.py hands over."""

from __future__ import annotations

from alembic import context

from speech_backfill.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="speech_backfill_version",
    render_as_batch=True,
)
context.run_migrations()
