"""Migrated PostgreSQL databases for tests, taken back, emptied and given out again: making one writes 9 MB.

Processes that share the tests of a run share one server and its template as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from services import ServiceMissingError, postgres
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.engine import make_url

from worker.rows.migrate import upgrade

_TEMPLATE = "cxr_template"
_GIVEN = "cxr_postgres_url"
"""Where a process finds the URL of the server that was made for all."""
_OUR_FIRST_OID = 16384
_SCHEMA = f"""
SELECT md5(string_agg(mark, ' ' ORDER BY mark)) FROM (
  SELECT format('column %s %s %s', attrelid, attnum, xmin) FROM pg_attribute WHERE attrelid >= {_OUR_FIRST_OID}
  UNION ALL SELECT format('relation %s %s %s', oid, relname, relacl) FROM pg_class WHERE oid >= {_OUR_FIRST_OID}
  UNION ALL SELECT format('constraint %s %s', oid, xmin) FROM pg_constraint WHERE oid >= {_OUR_FIRST_OID}
  UNION ALL SELECT format('view %s %s', oid, xmin) FROM pg_rewrite WHERE oid >= {_OUR_FIRST_OID}
  UNION ALL SELECT format('function %s %s', oid, xmin) FROM pg_proc WHERE oid >= {_OUR_FIRST_OID}
  UNION ALL SELECT format('trigger %s %s', oid, xmin) FROM pg_trigger WHERE oid >= {_OUR_FIRST_OID}
  UNION ALL SELECT format('comment %s %s %s', objoid, objsubid, xmin) FROM pg_description
    WHERE objoid >= {_OUR_FIRST_OID}
  UNION ALL SELECT format('statistics %s', starelid) FROM pg_statistic WHERE starelid >= {_OUR_FIRST_OID}
  UNION ALL SELECT format('schema %s %s', nspname, nspacl) FROM pg_namespace WHERE nspname NOT LIKE 'pg_temp%'
    AND nspname NOT LIKE 'pg_toast_temp%'
  UNION ALL SELECT format('settings %s', setconfig) FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase
    WHERE datname = current_database()
  UNION ALL SELECT format('rights %s', datacl) FROM pg_database WHERE datname = current_database()
  UNION ALL SELECT format('revision %s', version_num) FROM alembic_version
) AS marks (mark)
"""  # noqa: S608 (no value from outside)
"""Changes with everything that a test may change in a database but rows: whoever did gets the next one a new one."""
_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_RESTART = (
    "SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)"
    " FROM pg_sequences WHERE last_value IS NOT NULL"
)


def administer(url: str, statement: str) -> None:
    """Execute a statement outside any transaction."""
    with _connected(url) as connection:
        connection.execute(text(statement))


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def _schema_of(connection: Connection) -> str:
    return str(connection.execute(text(_SCHEMA)).scalar_one())


@contextmanager
def migrated_template(server_url: str) -> Iterator[None]:
    """Keep the database there that others are copies of; ``server_url`` is that of the maintenance database."""
    administer(server_url, f"DROP DATABASE IF EXISTS {_TEMPLATE} WITH (FORCE)")
    administer(server_url, f"CREATE DATABASE {_TEMPLATE}")
    upgrade(_url(server_url, _TEMPLATE))
    yield
    administer(server_url, f"DROP DATABASE {_TEMPLATE} WITH (FORCE)")


class SharedServer:
    """Part of the process that hands out a run's tests: a server with a template for those that run them."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._url: str | None = None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a process where the server is, which starts with the first of them; none where none can be had."""
        if self._url is None:
            try:
                self._url = self._open.enter_context(postgres())
            except ServiceMissingError:  # each test that needs one says so
                return
            self._open.enter_context(migrated_template(self._url))
        node.workerinput[_GIVEN] = self._url

    def pytest_unconfigure(self) -> None:
        """Stop the server: all tests are over."""
        self._open.close()


def shared_server_url(config: pytest.Config) -> str | None:
    """Return the URL of the maintenance database of the run's server; None in a process that runs tests alone."""
    url = getattr(config, "workerinput", {}).get(_GIVEN)
    return None if url is None else str(url)


def _url(server_url: str, database: str) -> str:
    return make_url(server_url).set(database=database).render_as_string(hide_password=False)


@dataclass
class PostgresDatabases:
    """Databases on one server that has a template (``migrated_template``)."""

    server_url: str
    """Of its maintenance database."""
    _free: list[str] = field(default_factory=list)
    _made: int = 0
    _schema: str = ""
    _tables: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        with _connected(_url(self.server_url, _TEMPLATE)) as connection:
            self._schema = _schema_of(connection)
            query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
            self._tables = tuple(connection.execute(text(query)).scalars())
            assert self._filled(connection) == [], "emptying a table would take away what the migrations put in"

    def take(self) -> str:
        """Return the URL of a migrated database without rows."""
        if self._free:
            return _url(self.server_url, self._free.pop())
        self._made += 1
        name = f"cxr_test_{os.getpid()}_{self._made}"
        self._administer(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        return _url(self.server_url, name)

    def give_back(self, url: str) -> None:
        """End all connections; keep the database for the next one, or drop it where more than rows was changed."""
        name = str(make_url(url).database)
        with _connected(_url(self.server_url, name)) as connection:
            connection.execute(text(_OTHERS))
            same = inspect(connection).has_table("alembic_version") and self._schema == _schema_of(connection)
            if same:
                self._empty(connection)
        if same:
            self._free.append(name)
        else:
            self._administer(f"DROP DATABASE {name} WITH (FORCE)")

    def drop_all(self) -> None:
        """Leave nothing on the server, which may go on living."""
        for name in self._free:
            self._administer(f"DROP DATABASE {name} WITH (FORCE)")

    def _empty(self, connection: Connection) -> None:
        if filled := self._filled(connection):
            connection.execute(text(f"TRUNCATE {', '.join(filled)} CASCADE"))
        connection.execute(text(_RESTART))

    def _filled(self, connection: Connection) -> list[str]:
        """Return the tables that hold rows."""
        queries = (f"SELECT '{name}' WHERE EXISTS (SELECT FROM {name})" for name in self._tables)  # noqa: S608 (ours)
        query = " UNION ALL ".join(queries)
        return list(connection.execute(text(query)).scalars())

    def _administer(self, statement: str) -> None:
        administer(self.server_url, statement)
