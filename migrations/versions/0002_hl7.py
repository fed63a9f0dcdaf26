"""HL7 messages received, and the corrections of a patient's identity they bring."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make both tables, and find studies by patient and order."""
    for column in ("patient_id", "accession_number"):
        op.create_index(f"ix_study_{column}", "study", [column])
    op.create_table(
        "inbound_message",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("peer_address", sa.String(64), nullable=False),
        sa.Column("sender", sa.String(), nullable=False),
        sa.Column("message_type", sa.String(16), nullable=False),
        sa.Column("control_id", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_inbound_message"),
        sa.UniqueConstraint("sha256", name="uq_inbound_message_sha256"),
    )
    op.create_index("ix_inbound_message_state_next_attempt_at", "inbound_message", ["state", "next_attempt_at"])
    op.create_table(
        "identity_correction",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cause", sa.String(64), nullable=False),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("prior_patient_id", "prior_issuer_of_patient_id")),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("patient_id", "issuer_of_patient_id")),
        sa.Column("patient_name", sa.String(), nullable=True),
        sa.Column("patient_birth_date", sa.String(8), nullable=True),
        sa.Column("patient_sex", sa.String(16), nullable=True),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["study.study_instance_uid"], name="fk_identity_correction_study_instance_uid_study"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_identity_correction_run_id_run"),
        sa.PrimaryKeyConstraint("id", name="pk_identity_correction"),
    )
    op.create_index("ix_identity_correction_study_instance_uid_id", "identity_correction", ["study_instance_uid", "id"])


def downgrade() -> None:
    """Drop both tables; the messages are lost, and with them who corrected what."""
    op.drop_table("identity_correction")
    op.drop_table("inbound_message")
    for column in ("patient_id", "accession_number"):
        op.drop_index(f"ix_study_{column}", "study")
