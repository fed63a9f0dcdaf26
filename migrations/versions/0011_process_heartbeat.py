"""Which processes of an installation are alive, and what each computes on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "process_heartbeat",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("version", sa.String(32), nullable=False),
        sa.Column("started_at", moment, nullable=False),
        sa.Column("seen_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_process_heartbeat"),
    )


def downgrade() -> None:
    """Drop it; nothing else reads it."""
    op.drop_table("process_heartbeat")
