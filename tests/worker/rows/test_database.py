"""Engine, clock, transactions and the schema check, on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, select, text
from sqlalchemy.exc import IntegrityError, StatementError

from worker.foundation.errors import DatabaseUnavailable, UnmigratedDatabase
from worker.rows.database import (
    DATABASE_GONE,
    SessionFactory,
    database_now,
    open_engine,
    outage_words,
    require_current_schema,
    session_factory,
)
from worker.rows.events import record
from worker.rows.migrate import upgrade
from worker.rows.site_tables import Event
from worker.rows.study_tables import Instance, Study


def a_study(uid: str = "1.2.3") -> Study:
    now = datetime.now(UTC)
    return Study(study_instance_uid=uid, first_received_at=now, last_received_at=now)


def test_the_clock_is_aware_utc_and_moves_within_a_transaction(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        first = database_now(session)
        time.sleep(0.05)
        second = database_now(session)
    assert first.tzinfo == UTC
    assert abs(first - datetime.now(UTC)) < timedelta(seconds=5)
    assert second - first >= timedelta(milliseconds=40)


def test_times_come_back_as_they_were_written(sessions: SessionFactory) -> None:
    moment = datetime(2026, 3, 1, 23, 59, 59, 123456, tzinfo=UTC)
    with sessions.begin() as session:
        study = a_study()
        study.due_at = moment.astimezone()
        session.add(study)
    with sessions() as session:
        assert session.get_one(Study, "1.2.3").due_at == moment


def test_a_naive_time_is_refused(sessions: SessionFactory) -> None:
    with pytest.raises(StatementError, match="naive datetime"), sessions.begin() as session:
        study = a_study()
        study.due_at = datetime(2026, 3, 1)
        session.add(study)


def test_sqlite_commits_reach_the_disk_and_writers_wait(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    with engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        }
    engine.dispose()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 30000, "foreign_keys": 1}


def test_an_instance_without_its_study_is_refused(sessions: SessionFactory) -> None:
    with pytest.raises(IntegrityError), sessions.begin() as session:
        session.add(
            Instance(
                sop_instance_uid="1.2",
                study_instance_uid="9.9",
                series_instance_uid="1",
                sop_class_uid="1",
                transfer_syntax_uid="1",
                path="x",
                bytes=1,
                sha256="",
                received_at=datetime.now(UTC),
                disposition="ignored",
            )
        )


def test_a_second_sqlite_writer_waits_for_the_first_instead_of_failing(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    sessions = session_factory(engine)
    started = threading.Event()

    def write_slowly() -> None:
        with sessions.begin() as session:
            session.add(a_study("1.1"))
            session.flush()
            started.set()
            time.sleep(0.3)

    writer = threading.Thread(target=write_slowly)
    writer.start()
    assert started.wait(5)
    with sessions.begin() as session:  # reads first, then writes: would fail as a deferred transaction
        assert session.scalars(select(Study.study_instance_uid)).all() == ["1.1"]
        session.add(a_study("1.2"))
    writer.join()
    with sessions() as session:
        assert session.scalars(select(Study.study_instance_uid).order_by(Study.study_instance_uid)).all() == [
            "1.1",
            "1.2",
        ]
    engine.dispose()


def test_readers_do_not_wait_for_a_writer(engine: Engine) -> None:
    reading = session_factory(engine, read_only=True)
    with session_factory(engine).begin() as writer:
        writer.add(a_study())
        writer.flush()
        began = time.monotonic()
        with reading() as session:
            assert session.scalars(select(Study)).all() == []
        assert time.monotonic() - began < 5


def test_events_keep_what_happened_in_order(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        record(session, "held", actor="listener", study_instance_uid="1.2.3", from_state="receiving", to_state="held")
        record(session, "released", actor="anna", study_instance_uid="1.2.3", details={"reason_code": "x"})
    with sessions() as session:
        events = session.scalars(select(Event).order_by(Event.id)).all()
    assert [(event.kind, event.actor, event.to_state) for event in events] == [
        ("held", "listener", "held"),
        ("released", "anna", None),
    ]
    assert events[0].at <= events[1].at
    assert events[1].details == {"reason_code": "x"}


def test_a_migrated_database_is_accepted(engine: Engine) -> None:
    require_current_schema(engine)


def test_an_unmigrated_database_is_refused_with_the_command_that_helps(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(UnmigratedDatabase, match="python -m worker migrate") as caught:
        require_current_schema(engine)
    assert caught.value.found is None
    engine.dispose()


def test_a_database_of_another_version_is_refused_by_name(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UnmigratedDatabase, match=r"9999.*newer version.*restore a backup") as caught:
        require_current_schema(engine)
    assert "worker migrate" not in str(caught.value), "there is no way back"
    with pytest.raises(UnmigratedDatabase, match="9999"):
        upgrade(engine.url.render_as_string(hide_password=False))


def test_a_database_that_cannot_be_reached_is_named_without_its_password(tmp_path: Path) -> None:
    engine = open_engine(f"postgresql+psycopg://cxr:secret@/cxr?host={tmp_path}")
    with pytest.raises(DatabaseUnavailable, match="cannot reach the database") as caught:
        require_current_schema(engine)
    assert "secret" not in str(caught.value)
    engine.dispose()


def test_a_sqlite_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "triage.db").mkdir()
    engine = open_engine(f"sqlite:///{tmp_path / 'triage.db'}")
    with pytest.raises(DatabaseUnavailable, match=r"triage\.db"):
        require_current_schema(engine)


def test_a_file_that_is_no_database_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "triage.db").write_bytes(b"no database" * 1000)
    url = f"sqlite:///{tmp_path / 'triage.db'}"
    for look in (lambda: require_current_schema(open_engine(url)), lambda: upgrade(url)):
        with pytest.raises(DatabaseUnavailable, match=r"triage\.db.*restore it from a backup"):
            look()


def test_a_damaged_database_is_told_as_such(sqlite_url: str) -> None:
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    with file.open("r+b") as content:  # all but the first page, which says that it is a database
        content.seek(4096)
        content.write(b"x" * (file.stat().st_size - 4096))
    with pytest.raises(DATABASE_GONE) as refused, open_engine(sqlite_url).connect() as connection:
        connection.execute(select(Event)).all()
    assert "damaged" in outage_words(refused.value)
    assert "restore it from a backup" in outage_words(refused.value)


def test_a_database_that_somebody_keeps_locked_is_told_as_such(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.rows.database.BUSY_TIMEOUT_MILLISECONDS", 50)
    other, own = open_engine(sqlite_url), open_engine(sqlite_url)
    with other.begin(), pytest.raises(DATABASE_GONE) as refused, own.begin():
        pass
    assert "something else keeps the database locked" in outage_words(refused.value)
    other.dispose()
    own.dispose()


def test_a_sqlite_file_that_does_not_exist_yet_is_unmigrated_and_not_made_by_looking(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'absent' / 'triage.db'}")
    with pytest.raises(UnmigratedDatabase, match="python -m worker migrate"):
        require_current_schema(engine)
    assert not (tmp_path / "absent").exists()


READ_ONLY = {"sqlite": "PRAGMA query_only=ON", "postgresql": "SET TRANSACTION READ ONLY"}


def test_a_database_that_can_only_be_read_is_told_from_one_that_does_not_answer(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql(READ_ONLY[engine.dialect.name])
        with pytest.raises(DATABASE_GONE) as refused:
            connection.execute(delete(Event))
    assert "it can only be read" in outage_words(refused.value)


def test_a_full_disk_is_told_as_such(sqlite_url: str) -> None:
    with open_engine(sqlite_url).connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        with pytest.raises(DATABASE_GONE) as refused:
            connection.exec_driver_sql("CREATE TABLE filler AS SELECT randomblob(1000000) AS content")
    assert "the disk of the database is full" in outage_words(refused.value)
