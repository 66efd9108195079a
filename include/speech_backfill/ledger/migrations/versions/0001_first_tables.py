"""First tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "chunks",
        sa.Column("chunk_id", sa.Text(), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False, comment="the partition that planned it first"),
        sa.Column("options", sa.Text(), nullable=False, comment="canonical JSON"),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column(
            "audio_ms",
            sa.BigInteger(),
            nullable=False,
            comment="from the manifest, or estimated from the size",
        ),
        sa.Column("first_url", sa.Text(), nullable=False, comment="smallest URL in it"),
        sa.Column("last_url", sa.Text(), nullable=False, comment="largest URL in it"),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("chunk_id", name=op.f("pk_chunks")),
    )
    op.create_table(
        "duplicates",
        sa.Column("transcription_id", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("chunk_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("found_at", sa.Float(), nullable=False),
        sa.Column("billed_ms", sa.BigInteger(), nullable=True),
        sa.Column("deleted_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("transcription_id", name=op.f("pk_duplicates")),
    )
    op.create_index(op.f("ix_duplicates_chunk_id"), "duplicates", ["chunk_id"], unique=False)
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
    op.create_table(
        "partitions",
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, comment="counts publications"),
        sa.Column("plan_id", sa.Text(), nullable=False, comment="the plan that was published last"),
        sa.Column("published_at", sa.Float(), nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("transcribed", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("missing", sa.BigInteger(), nullable=False),
        sa.Column(
            "can_retry",
            sa.BigInteger(),
            nullable=False,
            comment="failed or missing files that a repair may cure",
        ),
        sa.Column(
            "first_url",
            sa.Text(),
            nullable=False,
            comment="smallest URL in it; other plans skip what can't overlap",
        ),
        sa.Column("last_url", sa.Text(), nullable=False, comment="largest URL in it"),
        sa.PrimaryKeyConstraint("partition", name=op.f("pk_partitions")),
    )
    op.create_table(
        "plans",
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("run_key", sa.Text(), nullable=False, comment="who asked: an Airflow run id, or the CLI"),
        sa.Column("state", sa.Text(), nullable=False, comment="open, published or superseded"),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column(
            "budget_ms",
            sa.BigInteger(),
            nullable=True,
            comment="audio that may be submitted, all rounds together",
        ),
        sa.PrimaryKeyConstraint("plan_id", name=op.f("pk_plans")),
    )
    op.create_index(op.f("ix_plans_partition"), "plans", ["partition"], unique=False)
    op.create_table(
        "resources",
        sa.Column(
            "resource",
            sa.Text(),
            nullable=False,
            comment="the row is locked while a place in the window is taken",
        ),
        sa.Column("window", sa.Integer(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("resource", name=op.f("pk_resources")),
    )
    op.create_table(
        "placements",
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False, comment="0: first submission, 1 and up: repairs"),
        sa.Column("chunk_id", sa.Text(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False, comment="order within the shard"),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["chunk_id"], ["chunks.chunk_id"], name=op.f("fk_placements_chunk_id")),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.plan_id"], name=op.f("fk_placements_plan_id")),
        sa.PrimaryKeyConstraint("plan_id", "round", "chunk_id", name=op.f("pk_placements")),
    )
    op.create_table(
        "transcriptions",
        sa.Column("chunk_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False, comment="sent as displayName"),
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column(
            "state", sa.Text(), nullable=False, comment="intended, submitted, ended, given_up or refused"
        ),
        sa.Column("audio_ms", sa.BigInteger(), nullable=False, comment="what was reserved of the budget"),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Float(), nullable=False),
        sa.Column("intent_at", sa.Float(), nullable=False, comment="first intent: look-ups start here"),
        sa.Column(
            "last_post_at", sa.Float(), nullable=True, comment="when a submission was last put on the wire"
        ),
        sa.Column("posts", sa.Integer(), nullable=False),
        sa.Column("submitted_at", sa.Float(), nullable=True),
        sa.Column(
            "adopted", sa.Boolean(), nullable=False, comment="found at the service after a lost answer"
        ),
        sa.Column("transcription_id", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True, comment="Azure's last word"),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column(
            "billed_ms", sa.BigInteger(), nullable=True, comment="the service's own durationMilliseconds"
        ),
        sa.Column(
            "settled_at",
            sa.Float(),
            nullable=True,
            comment="its results are accounted for; the next attempt may come",
        ),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["chunk_id"], ["chunks.chunk_id"], name=op.f("fk_transcriptions_chunk_id")),
        sa.PrimaryKeyConstraint("chunk_id", "attempt", name=op.f("pk_transcriptions")),
        sa.UniqueConstraint("token", name=op.f("uq_transcriptions_token")),
        sa.UniqueConstraint("transcription_id", name=op.f("uq_transcriptions_transcription_id")),
    )
    op.create_index(op.f("ix_transcriptions_plan_id"), "transcriptions", ["plan_id"], unique=False)
    op.create_index(op.f("ix_transcriptions_resource"), "transcriptions", ["resource"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_transcriptions_resource"), table_name="transcriptions")
    op.drop_index(op.f("ix_transcriptions_plan_id"), table_name="transcriptions")
    op.drop_table("transcriptions")
    op.drop_table("placements")
    op.drop_table("resources")
    op.drop_index(op.f("ix_plans_partition"), table_name="plans")
    op.drop_table("plans")
    op.drop_table("partitions")
    op.drop_table("epochs")
    op.drop_index(op.f("ix_duplicates_chunk_id"), table_name="duplicates")
    op.drop_table("duplicates")
    op.drop_table("chunks")
