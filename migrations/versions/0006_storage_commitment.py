"""Storage commitment: which objects a destination was asked to keep, and what it answered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ADDED = (
    sa.Column("commitment_due_at", sa.DateTime(timezone=True)),
    sa.Column("commitment_requests", sa.Integer(), nullable=False, server_default="0"),
    sa.Column("commitment_transaction_uid", sa.String(64)),
    sa.Column("committed_at", sa.DateTime(timezone=True)),
)


def upgrade() -> None:
    """Add the table and the columns; what was sent before is not asked about."""
    for column in _ADDED:
        op.add_column("delivery", column)
    op.create_index("ix_delivery_state_commitment_due_at", "delivery", ["state", "commitment_due_at"])
    op.create_table(
        "storage_commitment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("transaction_uid", sa.String(64), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("destination", sa.String(64), nullable=False),
        sa.Column("objects", sa.JSON(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("comment", sa.String(), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["study.study_instance_uid"],
            name="fk_storage_commitment_study_instance_uid_study",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_storage_commitment"),
        sa.UniqueConstraint("transaction_uid", name="uq_storage_commitment_transaction_uid"),
    )
    op.create_index("ix_storage_commitment_study_instance_uid_id", "storage_commitment", ["study_instance_uid", "id"])


def downgrade() -> None:
    """Take all of it away; what was committed stays in its state."""
    op.drop_table("storage_commitment")
    op.drop_index("ix_delivery_state_commitment_due_at", "delivery")
    for column in reversed(_ADDED):
        op.drop_column("delivery", column.name)
