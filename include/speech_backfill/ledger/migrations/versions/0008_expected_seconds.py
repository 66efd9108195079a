"""How long a region was expected to need stands beside each transcription: its deadline counts from there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("transcriptions") as transcriptions:
        transcriptions.add_column(
            sa.Column(
                "expected_seconds",
                sa.Float(),
                nullable=True,
                comment="what its region was expected to need for it and what stood before it, when it was reserved",
            )
        )


def downgrade() -> None:
    with op.batch_alter_table("transcriptions") as transcriptions:
        transcriptions.drop_column("expected_seconds")
