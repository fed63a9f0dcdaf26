"""Every row of every table as one text, to search for what must not be there."""

from __future__ import annotations

from sqlalchemy import select

from worker.rows.base import Base
from worker.rows.database import SessionFactory


def all_rows(sessions: SessionFactory) -> str:
    """Return all rows, as Python writes them."""
    with sessions() as session:
        return "\n".join(repr(row) for table in Base.metadata.sorted_tables for row in session.execute(select(table)))
