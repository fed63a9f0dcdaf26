"""Times in which nothing could be received, so that what archives got meanwhile is fetched once and surely."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; nothing is known of times before."""
    op.create_table(
        "reception_gap",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("begins_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_reception_gap"),
    )
    op.create_index("ix_reception_gap_closed_at", "reception_gap", ["closed_at"])


def downgrade() -> None:
    """Drop it; what was fetched stays."""
    op.drop_table("reception_gap")
