"""A database that is given out again is as one that was just made; one that is not is not given out again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from postgres_databases import PostgresDatabases
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from study_rows import add_triaged_study

from worker.rows.base import Base
from worker.rows.database import open_engine, session_factory
from worker.rows.study_tables import Instance


def test_it_comes_without_rows_counts_from_one_and_without_connections(postgres_databases: PostgresDatabases) -> None:
    url = postgres_databases.take()
    engine = open_engine(url)
    for _ in range(2):
        with session_factory(engine).begin() as session:
            add_triaged_study(session, {"Pneumothorax": 0.9}, now=datetime.now(UTC))
        with session_factory(engine)() as session:
            assert session.scalar(select(func.min(Instance.id))) == 1
    left_open = engine.connect()
    left_open.execute(text("LOCK TABLE study IN ACCESS EXCLUSIVE MODE"))
    postgres_databases.give_back(url)
    with pytest.raises(DBAPIError):
        left_open.execute(text("SELECT 1"))
    left_open.invalidate()
    assert postgres_databases.take() == url
    with session_factory(engine).begin() as session:
        assert not any(
            session.scalar(select(func.count()).select_from(table)) for table in Base.metadata.tables.values()
        )
        add_triaged_study(session, {"Pneumothorax": 0.9}, now=datetime.now(UTC))
    with session_factory(engine)() as session:
        assert session.scalar(select(func.min(Instance.id))) == 1
    engine.dispose()
    postgres_databases.give_back(url)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE run RENAME TO away",
        "ALTER TABLE event DROP COLUMN actor",
        "ALTER TABLE event ALTER COLUMN actor DROP NOT NULL",
        "DROP INDEX ix_study_due_at",
        "CREATE TABLE mine (number INTEGER)",
        "CREATE VIEW mine AS SELECT 1",
        "COMMENT ON COLUMN event.actor IS 'somebody'",
        "UPDATE alembic_version SET version_num = '0001'",
        "GRANT SELECT ON study TO PUBLIC",
        "ANALYZE alembic_version",
        "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET work_mem = 65'; END $$",
    ],
)
def test_one_in_which_more_than_rows_was_changed_does_not_come_again(
    postgres_databases: PostgresDatabases, change: str
) -> None:
    url = postgres_databases.take()
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.execute(text(change))
    engine.dispose()
    postgres_databases.give_back(url)
    following = postgres_databases.take()
    assert following != url
    postgres_databases.give_back(following)
