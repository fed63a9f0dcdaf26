"""Bring a database to the schema of this version; safe to start on several machines at once."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from worker.foundation.errors import DatabaseUnavailable, MigrationBusy, UnmigratedDatabase
from worker.rows.database import MIGRATIONS, current_revision, expected_revision, open_engine, safe_location

ADVISORY_LOCK_KEY = 0x63787274  # "cxrt": any number nobody else uses on this server
LOCK_TIMEOUT_SECONDS = 20.0


def upgrade(url: str, *, lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS) -> str:
    """Migrate to the newest revision in one transaction and return that revision.

    One process migrates, the others wait and then find nothing left to do: an advisory lock on PostgreSQL, the write
    lock of ``BEGIN IMMEDIATE`` on SQLite.

    Raises
    ------
    MigrationBusy
        A lock was not free within ``lock_timeout_seconds`` (PostgreSQL) or 30 s (SQLite); nothing was changed.
    DatabaseUnavailable
        The database does not answer.
    UnmigratedDatabase
        A newer version has migrated it.
    """
    _make_sqlite_folder(url)
    engine = open_engine(url)
    try:
        found, expected = current_revision(engine), expected_revision()
        if found is not None and found > expected:
            raise UnmigratedDatabase(safe_location(url), found, expected)
        if found != expected:
            _upgrade(engine, url, lock_timeout_seconds)
    finally:
        engine.dispose()
    return expected_revision()


def is_new(url: str) -> bool:
    """Return whether this database has no tables of ours yet; looking for a file makes none.

    Raises
    ------
    DatabaseUnavailable
        The database does not answer.
    """
    engine = open_engine(url)
    try:
        return current_revision(engine) is None
    finally:
        engine.dispose()


def alembic_config() -> Config:
    """Return Alembic's configuration without any file: the revisions lie in the ``migrations`` package."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _make_sqlite_folder(url: str) -> None:
    scheme, _, path = url.partition(":///")
    if scheme == "sqlite" and path and path != ":memory:":
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseUnavailable(safe_location(url), f"cannot make its folder: {error.strerror}") from error


def _upgrade(engine: Engine, url: str, lock_timeout_seconds: float) -> None:
    config = alembic_config()
    try:
        with engine.begin() as connection:
            _lock(connection, lock_timeout_seconds)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except OperationalError as error:
        # LockNotAvailable on PostgreSQL, "database is locked" on SQLite
        if getattr(error.orig, "sqlstate", None) == "55P03" or "locked" in str(error.orig):
            raise MigrationBusy(safe_location(url), lock_timeout_seconds) from error
        raise


def _lock(connection: Connection, lock_timeout_seconds: float) -> None:
    if connection.dialect.name != "postgresql":
        return
    connection.execute(text(f"SET LOCAL lock_timeout = '{int(lock_timeout_seconds * 1000)}ms'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK_KEY})
