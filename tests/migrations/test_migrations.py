"""The migrated database is the declared one, on SQLite and PostgreSQL, and the view says what its columns mean."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from migrations.current_views import STAGE, VIEWS
from worker.foundation.errors import MigrationBusy
from worker.rows.base import Base
from worker.rows.database import SessionFactory, current_revision, expected_revision, open_engine
from worker.rows.delivery_tables import Delivery
from worker.rows.migrate import ADVISORY_LOCK_KEY, alembic_config, upgrade
from worker.rows.run_tables import Prediction, Result, Run
from worker.rows.states import DeliveryState, ResultKind, RunState
from worker.rows.study_tables import Instance, Study

ROOT = Path(__file__).resolve().parents[2]


def differences(engine: Engine) -> list[object]:
    """Return what would have to be migrated to reach the declared tables."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Base.metadata))


def test_the_expected_revision_is_where_alembic_ends() -> None:
    scripts = ScriptDirectory.from_config(alembic_config())
    assert scripts.get_heads() == [expected_revision()]


def test_the_migrated_schema_is_the_declared_one(engine: Engine) -> None:
    assert differences(engine) == []


@pytest.mark.parametrize(
    "damage",
    [
        "ALTER TABLE study ADD COLUMN forgotten VARCHAR",
        "DROP INDEX ix_study_due_at",
        "DROP INDEX uq_run_active",
        "DROP TABLE review",
        "ALTER TABLE event DROP COLUMN actor",
    ],
)
def test_the_comparison_sees_a_schema_that_differs(engine: Engine, damage: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(damage))
    assert differences(engine) != []


def test_no_index_repeats_the_beginning_of_another(engine: Engine) -> None:
    """Each is written with every row, and the longer one finds what the shorter one finds."""
    inspector, repeated = inspect(engine), []
    for table in inspector.get_table_names():
        unique = [each["column_names"] for each in inspector.get_unique_constraints(table)]
        keys = [inspector.get_pk_constraint(table)["constrained_columns"], *unique]
        whole = {
            str(each["name"]): list(map(str, each["column_names"]))
            for each in inspector.get_indexes(table)
            if not any(name.endswith("_where") for name in each.get("dialect_options", {}))
            and "expressions" not in each
        }
        for name, columns in whole.items():
            longer = [*keys, *(found for other, found in whole.items() if other != name)]
            repeated += [name for found in longer if found != columns and found[: len(columns)] == columns]
    assert repeated == []


def test_only_one_run_of_a_study_and_bundle_can_be_active(engine: Engine) -> None:
    index = {index["name"]: index for index in inspect(engine).get_indexes("run")}["uq_run_active"]
    assert index["unique"]
    condition = next(str(value) for key, value in index["dialect_options"].items() if key.endswith("_where"))
    assert {"queued", "running"} == set(re.findall(r"'(\w+)'", condition))


def test_migrating_twice_changes_nothing(database_url: str) -> None:
    assert upgrade(database_url) == upgrade(database_url) == expected_revision()


def test_the_first_revision_can_be_undone_and_done_again(database_url: str) -> None:
    engine = open_engine(database_url)
    config = alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    upgrade(database_url)
    assert differences(engine) == []
    engine.dispose()


def test_several_processes_may_migrate_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new' / 'triage.db'}"
    revisions: list[str] = []
    threads = [threading.Thread(target=lambda: revisions.append(upgrade(url))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert revisions == [expected_revision()] * 4


def test_several_may_open_a_new_sqlite_file_at_once(tmp_path: Path) -> None:
    """The first switch to a write-ahead log wants the whole file, and SQLite's own waiting does not cover it."""
    failures: list[BaseException] = []

    def connect(url: str) -> None:
        engine = open_engine(url)
        try:
            with engine.begin() as connection:
                connection.execute(text("CREATE TABLE IF NOT EXISTS probe (number INTEGER)"))
        except SQLAlchemyError as error:
            failures.append(error)
        engine.dispose()

    for number in range(30):
        threads = [threading.Thread(target=connect, args=(f"sqlite:///{tmp_path / f'{number}.db'}",)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_a_migration_gives_up_when_another_one_does_not_end(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        connection.execute(text("DELETE FROM alembic_version"))
    with engine.begin() as other:
        other.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK_KEY})
        with pytest.raises(MigrationBusy, match="another process is migrating"):
            upgrade(postgresql_url, lock_timeout_seconds=0.2)
    assert current_revision(engine) is None
    engine.dispose()


def test_every_column_of_the_views_is_documented(engine: Engine) -> None:
    page = (ROOT / "docs" / "database.md").read_text(encoding="utf-8")
    for view in VIEWS:
        assert [column["name"] for column in inspect(engine).get_columns(view.name)] == list(view.columns)
        section = next(part for part in page.split("\n## ") if f": `{view.name}`\n" in part)
        rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.M)
        assert rows == [(name, meaning) for name, (_, meaning) in view.columns.items()]


def test_postgresql_keeps_the_meaning_of_each_column_of_the_views(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url)
    for view in VIEWS:
        comments = {column["name"]: column["comment"] for column in inspect(engine).get_columns(view.name)}
        assert comments == {name: meaning for name, (_, meaning) in view.columns.items()}
    engine.dispose()


def test_the_worklist_view_shows_findings_delivery_and_order(engine: Engine, sessions: SessionFactory) -> None:
    now = datetime.now(UTC)
    with sessions.begin() as session:
        for uid, state, priority in (
            ("1.1", "failed", None),
            ("1.2", "triaged", "ROUTINE"),
            ("1.3", "triaged", "STAT"),
        ):
            session.add(
                Study(
                    study_instance_uid=uid, first_received_at=now, last_received_at=now, state=state, priority=priority
                )
            )
        session.flush()
        add_triaged_run(session, "1.3", now)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM triage_worklist ORDER BY list_order")).mappings().all()
    assert [(row["study_instance_uid"], row["list_order"]) for row in rows] == [("1.3", 1), ("1.2", 3), ("1.1", 4)]
    first = rows[0]
    assert first["findings"] == "Pneumothorax > 99%, Mass 71%, Hernia < 1%"
    assert (first["delivery_state"], first["results"], first["instances"]) == ("refused", 1, 2)
    assert rows[2]["priority"] is None
    assert rows[2]["findings"] is None


def add_triaged_run(session: object, uid: str, now: datetime) -> None:
    """Add a run with four findings in two images, an object that was taken and refused, and a message that waits."""
    images = [
        Instance(
            sop_instance_uid=f"{uid}.{number}", study_instance_uid=uid, series_instance_uid="1", sop_class_uid="1",
            transfer_syntax_uid="1", path="x", bytes=1, sha256="", received_at=now, disposition="analysed",
        )
        for number in (1, 2)
    ]  # fmt: skip
    run = Run(study_instance_uid=uid, run_number=1, state=RunState.DONE, queued_at=now)
    findings = [
        (0, "Mass", 0.71, True),
        (0, "Pneumothorax", 0.88, True),
        (1, "Pneumothorax", 0.998, True),
        (1, "Hernia", 0.004, True),
        (1, "Edema", 0.2, False),
    ]
    run.predictions = [
        Prediction(instance=images[image], finding=finding, probability=probability, flagged=flagged)
        for image, finding, probability, flagged in findings
    ]
    kind = ResultKind.STRUCTURED_REPORT
    result = Result(
        kind=kind,
        sop_class_uid="1",
        sop_instance_uid="1",
        series_instance_uid="1",
        path="",
        bytes=1,
        sha256="",
        created_at=now,
    )
    result.deliveries = [
        Delivery(destination="a", state=DeliveryState.SENT), Delivery(destination="b", state=DeliveryState.REFUSED)
    ]  # fmt: skip
    message = Result(
        kind=ResultKind.HL7_MESSAGE, sop_class_uid="", sop_instance_uid="2", series_instance_uid="", path="", bytes=1,
        sha256="", created_at=now, deliveries=[Delivery(destination="ris", state=DeliveryState.PENDING)],
    )  # fmt: skip
    run.results = [result, message]
    session.add_all([*images, run])  # type: ignore[attr-defined]
    session.flush()  # type: ignore[attr-defined]
    session.get_one(Study, uid).current_run_id = run.id  # type: ignore[attr-defined]


def test_a_database_of_before_says_what_its_columns_mean_in_the_words_of_now(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url)
    config = alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0023")
        connection.execute(text("COMMENT ON COLUMN triage_stage.stage IS 'as it was worded once'"))
    upgrade(postgresql_url)
    comments = {column["name"]: column["comment"] for column in inspect(engine).get_columns("triage_stage")}
    engine.dispose()
    assert comments["stage"] == STAGE.columns["stage"][1]
