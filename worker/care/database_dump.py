"""The database as one file: by SQLite's own ``VACUUM INTO``, by ``pg_dump`` and ``pg_restore`` of PostgreSQL."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, inspect, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.orm import Session

from worker.foundation.errors import WorkerError
from worker.rows.database import BUSY_TIMEOUT_MILLISECONDS, database_now, migrated_engine, open_engine, session_factory
from worker.rows.run_tables import Result
from worker.rows.study_tables import Instance, Study
from worker.settings.config import Settings

SQLITE_SUFFIX, POSTGRESQL_SUFFIX = ".db", ".dump"
UNFINISHED_SUFFIX = ".part"


class DumpError(WorkerError):
    """The database could not be copied or brought back; the message says why."""


@dataclass(frozen=True)
class Dump:
    """A copy of the database, and a session on the very snapshot that was copied."""

    file: Path
    session: Session
    taken_at: datetime
    _live: Engine

    def still_knows(self, path: str) -> bool:
        """Say whether the database, as it is now, knows a file of this path."""
        with session_factory(self._live, read_only=True)() as session:
            kept = select(Instance.id).where(Instance.path == path, Instance.deleted_at.is_(None))
            return any(session.scalar(query) for query in (kept, select(Result.id).where(Result.path == path)))


@contextmanager
def dumping(settings: Settings, folder: Path) -> Iterator[Dump]:
    """Copy the database into a new file in the folder and keep the snapshot open while the block runs.

    An exception in the block takes the copy away again.

    Raises
    ------
    StartError
        The database does not answer or is of another version.
    DumpError
        It could not be copied.
    """
    with migrated_engine(settings.effective_database_url) as engine:
        is_sqlite = engine.dialect.name == "sqlite"
        copy, suffix = (_sqlite_dump, SQLITE_SUFFIX) if is_sqlite else (_postgresql_dump, POSTGRESQL_SUFFIX)
        file = folder / f"triage-{secrets.token_hex(4)}{suffix}"
        try:
            with copy(engine, file) as dump:
                yield dump
        except BaseException:
            for left in (file, _unfinished(file)):
                left.unlink(missing_ok=True)
            raise


def copies_in(folder: Path) -> list[Path]:
    """Return every copy of a database in a folder, finished or not."""
    endings = (SQLITE_SUFFIX, POSTGRESQL_SUFFIX, UNFINISHED_SUFFIX)
    return [path for path in folder.glob("triage*") if path.suffix in endings]


def _unfinished(file: Path) -> Path:
    return file.with_name(file.name + UNFINISHED_SUFFIX)


@contextmanager
def _sqlite_dump(engine: Engine, file: Path) -> Iterator[Dump]:
    partial = _unfinished(file)
    with session_factory(engine, read_only=True)() as session:
        taken_at = database_now(session)
    with closing(sqlite3.connect(str(engine.url.database), timeout=BUSY_TIMEOUT_MILLISECONDS / 1000)) as connection:
        connection.isolation_level = None  # VACUUM runs outside any transaction
        try:
            connection.execute("VACUUM INTO ?", (str(partial),))
        except sqlite3.Error as error:
            raise DumpError(f"cannot copy the database into {file.parent}: {error}") from error
    partial.replace(file)
    as_it_is = f"file:{quote(str(file.resolve()))}?mode=ro"  # not by `open_engine`, which would make it a WAL file
    snapshot = create_engine("sqlite://", creator=lambda: sqlite3.connect(as_it_is, uri=True))
    try:
        with session_factory(snapshot, read_only=True)() as session:
            yield Dump(file, session, taken_at, engine)
    finally:
        snapshot.dispose()


@contextmanager
def _postgresql_dump(engine: Engine, file: Path) -> Iterator[Dump]:
    partial = _unfinished(file)
    snapshot = engine.execution_options(isolation_level="REPEATABLE READ")
    with session_factory(snapshot, read_only=True)() as session:
        name = session.execute(text("SELECT pg_export_snapshot()")).scalar_one()
        taken_at = database_now(session)
        _run(engine.url, "pg_dump", "--format=custom", f"--snapshot={name}", f"--file={partial}")
        partial.replace(file)
        yield Dump(file, session, taken_at, engine)


def require_empty(settings: Settings) -> None:
    """Refuse a database that has studies.

    Raises
    ------
    DumpError
        It has.
    """
    url = make_url(settings.effective_database_url)
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():
        return
    engine = open_engine(settings.effective_database_url)
    try:
        with engine.execution_options(read_only=True).connect() as connection:
            full = inspect(connection).has_table(Study.__tablename__) and connection.scalar(
                text("SELECT 1 FROM study LIMIT 1")
            )
    finally:
        engine.dispose()
    if full:
        raise DumpError("the database has studies; restore into an empty one, so that nothing is overwritten")


def restore_dump(settings: Settings, file: Path) -> None:
    """Bring a copy back into the configured database, which `require_empty` has found empty.

    Raises
    ------
    DumpError
        The copy is of the other kind of database, or PostgreSQL's tools refuse it.
    """
    url = make_url(settings.effective_database_url)
    wanted = SQLITE_SUFFIX if url.get_backend_name() == "sqlite" else POSTGRESQL_SUFFIX
    if file.suffix != wanted:
        raise DumpError(
            f"the backup holds {file.name}, which fits another kind of database than database_url names; name one of "
            "the kind that was backed up"
        )
    if wanted == POSTGRESQL_SUFFIX:
        _run(url, "pg_restore", "--clean", "--if-exists", "--no-owner", "--single-transaction", str(file))
        return
    target = Path(str(url.database))
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in ("-wal", "-shm"):
        target.with_name(target.name + leftover).unlink(missing_ok=True)
    partial = target.with_name(target.name + ".part")
    shutil.copyfile(file, partial)
    with partial.open("rb") as copied:
        os.fsync(copied.fileno())
    partial.replace(target)


def _run(url: URL, program: str, *arguments: str) -> None:
    """Run a program of PostgreSQL's on the database; the password goes by the environment, where `ps` shows none."""
    if shutil.which(program) is None:
        raise DumpError(f"{program} is not installed here; install it (Debian package postgresql-client)")
    host = url.host or url.query.get("host")  # a folder with a socket stands in the query
    options = {"--host": host, "--port": url.port, "--username": url.username, "--dbname": url.database}
    given = [f"{name}={value}" for name, value in options.items() if value]
    environment = os.environ | ({"PGPASSWORD": str(url.password)} if url.password else {})
    done = subprocess.run([program, *given, *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DumpError(f"{program} ended with status {done.returncode}: {done.stderr.strip()[-500:]}")
