"""Orders to analyse archived studies again, and the studies of each."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the two tables."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "backfill",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("ordered_at", moment, nullable=False),
        sa.Column("ordered_by", sa.String(), nullable=False),
        sa.Column("since", moment, nullable=False),
        sa.Column("until", moment, nullable=False),
        sa.Column("open_ended", sa.Boolean(), nullable=False),
        sa.Column("bundle", sa.String(), nullable=True),
        sa.Column("source", sa.String(), nullable=True),
        sa.Column("finding", sa.String(32), nullable=True),
        sa.Column("aside", sa.Boolean(), nullable=False),
        sa.Column("listed_time", moment, nullable=True),
        sa.Column("listed_study", sa.String(64), nullable=True),
        sa.Column("listed_at", moment, nullable=True),
        sa.Column("nothing_to_analyse", sa.Integer(), nullable=False),
        sa.Column("ended_at", moment, nullable=True),
        sa.Column("given_up_by", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_backfill"),
    )
    op.create_index("ix_backfill_ended_at", "backfill", ["ended_at"])
    op.create_table(
        "backfill_study",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("backfill_id", sa.Integer(), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before", moment, nullable=True),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("settled_at", moment, nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["backfill_id"], ["backfill.id"], name="fk_backfill_study_backfill_id_backfill"),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["study.study_instance_uid"], name="fk_backfill_study_study_instance_uid_study"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_backfill_study"),
        sa.UniqueConstraint(
            "backfill_id", "study_instance_uid", name="uq_backfill_study_backfill_id_study_instance_uid"
        ),
    )
    op.create_index("ix_backfill_study_backfill_id_state_id", "backfill_study", ["backfill_id", "state", "id"])
    op.create_index("ix_backfill_study_study_instance_uid", "backfill_study", ["study_instance_uid"])
    op.create_index("ix_backfill_study_run_id", "backfill_study", ["run_id"])


def downgrade() -> None:
    """Drop both; what waited is not analysed again."""
    op.drop_table("backfill_study")
    op.drop_table("backfill")
