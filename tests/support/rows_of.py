"""The rows of every table as text: all, to search for what must not be there, or one study's, to compare."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Table, select

from worker.rows.base import Base
from worker.rows.database import SessionFactory
from worker.rows.run_tables import Result, Run


def all_rows(sessions: SessionFactory) -> str:
    """Return all rows, as Python writes them."""
    with sessions() as session:
        return "\n".join(repr(row) for table in Base.metadata.sorted_tables for row in session.execute(select(table)))


def rows_of_study(sessions: SessionFactory, study_instance_uid: str) -> str:
    """Return what is known of one study, as Python writes it, a table and a row a line."""
    with sessions() as session:
        return "\n".join(
            f"{table.name} {row!r}"
            for table in Base.metadata.sorted_tables
            if (of_study := _of_study(table, study_instance_uid)) is not None
            for row in session.execute(select(table).where(of_study).order_by(*table.primary_key))
        )


def _of_study(table: Table, study_instance_uid: str) -> ColumnElement[bool] | None:
    runs = select(Run.id).where(Run.study_instance_uid == study_instance_uid)
    if "study_instance_uid" in table.c:
        return table.c.study_instance_uid == study_instance_uid
    if "run_id" in table.c:
        return table.c.run_id.in_(runs)
    if "result_id" in table.c:
        return table.c.result_id.in_(select(Result.id).where(Result.run_id.in_(runs)))
    return None
