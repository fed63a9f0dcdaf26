"""One index less to write with every image: what is unique begins with the study, and finds its images as well."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_INDEX = "ix_instance_study_instance_uid"


def upgrade() -> None:
    """Drop it, and tell SQLite's planner that the other one finds two rows for a study."""
    op.drop_index(_INDEX, "instance")
    _state("sqlite_autoindex_instance_1", "150000 2 1 1")


def downgrade() -> None:
    """Make it again."""
    op.create_index(_INDEX, "instance", ["study_instance_uid"])
    _state("sqlite_autoindex_instance_1", "150000 1 1 1")
    _state(_INDEX, "150000 2")


def _state(index: str, numbers: str) -> None:
    """Write statistics as migration 0022 explains them; PostgreSQL keeps its own."""
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        return
    connection.execute(sa.text("DELETE FROM sqlite_stat1 WHERE tbl = 'instance' AND idx = :index"), {"index": index})
    connection.execute(
        sa.text("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('instance', :index, :numbers)"),
        {"index": index, "numbers": numbers},
    )
