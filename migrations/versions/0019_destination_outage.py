"""Destinations that cannot be reached, so that one study at a time tries them and the others wait."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; who is away is found out by the next delivery."""
    op.create_table(
        "destination_outage",
        sa.Column("destination", sa.String(64), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("destination", name="pk_destination_outage"),
    )


def downgrade() -> None:
    """Drop it; every delivery then waits by itself."""
    op.drop_table("destination_outage")
