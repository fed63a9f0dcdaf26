"""The index of words tells the studies, too, so that a search by name reads nothing else."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

OLD, NEW = "ix_study_word_word", "ix_study_word_word_study_instance_uid"


def upgrade() -> None:
    """Make the wider index in the place of the other."""
    op.create_index(NEW, "study_word", ["word", "study_instance_uid"])
    op.drop_index(OLD, "study_word")


def downgrade() -> None:
    """Go back to the narrow one."""
    op.create_index(OLD, "study_word", ["word"])
    op.drop_index(NEW, "study_word")
