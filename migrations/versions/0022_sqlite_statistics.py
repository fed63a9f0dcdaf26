"""What SQLite's planner is told of the tables: the shape of a hospital's year, not of the present moment.

Without statistics SQLite takes an index with two columns for better than one that finds a study, and looks through
every run that is done for the few of one study: with 20,000 studies a third of the cost of each. With those of the
present moment (``ANALYZE``) it takes the index by state for useless, because nearly every row is in its last state, and
looks through the whole table for what waits. So the numbers are given once: a study has few rows, and few rows wait.
SQLite documents this way (lang_analyze.html, "Fixed results of ANALYZE"); PostgreSQL keeps statistics of its own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

STATISTICS = {
    ("study", "sqlite_autoindex_study_1"): "100000 1",
    ("study", "ix_study_state_priority"): "100000 1000 300",
    ("study", "ix_study_state_last_received_at"): "100000 1000 1",
    ("study", "ix_study_unread"): "400 150 2 1 1 1 1",
    ("study", "ix_study_read_at_state"): "100000 400 300",
    ("study", "ix_study_due_at"): "100000 1000",
    ("study", "ix_study_current_run_id"): "100000 1",
    ("study", "ix_study_last_received_at"): "100000 1",
    ("study", "ix_study_first_received_at_study_instance_uid"): "100000 1 1",
    ("study", "ix_study_calling_ae_title_first_received_at"): "100000 20000 1",
    ("study", "ix_study_patient_name_study_instance_uid"): "100000 3 1",
    ("study", "ix_study_accession_number"): "100000 1",
    ("study", "ix_study_patient_id"): "100000 3",
    ("study_word", "sqlite_autoindex_study_word_1"): "600000 6 1",
    ("study_word", "ix_study_word_word_study_instance_uid"): "600000 20 1",
    ("instance", "sqlite_autoindex_instance_1"): "150000 1 1 1",
    ("instance", "ix_instance_sop_instance_uid"): "150000 1",
    ("instance", "ix_instance_study_instance_uid"): "150000 2",
    ("run", "sqlite_autoindex_run_1"): "110000 1 1",
    ("run", "uq_run_active"): "100 1 1",
    ("run", "ix_run_state_lease_until"): "110000 1000 10",
    ("run", "ix_run_shadow_state"): "110000 50000 1000",
    ("run", "ix_run_finished_at"): "110000 1",
    ("prediction", "sqlite_autoindex_prediction_1"): "1800000 16 14 1",
    ("prediction", "ix_prediction_flagged"): "100000 7000 1",
    ("result", "sqlite_autoindex_result_1"): "200000 2 1",
    ("result", "ix_result_sop_instance_uid"): "200000 1",
    ("delivery", "sqlite_autoindex_delivery_1"): "200000 1 1",
    ("delivery", "ix_delivery_state_next_attempt_at"): "200000 1000 1",
    ("delivery", "ix_delivery_state_commitment_due_at"): "200000 1000 1",
    ("event", "ix_event_study_instance_uid_id"): "800000 8 1",
    ("event", "ix_event_at"): "800000 1",
}
"""Rows of each index, and how many share the first column, the first two, and so on (sqlite_stat1)."""


def upgrade() -> None:
    """Write them down in place of any that somebody had SQLite collect."""
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        return
    connection.execute(sa.text("ANALYZE sqlite_master"))  # makes the table of statistics
    _forget(connection)
    connection.execute(
        sa.text("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (:table, :index, :numbers)"),
        [{"table": table, "index": index, "numbers": numbers} for (table, index), numbers in STATISTICS.items()],
    )


def downgrade() -> None:
    """Forget them."""
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        _forget(connection)


def _forget(connection: sa.Connection) -> None:
    """Delete all statistics; the second table is there only where SQLite was built with it."""
    connection.execute(sa.text("DELETE FROM sqlite_stat1"))
    if connection.scalar(sa.text("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_stat4'")):
        connection.execute(sa.text("DELETE FROM sqlite_stat4"))
