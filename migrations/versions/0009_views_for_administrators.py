"""What administrators count by: the device a study came from, waiting times, views of findings and of stages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.triage_views_0009 import create_views, drop_views
from migrations.triage_worklist import create_triage_worklist, drop_triage_worklist
from migrations.triage_worklist_0005 import COLUMNS as EARLIER_COLUMNS

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, empty for studies already here, the index by which runs are counted, and the views."""
    drop_triage_worklist()
    op.add_column("study", sa.Column("station_name", sa.String(), nullable=False, server_default=""))
    op.create_index("ix_run_finished_at", "run", ["finished_at"])
    create_views()


def downgrade() -> None:
    """Take them away and make the earlier view again."""
    drop_views()
    op.drop_index("ix_run_finished_at", "run")
    op.drop_column("study", "station_name")
    create_triage_worklist(EARLIER_COLUMNS)
