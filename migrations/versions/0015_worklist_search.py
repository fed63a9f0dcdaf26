"""Indexes that answer every question of the worklist page, and the words by which studies are found."""

from __future__ import annotations

import re
import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

AT_ONCE = 1000
INDEXES = {
    "ix_study_state_last_received_at": ("study", ["state", "last_received_at"]),
    "ix_study_calling_ae_title_first_received_at": ("study", ["calling_ae_title", "first_received_at"]),
    "ix_study_patient_name_study_instance_uid": ("study", ["patient_name", "study_instance_uid"]),
    "ix_study_current_run_id": ("study", ["current_run_id"]),
    "ix_study_read_at_state": ("study", ["read_at", "state"]),
    "ix_review_study_instance_uid_id": ("review", ["study_instance_uid", "id"]),
}


def upgrade() -> None:
    """Make the indexes and the table, and write the words of the studies that are there."""
    for name, (table, columns) in INDEXES.items():
        op.create_index(name, table, columns)
    unread = sa.text("read_at IS NULL")
    order: list[str | sa.TextClause] = [
        "priority",
        sa.text("(-priority_rank)"),
        "first_received_at",
        "study_instance_uid",
        "state",
        "historical",
    ]
    op.create_index("ix_study_unread", "study", order, sqlite_where=unread, postgresql_where=unread)
    op.create_index(
        "ix_prediction_flagged",
        "prediction",
        ["finding", "run_id"],
        sqlite_where=sa.text("flagged = 1"),
        postgresql_where=sa.text("flagged"),
    )
    bytewise = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
    op.create_table(
        "study_word",
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("word", bytewise, nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["study.study_instance_uid"], name="fk_study_word_study_instance_uid_study"
        ),
        sa.PrimaryKeyConstraint("study_instance_uid", "word", name="pk_study_word"),
    )
    op.create_index("ix_study_word_word", "study_word", ["word"])
    _write_words()


def _write_words() -> None:
    connection = op.get_bind()
    searched = ("study_instance_uid", "patient_name", "patient_id", "accession_number")
    study = sa.table("study", *(sa.column(name) for name in searched))
    study_word = sa.table("study_word", sa.column("study_instance_uid"), sa.column("word"))
    last = ""
    while True:
        statement = sa.select(study).where(study.c.study_instance_uid > last).order_by(study.c.study_instance_uid)
        rows = connection.execute(statement.limit(AT_ONCE)).all()
        if not rows:
            return
        last = rows[-1][0]
        words = [{"study_instance_uid": uid, "word": word} for uid, *texts in rows for word in words_of(*texts)]
        if words:
            connection.execute(study_word.insert(), words)


def words_of(*texts: str) -> list[str]:
    """Return the words of these texts as the worker of this revision keeps them."""
    words: dict[str, None] = {}
    for text in texts:
        parts = unicodedata.normalize("NFKD", text.casefold())
        plain = "".join(part for part in parts if not unicodedata.combining(part) and part.isprintable())
        for whole in re.split(r"[\s^=,;\\]+", plain):
            words |= {word[:64]: None for word in (whole, *whole.split("-")) if word}
    return list(words)[:40]


def downgrade() -> None:
    """Drop them."""
    op.drop_table("study_word")
    op.drop_index("ix_prediction_flagged", "prediction")
    op.drop_index("ix_study_unread", "study")
    for name, (table, _) in INDEXES.items():
        op.drop_index(name, table)
