"""A database of every revision, with a row in each table, is brought to the newest one and back without loss."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from slow_cases import mostly_slow
from sqlalchemy import (
    JSON,
    Boolean,
    Connection,
    Engine,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    func,
    select,
    text,
)
from sqlalchemy import table as named_table
from sqlalchemy.types import DateTime, TypeEngine

from migrations.current_views import VIEWS, WORKLIST
from worker.rows.database import expected_revision
from worker.rows.migrate import alembic_config, upgrade

REVISIONS = sorted(script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions())
THEN = datetime(2026, 3, 2, 8, 15, tzinfo=UTC)
WORDS = {
    "state": "triaged",
    "priority": "STAT",
    "patient_name": "MÜLLER^JÖRG=山田^太郎",
    "patient_id": "P-1",
    "accession_number": "A 17",
    "study_date": "20260302",
    "finding": "Mass",
    "kind": "structured_report",
    "disposition": "analysed",
    "outcome": "triaged",
}
"""What columns hold of whose words a migration may make something; others hold their own name."""


def go_to(engine: Engine, revision: str) -> None:
    config = alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        step = command.downgrade if revision < (current(connection) or "") else command.upgrade
        step(config, revision)


def current(connection: Connection) -> str | None:
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def tables(connection: Connection) -> list[Table]:
    """Return the tables that there are, each after those that its rows must refer to."""
    found = MetaData()
    found.reflect(connection)
    left = [table for name, table in sorted(found.tables.items()) if name != "alembic_version"]
    ordered: list[Table] = []
    while left:
        waited_for = {table.name for table in left}
        ready = [table for table in left if not needed_by(table) & waited_for]
        assert ready, waited_for
        ordered += ready
        left = [table for table in left if table not in ready]
    return ordered


def needed_by(table: Table) -> set[str]:
    """Return the names of the tables that each row refers to."""
    return {key.column.table.name for key in table.foreign_keys if not key.parent.nullable} - {table.name}


def value(name: str, kind: TypeEngine[Any]) -> Any:
    if isinstance(kind, JSON):
        return {"total": 1.5}
    if isinstance(kind, DateTime) or name.endswith("_at"):
        return THEN.replace(tzinfo=None) if not getattr(kind, "timezone", False) else THEN
    if isinstance(kind, LargeBinary):
        return b"MSH|"
    if isinstance(kind, Boolean):
        return False
    if isinstance(kind, Float):
        return 0.5
    return 1 if isinstance(kind, Integer) else WORDS.get(name, name)[: getattr(kind, "length", None)]


def fill(connection: Connection) -> None:
    """Write a row into each table, every column of it, but for references to what comes later."""
    written: dict[str, Mapping[str, Any]] = {}
    for table in tables(connection):
        row = {column.name: value(column.name, column.type) for column in table.columns}
        for key in (key for column in table.columns for key in column.foreign_keys):
            target = written.get(key.column.table.name)
            row[key.parent.name] = target[key.column.name] if target else None
        connection.execute(table.insert().values(row))
        written[table.name] = row
    connection.execute(text("UPDATE study SET current_run_id = 1"))


def rows(connection: Connection) -> dict[str, dict[str, Any]]:
    """Return the first row of each table, by the names of its columns."""
    found = {}
    for table in tables(connection):
        row = connection.execute(select(table).order_by(*table.primary_key)).mappings().first()
        found[table.name] = dict(row) if row else {}
    return found


def lost(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> dict[str, object]:
    """Return what is gone or another of the tables and columns that both know."""
    return {
        f"{table}.{column}": (old, after[table].get(column))
        for table, columns in before.items()
        for column, old in columns.items()
        if table in after and (not after[table] or (column in after[table] and after[table][column] != old))
    }


@pytest.mark.either_database
@pytest.mark.parametrize("revision", mostly_slow(REVISIONS, "0001", "0014"))
def test_rows_of_every_revision_are_there_in_the_newest_one_and_back(
    engine: Engine, database_url: str, revision: str
) -> None:
    go_to(engine, "base")
    go_to(engine, revision)
    with engine.begin() as connection:
        fill(connection)
        before = rows(connection)
    assert all(before.values())
    assert upgrade(database_url) == expected_revision()
    with engine.begin() as connection:
        assert lost(before, rows(connection)) == {}
        for view in VIEWS:
            rows_of = select(func.count()).select_from(named_table(view.name))
            assert connection.execute(rows_of).scalar_one() >= (1 if view is WORKLIST else 0)
    go_to(engine, revision)
    with engine.begin() as connection:
        assert lost(before, rows(connection)) == {}
    upgrade(database_url)
    with engine.begin() as connection:
        assert lost(before, rows(connection)) == {}
