"""Plans say whether they reprocess; the epoch counter gives way to a comparison of claims."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("plans") as plans:
        plans.add_column(
            sa.Column(
                "reprocess",
                sa.Boolean(),
                nullable=False,
                server_default=sa.false(),
                comment="the run asked to pay again for what was done",
            )
        )
    op.drop_table("epochs")


def downgrade() -> None:
    op.create_table(
        "epochs",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "value",
            sa.BigInteger(),
            nullable=False,
            comment="moves with every committed plan, so that two planners notice each other",
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_epochs")),
    )
    with op.batch_alter_table("plans") as plans:
        plans.drop_column("reprocess")
