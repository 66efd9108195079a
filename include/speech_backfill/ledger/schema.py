"""The ledger's tables, for SQLite and PostgreSQL alike. Times are seconds since 1970, UTC.

migrations/versions holds the steps that lead to this state; a test compares the two.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)

partitions = sa.Table(
    "partitions",
    metadata,
    sa.Column("partition", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False, comment="counts publications"),
    sa.Column("plan_id", sa.Text, nullable=False, comment="the plan that was published last"),
    sa.Column("published_at", sa.Float, nullable=False),
    sa.Column("files", sa.BigInteger, nullable=False),
    sa.Column("transcribed", sa.BigInteger, nullable=False),
    sa.Column("failed", sa.BigInteger, nullable=False),
    sa.Column("missing", sa.BigInteger, nullable=False),
    sa.Column(
        "can_retry", sa.BigInteger, nullable=False, comment="failed or missing files that a repair may cure"
    ),
    sa.Column(
        "first_url",
        sa.Text,
        nullable=False,
        comment="smallest URL in it; other plans skip what can't overlap",
    ),
    sa.Column("last_url", sa.Text, nullable=False, comment="largest URL in it"),
)

plans = sa.Table(
    "plans",
    metadata,
    sa.Column("plan_id", sa.Text, primary_key=True),
    sa.Column("partition", sa.Text, nullable=False, index=True),
    sa.Column("run_key", sa.Text, nullable=False, comment="who asked: an Airflow run id, or the CLI"),
    sa.Column("state", sa.Text, nullable=False, comment="open, published or superseded"),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("files", sa.BigInteger, nullable=False),
    sa.Column(
        "budget_ms",
        sa.BigInteger,
        nullable=True,
        comment="the limit that its run asked for; budgets has the one that counts",
    ),
    sa.Column(
        "reprocess",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="the run asked to pay again for what was done",
    ),
    sa.Column("budget", sa.Text, nullable=True, comment="the name of its budget"),
)

chunks = sa.Table(
    "chunks",
    metadata,
    sa.Column("chunk_id", sa.Text, primary_key=True),
    sa.Column("partition", sa.Text, nullable=False, comment="the partition that planned it first"),
    sa.Column("options", sa.Text, nullable=False, comment="canonical JSON"),
    sa.Column("files", sa.Integer, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column(
        "audio_ms", sa.BigInteger, nullable=False, comment="from the manifest, or estimated from the size"
    ),
    sa.Column("first_url", sa.Text, nullable=False, comment="smallest URL in it"),
    sa.Column("last_url", sa.Text, nullable=False, comment="largest URL in it"),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column(
        "residency",
        sa.Text,
        nullable=False,
        server_default="",
        comment="only resources of this tag may have it; empty: any",
    ),
)

placements = sa.Table(
    "placements",
    metadata,
    sa.Column("plan_id", sa.Text, sa.ForeignKey("plans.plan_id"), primary_key=True),
    sa.Column("round", sa.Integer, primary_key=True, comment="0: first submission, 1 and up: repairs"),
    sa.Column("chunk_id", sa.Text, sa.ForeignKey("chunks.chunk_id"), primary_key=True),
    sa.Column("shard", sa.Integer, nullable=False),
    sa.Column("ordinal", sa.Integer, nullable=False, comment="order within the shard"),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column(
        "away_from",
        sa.Text,
        nullable=True,
        comment="the resource that was in trouble with these files: another one, if there is one",
    ),
    sa.Column(
        "stopped",
        sa.Text,
        nullable=True,
        comment="why it was not submitted: budget; null while it may be",
    ),
    # Budgets ask for each transcription which plans stand for it; the primary key begins with the plan.
    sa.Index("ix_placements_chunk_id_attempt", "chunk_id", "attempt"),
)

transcriptions = sa.Table(
    "transcriptions",
    metadata,
    sa.Column("chunk_id", sa.Text, sa.ForeignKey("chunks.chunk_id"), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("token", sa.Text, nullable=False, unique=True, comment="sent as displayName"),
    sa.Column("plan_id", sa.Text, nullable=False, index=True),
    sa.Column("resource", sa.Text, nullable=False, index=True),
    sa.Column(
        "state",
        sa.Text,
        nullable=False,
        index=True,
        comment="intended, submitted, ended, given_up or refused",
    ),
    sa.Column("audio_ms", sa.BigInteger, nullable=False, comment="what was reserved of the budget"),
    sa.Column("lease_owner", sa.Text, nullable=True),
    sa.Column("lease_until", sa.Float, nullable=False, default=0.0),
    sa.Column("intent_at", sa.Float, nullable=False, comment="first intent: look-ups start here"),
    sa.Column("last_post_at", sa.Float, nullable=True, comment="when a submission was last put on the wire"),
    sa.Column("posts", sa.Integer, nullable=False, default=0),
    sa.Column("submitted_at", sa.Float, nullable=True),
    sa.Column(
        "adopted",
        sa.Boolean,
        nullable=False,
        default=False,
        comment="found at the service after a lost answer",
    ),
    sa.Column("transcription_id", sa.Text, nullable=True, unique=True),
    sa.Column("status", sa.Text, nullable=True, comment="Azure's last word"),
    sa.Column("ended_at", sa.Float, nullable=True, index=True),
    sa.Column("billed_ms", sa.BigInteger, nullable=True, comment="the service's own durationMilliseconds"),
    sa.Column(
        "settled_at",
        sa.Float,
        nullable=True,
        comment="its results are accounted for; the next attempt may come",
    ),
    sa.Column("problem", sa.Text, nullable=True),
    sa.Column(
        "endpoint",
        sa.Text,
        nullable=True,
        comment="where it was submitted to, or found: the connection may point elsewhere by now",
    ),
    sa.Column(
        "budget",
        sa.Text,
        nullable=True,
        index=True,
        comment="the budget that it was reserved from: it stays spent there, whatever its plan names later",
    ),
    sa.Column(
        "expected_seconds",
        sa.Float,
        nullable=True,
        comment="what its region was expected to need for it and what stood before it, when it was reserved",
    ),
)

duplicates = sa.Table(
    "duplicates",
    metadata,
    sa.Column("transcription_id", sa.Text, primary_key=True),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("chunk_id", sa.Text, nullable=False, index=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("found_at", sa.Float, nullable=False),
    sa.Column("billed_ms", sa.BigInteger, nullable=True),
    sa.Column("deleted_at", sa.Float, nullable=True),
)

resources = sa.Table(
    "resources",
    metadata,
    sa.Column(
        "resource",
        sa.Text,
        primary_key=True,
        comment="the row is locked while a place in the window is taken",
    ),
    sa.Column("window", sa.Integer, nullable=False),
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("residency", sa.Text, nullable=False, server_default=""),
    sa.Column(
        "aside_until",
        sa.Float,
        nullable=False,
        server_default="0",
        comment="nothing is submitted to it before",
    ),
    sa.Column("troubles", sa.Integer, nullable=False, server_default="0", comment="one after the other"),
    sa.Column("problem", sa.Text, nullable=True, comment="why it is set aside"),
    sa.Column(
        "allowance_at",
        sa.Float,
        nullable=False,
        server_default="0",
        comment="when all requests allowed so far would have been sent at the steady rate",
    ),
)

budgets = sa.Table(
    "budgets",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column(
        "limit_ms",
        sa.BigInteger,
        nullable=True,
        comment="audio that may be submitted for plans of this name; null: no limit any more",
    ),
    sa.Column("set_by", sa.Text, nullable=False, comment="the run that set it last, or the command"),
    sa.Column("set_at", sa.Float, nullable=False),
)

line = sa.Table(
    "line",
    metadata,
    sa.Column("plan_id", sa.Text, primary_key=True),
    sa.Column("round", sa.Integer, primary_key=True),
    sa.Column("shard", sa.Integer, primary_key=True),
    sa.Column(
        "residency",
        sa.Text,
        primary_key=True,
        comment="what its chunks ask for: only those wait for each other",
    ),
    sa.Column("since", sa.Float, nullable=False, comment="first come, first served"),
    sa.Column("chunks", sa.Integer, nullable=False, comment="how many it still has to submit"),
    sa.Column(
        "back_at",
        sa.Float,
        nullable=False,
        comment="when it comes back at the latest; a place whose moment has passed counts for nothing",
    ),
)
