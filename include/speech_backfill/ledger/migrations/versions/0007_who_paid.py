"""Which budget paid for a transcription stands beside it; a line for each residency."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_LINE = (
    sa.Column("since", sa.Float(), nullable=False, comment="first come, first served"),
    sa.Column("chunks", sa.Integer(), nullable=False, comment="how many it still has to submit"),
    sa.Column(
        "back_at",
        sa.Float(),
        nullable=False,
        comment="when it comes back at the latest; a place whose moment has passed counts for nothing",
    ),
)


def upgrade() -> None:
    with op.batch_alter_table("transcriptions") as transcriptions:
        transcriptions.add_column(
            sa.Column(
                "budget",
                sa.Text(),
                nullable=True,
                comment="the budget that it was reserved from: it stays spent there, whatever its plan names later",
            )
        )
        transcriptions.create_index(op.f("ix_transcriptions_budget"), ["budget"], unique=False)
    op.execute(
        "UPDATE transcriptions SET budget = "
        "(SELECT plans.budget FROM plans WHERE plans.plan_id = transcriptions.plan_id)"
    )
    # Nobody's claim is lost: whoever waits takes a place anew when it looks again.
    op.drop_table("line")
    op.create_table(
        "line",
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column(
            "residency",
            sa.Text(),
            nullable=False,
            comment="what its chunks ask for: only those wait for each other",
        ),
        *(one._copy() for one in _LINE),
        sa.PrimaryKeyConstraint("plan_id", "round", "shard", "residency", name=op.f("pk_line")),
    )


def downgrade() -> None:
    op.drop_table("line")
    op.create_table(
        "line",
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        *(one._copy() for one in _LINE),
        sa.PrimaryKeyConstraint("plan_id", "round", "shard", name=op.f("pk_line")),
    )
    op.drop_index(op.f("ix_transcriptions_budget"), table_name="transcriptions")
    with op.batch_alter_table("transcriptions") as transcriptions:
        transcriptions.drop_column("budget")
