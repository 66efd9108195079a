"""Alembic's environment and steps for the ledger."""
