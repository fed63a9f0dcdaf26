"""Whether a destination may have an object that it never confirmed: what can be there has to be taken back there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of what was tried before nobody knows better than that it may be there."""
    op.add_column("delivery", sa.Column("offered", sa.Boolean(), nullable=False, server_default=sa.false()))
    delivery = sa.table("delivery", sa.column("offered", sa.Boolean()), sa.column("attempts", sa.Integer()))
    op.execute(delivery.update().where(delivery.c.attempts > 0).values(offered=True))


def downgrade() -> None:
    """Take it away."""
    op.drop_column("delivery", "offered")
