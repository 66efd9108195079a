"""Transcriptions say which endpoint they were submitted to: a connection may point elsewhere later."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("transcriptions") as transcriptions:
        transcriptions.add_column(
            sa.Column(
                "endpoint",
                sa.Text(),
                nullable=True,
                comment="where it was submitted to, or found: the connection may point elsewhere by now",
            )
        )


def downgrade() -> None:
    with op.batch_alter_table("transcriptions") as transcriptions:
        transcriptions.drop_column("endpoint")
