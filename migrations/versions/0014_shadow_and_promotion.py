"""A second run beside a study's own, in the shadow, and which bundle stands in the place of which."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Allow one active run in the shadow beside the one that counts; make the table of promotions."""
    _one_active_run_per("shadow")
    op.create_index("ix_run_shadow_state", "run", ["shadow", "state"])
    op.create_table(
        "promotion",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("instead_of", sa.String(), nullable=False),
        sa.Column("bundle", sa.String(), nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("promoted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("promoted_by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("rolled_back_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rolled_back_by", sa.String(), nullable=True),
        sa.Column("rollback_reason", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_promotion"),
    )
    op.create_index("ix_promotion_instead_of_id", "promotion", ["instead_of", "id"])


def downgrade() -> None:
    """Go back; every study is analysed by the configured bundle again, and waiting runs in the shadow are dropped."""
    op.drop_table("promotion")
    op.execute("UPDATE run SET state = 'superseded' WHERE shadow AND state IN ('queued', 'running')")
    op.drop_index("ix_run_shadow_state", "run")
    _one_active_run_per("bundle")


def _one_active_run_per(column: str) -> None:
    active = sa.text("state IN ('queued', 'running')")
    op.drop_index("uq_run_active", "run")
    op.create_index(
        "uq_run_active",
        "run",
        ["study_instance_uid", column],
        unique=True,
        sqlite_where=active,
        postgresql_where=active,
    )
