"""Key Object Selections received, so that what a rejection note says is done once and surely."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; notes received before are not looked at again."""
    op.create_table(
        "received_note",
        sa.Column("instance_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["instance_id"], ["instance.id"], name="fk_received_note_instance_id_instance"),
        sa.PrimaryKeyConstraint("instance_id", name="pk_received_note"),
    )
    op.create_index("ix_received_note_state_next_attempt_at", "received_note", ["state", "next_attempt_at"])


def downgrade() -> None:
    """Drop it; what the notes changed stays."""
    op.drop_table("received_note")
