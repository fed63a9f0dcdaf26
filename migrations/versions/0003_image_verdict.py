"""What the suitability check made of each picture."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; null in every row there is: those pictures were not checked."""
    op.add_column("instance", sa.Column("image_verdict", sa.String(16)))
    op.add_column("instance", sa.Column("image_score", sa.Double()))
    op.add_column("instance", sa.Column("image_distance", sa.Double()))


def downgrade() -> None:
    """Take the columns away."""
    for name in ("image_distance", "image_score", "image_verdict"):
        op.drop_column("instance", name)
