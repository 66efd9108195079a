"""Residency, health and allowance of resources; shared budgets; the line of shards that wait for room."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "budgets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "limit_ms",
            sa.BigInteger(),
            nullable=True,
            comment="audio that may be submitted for plans of this name; null: no limit any more",
        ),
        sa.Column("set_by", sa.Text(), nullable=False, comment="the run that set it last, or the command"),
        sa.Column("set_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_budgets")),
    )
    op.create_table(
        "line",
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False, comment="first come, first served"),
        sa.Column("chunks", sa.Integer(), nullable=False, comment="how many it still has to submit"),
        sa.Column(
            "back_at",
            sa.Float(),
            nullable=False,
            comment="when it comes back at the latest; a place whose moment has passed counts for nothing",
        ),
        sa.PrimaryKeyConstraint("plan_id", "round", "shard", name=op.f("pk_line")),
    )
    op.create_index(op.f("ix_transcriptions_state"), "transcriptions", ["state"], unique=False)
    op.create_index(op.f("ix_transcriptions_ended_at"), "transcriptions", ["ended_at"], unique=False)
    with op.batch_alter_table("chunks") as chunks:
        chunks.add_column(
            sa.Column(
                "residency",
                sa.Text(),
                nullable=False,
                server_default="",
                comment="only resources of this tag may have it; empty: any",
            )
        )
    with op.batch_alter_table("placements") as placements:
        placements.add_column(
            sa.Column(
                "stopped",
                sa.Text(),
                nullable=True,
                comment="why it was not submitted: budget; null while it may be",
            )
        )
    with op.batch_alter_table("resources") as resources:
        resources.add_column(sa.Column("residency", sa.Text(), nullable=False, server_default=""))
        resources.add_column(
            sa.Column(
                "aside_until",
                sa.Float(),
                nullable=False,
                server_default="0",
                comment="nothing is submitted to it before",
            )
        )
        resources.add_column(
            sa.Column(
                "troubles", sa.Integer(), nullable=False, server_default="0", comment="one after the other"
            )
        )
        resources.add_column(sa.Column("problem", sa.Text(), nullable=True, comment="why it is set aside"))
        resources.add_column(
            sa.Column(
                "allowance_at",
                sa.Float(),
                nullable=False,
                server_default="0",
                comment="when all requests allowed so far would have been sent at the steady rate",
            )
        )
    with op.batch_alter_table("plans") as plans:
        plans.add_column(sa.Column("budget", sa.Text(), nullable=True, comment="the name of its budget"))
    op.execute(
        "INSERT INTO budgets (name, limit_ms, set_by, set_at) "
        "SELECT partition, max(budget_ms), max(run_key), max(created_at) FROM plans "
        "WHERE budget_ms IS NOT NULL GROUP BY partition"
    )
    op.execute("UPDATE plans SET budget = partition WHERE budget_ms IS NOT NULL")
    with op.batch_alter_table("plans") as plans:
        plans.alter_column(
            "budget_ms",
            existing_type=sa.BigInteger(),
            existing_nullable=True,
            comment="the limit that its run asked for; budgets has the one that counts",
            existing_comment="audio that may be submitted, all rounds together",
        )


def downgrade() -> None:
    with op.batch_alter_table("plans") as plans:
        plans.drop_column("budget")
    with op.batch_alter_table("resources") as resources:
        for name in ("residency", "aside_until", "troubles", "problem", "allowance_at"):
            resources.drop_column(name)
    with op.batch_alter_table("placements") as placements:
        placements.drop_column("stopped")
    with op.batch_alter_table("chunks") as chunks:
        chunks.drop_column("residency")
    op.drop_index(op.f("ix_transcriptions_ended_at"), table_name="transcriptions")
    op.drop_index(op.f("ix_transcriptions_state"), table_name="transcriptions")
    op.drop_table("line")
    op.drop_table("budgets")
