"""First schema: studies, instances, runs, results, deliveries, reviews, events and the view ``triage_worklist``."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op

from migrations.triage_worklist import create_triage_worklist, drop_triage_worklist

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

PATIENT = (
    "patient_id",
    "issuer_of_patient_id",
    "patient_name",
    "patient_birth_date",
    "patient_sex",
    "patient_age",
)
ORDER = (
    "accession_number",
    "study_id",
    "study_date",
    "study_time",
    "study_description",
    "referring_physician_name",
    "order_priority",
    "calling_ae_title",
    "called_ae_title",
)
TABLES = ("delivery", "review", "result", "prediction", "instance", "event", "service_lease")


def upgrade() -> None:
    """Make every table, then the view over them."""
    _service_tables()
    _study()
    _instance()
    _run()
    if op.get_bind().dialect.name != "sqlite":  # SQLite cannot add it later; there it stands in the table itself
        op.create_foreign_key("fk_study_current_run_id_run", "study", "run", ["current_run_id"], ["id"])
    _prediction()
    _result()
    _delivery()
    _review()
    create_triage_worklist()


def downgrade() -> None:
    """Drop everything. The received instances stay on disk, their rows are lost."""
    drop_triage_worklist()
    for table in TABLES:
        op.drop_table(table)
    if op.get_bind().dialect.name != "sqlite":
        op.drop_constraint("fk_study_current_run_id_run", "study", type_="foreignkey")
    op.drop_table("run")
    op.drop_table("study")


def _text(name: str, length: int | None = None, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=null)


def _integer(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=null)


def _time(name: str, *, null: bool = True) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=null)


def _boolean(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def _refers(table: str, column: str, target: str, target_column: str = "id") -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{target}.{target_column}"], name=f"fk_{table}_{column}_{target}")


def _unique(table: str, *columns: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*columns, name=f"uq_{table}_{'_'.join(columns)}")


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))


def _service_tables() -> None:
    op.create_table(
        "event",
        _integer("id"),
        _time("at", null=False),
        _text("study_instance_uid", 64, null=True),
        _integer("run_id", null=True),
        _text("actor"),
        _text("kind", 32),
        _text("from_state", 16, null=True),
        _text("to_state", 16, null=True),
        _text("reason", null=True),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
    )
    _index("event", "at")
    _index("event", "study_instance_uid", "id")
    op.create_table(
        "service_lease",
        _text("name", 32),
        _text("holder"),
        _time("lease_until", null=False),
        sa.PrimaryKeyConstraint("name", name="pk_service_lease"),
    )


def _study() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    op.create_table(
        "study",
        _text("study_instance_uid", 64),
        *(_text(name) for name in PATIENT),
        _boolean("patient_id_missing"),
        *(_text(name) for name in ORDER),
        _time("first_received_at", null=False),
        _time("last_received_at", null=False),
        _time("due_at"),
        _text("state", 16),
        _text("reason_code", 64, null=True),
        _text("reason", null=True),
        _integer("current_run_id", null=True),
        _boolean("historical"),
        _text("priority", 8, null=True),
        sa.Column("priority_rank", sa.Double(), nullable=False),
        _text("priority_reason", null=True),
        _time("flagged_at"),
        _time("lifted_at"),
        _time("read_at"),
        _text("read_by", null=True),
        *([_refers("study", "current_run_id", "run")] if sqlite else []),
        sa.PrimaryKeyConstraint("study_instance_uid", name="pk_study"),
    )
    _index("study", "due_at")
    _index("study", "last_received_at")
    _index("study", "state", "priority")


def _instance() -> None:
    op.create_table(
        "instance",
        _integer("id"),
        _text("sop_instance_uid", 64),
        _integer("version"),
        _boolean("current"),
        _text("study_instance_uid", 64),
        _text("series_instance_uid", 64),
        _text("sop_class_uid", 64),
        _text("transfer_syntax_uid", 64),
        _text("path"),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        _text("sha256", 64),
        _text("patient_id"),
        _text("calling_ae_title"),
        _time("received_at", null=False),
        _text("disposition", 16),
        _text("reason_code", 64, null=True),
        _text("reason", null=True),
        _text("pixel_sha256", 64, null=True),
        _refers("instance", "study_instance_uid", "study", "study_instance_uid"),
        sa.PrimaryKeyConstraint("id", name="pk_instance"),
        _unique("instance", "study_instance_uid", "sop_instance_uid", "version"),
    )
    _index("instance", "sop_instance_uid")
    _index("instance", "study_instance_uid")


def _run() -> None:
    op.create_table(
        "run",
        _integer("id"),
        _text("study_instance_uid", 64),
        _integer("run_number"),
        _text("bundle"),
        _text("trigger", 16),
        _text("state", 16),
        _text("queue", 16),
        _boolean("shadow"),
        _integer("attempts"),
        _time("lease_until"),
        _integer("fencing_token"),
        _text("worker_name", null=True),
        _text("model_version", null=True),
        _text("policy_hash", 64, null=True),
        _integer("result_revision"),
        sa.Column("timings_seconds", sa.JSON(), nullable=False),
        _text("outcome", 16, null=True),
        _text("priority", 8, null=True),
        _text("reason_code", 64, null=True),
        _text("reason", null=True),
        _time("queued_at", null=False),
        _time("rung_at"),
        _time("started_at"),
        _time("finished_at"),
        _refers("run", "study_instance_uid", "study", "study_instance_uid"),
        sa.PrimaryKeyConstraint("id", name="pk_run"),
        _unique("run", "study_instance_uid", "run_number"),
    )
    _index("run", "state", "lease_until")
    active = sa.text("state IN ('queued', 'running')")
    columns = ["study_instance_uid", "bundle"]
    op.create_index("uq_run_active", "run", columns, unique=True, sqlite_where=active, postgresql_where=active)


def _prediction() -> None:
    op.create_table(
        "prediction",
        _integer("id"),
        _integer("run_id"),
        _integer("instance_id"),
        _text("finding", 32),
        sa.Column("probability", sa.Double(), nullable=True),
        sa.Column("threshold", sa.Double(), nullable=True),
        _boolean("flagged"),
        _refers("prediction", "run_id", "run"),
        _refers("prediction", "instance_id", "instance"),
        sa.PrimaryKeyConstraint("id", name="pk_prediction"),
        _unique("prediction", "run_id", "instance_id", "finding"),
    )


def _result() -> None:
    op.create_table(
        "result",
        _integer("id"),
        _integer("run_id"),
        _text("kind", 32),
        _text("finding", 32, null=True),
        _text("sop_class_uid", 64),
        _text("sop_instance_uid", 64),
        _text("series_instance_uid", 64),
        _text("path"),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        _text("sha256", 64),
        _time("created_at", null=False),
        _refers("result", "run_id", "run"),
        sa.PrimaryKeyConstraint("id", name="pk_result"),
        _unique("result", "run_id", "sop_instance_uid"),
    )
    _index("result", "sop_instance_uid")


def _delivery() -> None:
    op.create_table(
        "delivery",
        _integer("id"),
        _integer("result_id"),
        _text("destination", 64),
        _text("state", 16),
        _integer("attempts"),
        _time("next_attempt_at"),
        _time("rung_at"),
        _time("lease_until"),
        _integer("fencing_token"),
        _integer("last_status", null=True),
        _text("last_comment", null=True),
        _time("sent_at"),
        _refers("delivery", "result_id", "result"),
        sa.PrimaryKeyConstraint("id", name="pk_delivery"),
        _unique("delivery", "result_id", "destination"),
    )
    _index("delivery", "state", "next_attempt_at")


def _review() -> None:
    op.create_table(
        "review",
        _integer("id"),
        _text("study_instance_uid", 64),
        _integer("run_id", null=True),
        _text("finding", 32, null=True),
        _text("verdict", 16),
        _text("comment", null=True),
        _text("reviewer"),
        _time("created_at", null=False),
        _refers("review", "study_instance_uid", "study", "study_instance_uid"),
        _refers("review", "run_id", "run"),
        sa.PrimaryKeyConstraint("id", name="pk_review"),
    )
