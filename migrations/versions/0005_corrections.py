"""What takes results back: rejected images, retracted studies, priorities set by a person, notes for archives."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.triage_worklist import create_triage_worklist, drop_triage_worklist
from migrations.triage_worklist_0004 import COLUMNS as EARLIER_COLUMNS
from migrations.triage_worklist_0005 import COLUMNS

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ADDED = (
    ("study", "retracted_at", sa.DateTime(timezone=True)),
    ("study", "priority_set_by", sa.String()),
    ("study", "priority_decided_run_id", sa.Integer()),
    ("delivery", "rejection_note_uid", sa.String(64)),
    ("identity_correction", "prior_accession_number", sa.String()),
    ("identity_correction", "accession_number", sa.String()),
)


def upgrade() -> None:
    """Add the columns, all null, the table, and the view that shows them."""
    drop_triage_worklist()
    for table, name, kind in _ADDED:
        op.add_column(table, sa.Column(name, kind))
    op.create_table(
        "rejected_instance",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("title_code", sa.String(16), nullable=False),
        sa.Column("rejected_by", sa.String(), nullable=False),
        sa.Column("note_uid", sa.String(64), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_rejected_instance"),
        sa.UniqueConstraint(
            "study_instance_uid", "sop_instance_uid", name="uq_rejected_instance_study_instance_uid_sop_instance_uid"
        ),
    )
    create_triage_worklist(COLUMNS)


def downgrade() -> None:
    """Take all of it away; which images were rejected is lost."""
    drop_triage_worklist()
    op.drop_table("rejected_instance")
    for table, name, _kind in reversed(_ADDED):
        op.drop_column(table, name)
    create_triage_worklist(EARLIER_COLUMNS)
