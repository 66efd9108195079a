"""Placements say which resource is to be avoided."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("placements") as placements:
        placements.add_column(
            sa.Column(
                "away_from",
                sa.Text(),
                nullable=True,
                comment="the resource that was in trouble with these files: another one, if there is one",
            )
        )


def downgrade() -> None:
    with op.batch_alter_table("placements") as placements:
        placements.drop_column("away_from")
