"""Alembic's entry point: runs the revisions on the connection that ``worker.rows.migrate.upgrade`` hands over.

Started by Alembic's own command line (to write a new revision), it opens the configured database itself.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from worker.rows.base import Base
from worker.rows.database import open_engine
from worker.settings.config import load_settings


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    with open_engine(load_settings().effective_database_url).begin() as own:
        _run(own)
