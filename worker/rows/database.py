"""Engine, sessions, the database's clock and the schema check, the same for SQLite and PostgreSQL.

SQLite runs in WAL mode with ``synchronous=FULL`` (a commit is on disk when it returns) and every writing transaction
starts with ``BEGIN IMMEDIATE``, so two writers queue up at the start instead of failing at the first write.
PostgreSQL runs in READ COMMITTED; whoever changes a study locks its row first (``SELECT ... FOR UPDATE``, which SQLite
leaves out).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    ExceptionContext,
    create_engine,
    event,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session, sessionmaker

import migrations
from worker.foundation.errors import DatabaseUnavailable, UnmigratedDatabase
from worker.rows import study_words  # noqa: F401 (keeps the words of every study that a session changes)
from worker.rows.base import Base
from worker.rows.sqlite_direct import execute_directly

BUSY_TIMEOUT_MILLISECONDS = 30_000
CONNECT_TIMEOUT_SECONDS = 10
VANISHED_AFTER_SECONDS = 30
"""A database host that gives no sign of life for so long while we wait for one is gone: without power, cut off, or
replaced by another. TCP alone would wait for a quarter of an hour, and for an answer two hours."""
MIGRATIONS = Path(migrations.__file__).parent

DATABASE_GONE = (OperationalError, InterfaceError, PoolTimeoutError)
"""What is raised while the database is away, or so slow that it keeps every connection busy."""

SessionFactory = sessionmaker[Session]

_READ_ONLY_SQL_TRANSACTION = "25006"
"""PostgreSQL's SQLSTATE; asking its driver for the error's class would load the driver where SQLite is used."""

_DISK_FULL = "53100"

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_REMEDIES = dict.fromkeys(_DAMAGED, "restore it from a backup") | {
    sqlite3.SQLITE_IOERR: "look whether its disk is full or fails"
}
"""What helps where an SQLite file is there and cannot be read."""

_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")


def open_engine(url: str) -> Engine:
    """Return an engine for ``sqlite:///...`` or ``postgresql+psycopg://...``; connects only when used.

    Open it after a fork, never before: connections cannot be shared between processes.
    """
    if make_url(url).get_backend_name() != "sqlite":
        server = create_engine(url, pool_pre_ping=True, connect_args=_patience(url))
        event.listen(server, "handle_error", _read_only_is_an_outage)
        return server
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_MILLISECONDS / 1000, "check_same_thread": False})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    event.listen(engine, "handle_error", _damage_is_an_outage)
    return engine


def _patience(url: str) -> dict[str, int]:
    """Return how long libpq waits for a silent host, but for what the URL itself says of it."""
    told = make_url(url).query
    patience = {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "keepalives_idle": VANISHED_AFTER_SECONDS // 3,
        "keepalives_interval": VANISHED_AFTER_SECONDS // 6,
        "keepalives_count": 4,
        "tcp_user_timeout": VANISHED_AFTER_SECONDS * 1000,  # Linux: also for what was sent and not confirmed
    }
    return {name: value for name, value in patience.items() if name not in told}


def _read_only_is_an_outage(context: ExceptionContext) -> None:
    """Raise for a server that takes no writes just now what is raised for one that is gone; SQLite's driver does so."""
    error = context.original_exception
    if getattr(error, "sqlstate", None) == _READ_ONLY_SQL_TRANSACTION:
        raise OperationalError(context.statement, context.parameters, error) from error


def _damage_is_an_outage(context: ExceptionContext) -> None:
    """Raise for a damaged SQLite file what is raised for one that cannot be opened."""
    error = context.original_exception
    if _sqlite_code(error) in _DAMAGED:
        raise OperationalError(context.statement, context.parameters, error) from error


def _sqlite_code(error: BaseException | None) -> int:
    """Return SQLite's primary result code; 0 for what is no error of SQLite."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _prepare_sqlite(connection: Any, record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves; the driver would say it too late and without IMMEDIATE
    _set(connection, f"busy_timeout={BUSY_TIMEOUT_MILLISECONDS}")
    _write_ahead(connection)
    _set(connection, "synchronous=FULL")
    _set(connection, "foreign_keys=ON")


def _set(connection: Any, pragma: str) -> None:
    connection.execute(f"PRAGMA {pragma}").close()


def _write_ahead(connection: Any) -> None:
    """Keep a write-ahead log; for a new file that takes the whole of it, and then SQLite does not wait by itself."""
    deadline = time.monotonic() + BUSY_TIMEOUT_MILLISECONDS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    reads_only = connection.get_execution_options().get("read_only", False)
    execute_directly(connection, "BEGIN" if reads_only else "BEGIN IMMEDIATE")


def session_factory(engine: Engine, *, read_only: bool = False) -> SessionFactory:
    """Return the maker of sessions.

    Parameters
    ----------
    engine
        From `open_engine`.
    read_only
        True for pages and lists: such a session takes no write lock on SQLite and never waits for a writer.
    """
    bind = engine.execution_options(read_only=True) if read_only else engine
    return sessionmaker(bind, expire_on_commit=False)


def only_reading(sessions: SessionFactory) -> SessionFactory:
    """Return the maker of sessions that only look (``read_only`` of `session_factory`) into the same database."""
    return session_factory(sessions.kw["bind"], read_only=True)


def inserting(session: Session, rows: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT that may say what happens where the row is there already (``ON CONFLICT``), of either kind."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    return insert(rows)


def one_at_a_time(connection: Connection, name: str) -> None:
    """Let transactions about the same thing, which need not have a row yet, wait for each other until they end.

    PostgreSQL writes side by side; SQLite lets one transaction write at a time anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_ONE_AT_A_TIME, {"name": name})


def database_now(session: Session) -> datetime:
    """Return the database's own clock as aware UTC: the one clock that leases and due times are measured on."""
    return as_utc(session.execute(select(clock(session.get_bind().dialect.name))).scalar_one())


def clock(dialect_name: str) -> ColumnElement[Any]:
    """Return what asks this kind of database for the time, also within a longer statement; see `as_utc`."""
    return func.strftime("%Y-%m-%d %H:%M:%f", "now") if dialect_name == "sqlite" else func.clock_timestamp()


def as_utc(moment: str | datetime) -> datetime:
    """Return what the database's clock says, text in SQLite, as aware UTC."""
    if isinstance(moment, str):
        return datetime.fromisoformat(moment).replace(tzinfo=UTC)
    return moment.astimezone(UTC)


def safe_location(url: str) -> str:
    """Return the URL without its password, for messages."""
    return make_url(url).render_as_string(hide_password=True)


def outage_words(error: BaseException) -> str:
    """Return in words what keeps the database from its work, of an error of `DATABASE_GONE`; quotes no value."""
    cause = getattr(error, "orig", None) or error
    state, code = getattr(cause, "sqlstate", None), _sqlite_code(cause)
    if state == _READ_ONLY_SQL_TRANSACTION or code == sqlite3.SQLITE_READONLY:
        words = "the database takes no changes just now, it can only be read"
    elif state == _DISK_FULL or code == sqlite3.SQLITE_FULL:
        words = "the disk of the database is full"
    elif code == sqlite3.SQLITE_IOERR:
        words = "the disk of the database is full or fails"
    elif code == sqlite3.SQLITE_BUSY:
        words = "something else keeps the database locked"
    elif code in _DAMAGED:
        words = "the database file is damaged, or no database; restore it from a backup"
    else:
        words = "the database does not answer"
    return f"{words} ({type(cause).__name__})"


@contextmanager
def connect_or_explain(engine: Engine) -> Iterator[Connection]:
    """Connect for a read outside any session.

    Raises
    ------
    DatabaseUnavailable
        The server does not answer, or the SQLite file cannot be opened.
    """
    try:
        connection = engine.execution_options(read_only=True).connect()
    except OperationalError as error:
        remedy = _REMEDIES.get(_sqlite_code(error.orig), "")
        raise DatabaseUnavailable(engine.url.render_as_string(hide_password=True), str(error.orig), remedy) from error
    with connection:
        yield connection


def expected_revision() -> str:
    """Return the revision that this version of the worker needs: the last of the numbers that begin the files' names.

    Asking Alembic would load it and every revision into each process that starts.
    """
    numbers = [path.name.partition("_")[0] for path in MIGRATIONS.glob("versions/[0-9]*_*.py")]
    if not numbers:
        raise RuntimeError("the migrations package holds no revision; reinstall the worker")
    return max(numbers)


def current_revision(engine: Engine) -> str | None:
    """Return the revision that the database is at, None when it was never migrated.

    Raises
    ------
    DatabaseUnavailable
        The database does not answer.
    """
    file = engine.url.database
    if engine.dialect.name == "sqlite" and file not in (None, "", ":memory:") and not Path(str(file)).exists():
        return None  # looking must not make an empty file, nor fail because its folder is not there yet
    with connect_or_explain(engine) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


@contextmanager
def migrated_engine(url: str) -> Iterator[Engine]:
    """Open an engine on a database of the declared schema for the ``with`` block.

    Raises
    ------
    UnmigratedDatabase, DatabaseUnavailable
        As `require_current_schema`.
    """
    engine = open_engine(url)
    try:
        require_current_schema(engine)
        yield engine
    finally:
        engine.dispose()


def require_current_schema(engine: Engine) -> None:
    """Refuse to go on with a database that has another schema than the declared one.

    Raises
    ------
    UnmigratedDatabase
        The revision is missing, older, or from a newer version.
    DatabaseUnavailable
        The database does not answer.
    """
    found, expected = current_revision(engine), expected_revision()
    if found != expected:
        raise UnmigratedDatabase(engine.url.render_as_string(hide_password=True), found, expected)
