"""Images that were deleted by retention, and images that came again afterwards."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the times; nothing was deleted yet."""
    op.add_column("instance", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("instance", sa.Column("restored_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("study", sa.Column("images_deleted_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Forget them; images that are gone are then missing without a word."""
    op.drop_column("study", "images_deleted_at")
    op.drop_column("instance", "restored_at")
    op.drop_column("instance", "deleted_at")
