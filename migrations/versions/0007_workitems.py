"""Workitems of the UPS service, who hears of them, and what waits to be told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the three tables."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "workitem",
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=True),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("priority", sa.String(16), nullable=False),
        sa.Column("transaction_uid", sa.String(64), nullable=True),
        sa.Column("performer_ae_title", sa.String(16), nullable=True),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("claimed_at", moment, nullable=True),
        sa.Column("closed_at", moment, nullable=True),
        sa.Column("closed_by_us", sa.Boolean(), nullable=False),
        sa.Column("noted_state", sa.String(16), nullable=True),
        sa.Column("noted_priority", sa.String(8), nullable=True),
        sa.Column("noted_run_id", sa.Integer(), nullable=True),
        sa.Column("noted_read_at", moment, nullable=True),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["study.study_instance_uid"], name="fk_workitem_study_instance_uid_study"
        ),
        sa.PrimaryKeyConstraint("sop_instance_uid", name="pk_workitem"),
        sa.UniqueConstraint("study_instance_uid", "ordinal", name="uq_workitem_study_instance_uid_ordinal"),
    )
    op.create_index("ix_workitem_state_priority", "workitem", ["state", "priority"])
    op.create_index("ix_workitem_closed_at", "workitem", ["closed_at"])
    op.create_table(
        "workitem_subscription",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("receiving_ae_title", sa.String(16), nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("deletion_lock", sa.Boolean(), nullable=False),
        sa.Column("match_keys", sa.JSON(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workitem_subscription"),
        sa.UniqueConstraint(
            "receiving_ae_title",
            "sop_instance_uid",
            name="uq_workitem_subscription_receiving_ae_title_sop_instance_uid",
        ),
    )
    op.create_index("ix_workitem_subscription_sop_instance_uid", "workitem_subscription", ["sop_instance_uid"])
    op.create_table(
        "workitem_event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("receiving_ae_title", sa.String(16), nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("event_type", sa.Integer(), nullable=False),
        sa.Column("information", sa.JSON(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", moment, nullable=True),
        sa.Column("done_at", moment, nullable=True),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_workitem_event"),
    )
    op.create_index(
        "ix_workitem_event_receiving_ae_title_done_at_id", "workitem_event", ["receiving_ae_title", "done_at", "id"]
    )


def downgrade() -> None:
    """Drop them; what was claimed and who subscribed is lost."""
    for table in ("workitem_event", "workitem_subscription", "workitem"):
        op.drop_table(table)
