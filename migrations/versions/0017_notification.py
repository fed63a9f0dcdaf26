"""People told of studies that cannot wait: an outbox of its own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "notification",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("priority", sa.String(8), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", moment, nullable=True),
        sa.Column("rung_at", moment, nullable=True),
        sa.Column("lease_until", moment, nullable=True),
        sa.Column("fencing_token", sa.Integer(), nullable=False),
        sa.Column("last_answer", sa.String(), nullable=True),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("sent_at", moment, nullable=True),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["study.study_instance_uid"], name="fk_notification_study_instance_uid_study"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_notification_run_id_run"),
        sa.PrimaryKeyConstraint("id", name="pk_notification"),
        sa.UniqueConstraint(
            "study_instance_uid", "channel", "priority", name="uq_notification_study_instance_uid_channel_priority"
        ),
    )
    op.create_index("ix_notification_state_next_attempt_at", "notification", ["state", "next_attempt_at"])


def downgrade() -> None:
    """Drop it; what was not told is not told any more."""
    op.drop_table("notification")
