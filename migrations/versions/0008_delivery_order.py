"""What a destination lost, and what waits because it could not be reached."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_ADDED: tuple[sa.Column[int] | sa.Column[bool], ...] = (
    sa.Column("lost", sa.Integer(), nullable=False, server_default="0"),
    sa.Column("unreachable", sa.Boolean(), nullable=False, server_default=sa.false()),
)


def upgrade() -> None:
    """Add the columns."""
    for column in _ADDED:
        op.add_column("delivery", column)


def downgrade() -> None:
    """Take them away."""
    for column in reversed(_ADDED):
        op.drop_column("delivery", column.name)
