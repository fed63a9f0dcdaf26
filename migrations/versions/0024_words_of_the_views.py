"""What the columns of the administrators' views mean, as it is worded now: comments in PostgreSQL, none in SQLite."""

from __future__ import annotations

from alembic import op

from migrations.current_views import VIEWS
from migrations.triage_views_0009 import comment_on

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Write the comments anew; the views stay as they are."""
    for view in VIEWS:
        comment_on(view, op.get_bind())


def downgrade() -> None:
    """Leave them: they say the same in other words."""
