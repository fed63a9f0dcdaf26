"""How many images of its study a run says were not analysed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the number; of the runs before, nothing is known and none is taken."""
    op.add_column("run", sa.Column("images_not_analysed", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Forget it."""
    op.drop_column("run", "images_not_analysed")
