"""The view ``triage_worklist`` counts DICOM objects as results, not the HL7 messages about them."""

from __future__ import annotations

from migrations.triage_worklist import create_triage_worklist, drop_triage_worklist
from migrations.triage_worklist_0004 import COLUMNS

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the view anew."""
    drop_triage_worklist()
    create_triage_worklist(COLUMNS)


def downgrade() -> None:
    """Make the first view again."""
    drop_triage_worklist()
    create_triage_worklist()
