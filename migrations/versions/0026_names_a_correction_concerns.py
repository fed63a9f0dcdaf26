"""Which names a correction concerns: an image of another name under the same Patient ID may be another patient's."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the names; the corrections before stay as they were applied, to images of any name."""
    op.add_column("identity_correction", sa.Column("concerned_names", sa.JSON(none_as_null=True), nullable=True))
    op.add_column(
        "identity_correction", sa.Column("names_verbatim", sa.Boolean(), nullable=False, server_default=sa.false())
    )


def downgrade() -> None:
    """Forget them."""
    op.drop_column("identity_correction", "names_verbatim")
    op.drop_column("identity_correction", "concerned_names")
