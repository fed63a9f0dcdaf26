"""Findings of the worklist's view say "> 99%" and "< 1%", as everything else of ours does; they said 100% and 0%."""

from __future__ import annotations

from migrations.triage_views_0009 import WORKLIST as EARLIER_WORKLIST
from migrations.triage_views_0009 import create_views, drop_views
from migrations.triage_views_0027 import WORKLIST

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the view anew."""
    drop_views((EARLIER_WORKLIST,))
    create_views((WORKLIST,))


def downgrade() -> None:
    """Make the earlier view again."""
    drop_views((WORKLIST,))
    create_views((EARLIER_WORKLIST,))
