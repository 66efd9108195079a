"""Placements are found by their chunk: what a budget has spent is asked before each submission."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_placements_chunk_id_attempt", "placements", ["chunk_id", "attempt"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_placements_chunk_id_attempt", table_name="placements")
