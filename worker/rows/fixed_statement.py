"""Statements that are put into SQL once and then go to the driver as they are, where a sender waits for them.

SQLAlchemy looks every statement up in its cache and works out the values anew each time: measured, three quarters of
what a small statement on SQLite costs. What is written stays the declared tables' business: names, types and how a
moment or a JSON value is stored come from there.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, Executable, Insert, Table, insert
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

from worker.rows.sqlite_direct import execute_directly


@dataclass(frozen=True)
class _Prepared:
    """One statement for one kind of database."""

    sql: str
    order: tuple[str, ...] | None
    """Names in the order of the placeholders; None where the driver takes names."""
    constants: dict[str, Any]
    stored_as: tuple[tuple[str, Callable[[Any], Any]], ...]
    """How a value of that name is put for the driver, where it is not put as it is."""

    def values(self, parameters: Mapping[str, Any]) -> Any:
        """Return what the driver takes."""
        values = {**self.constants, **parameters}
        for name, stored in self.stored_as:
            values[name] = stored(values[name])
        return values if self.order is None else tuple([values[name] for name in self.order])


class FixedStatement:
    """A statement with named parameters, the same on every call.

    Rows come as the driver gives them: on SQLite, truth is a number and a moment is text.

    Parameters
    ----------
    statement
        A select, update or delete whose values are all bound by name, or given.
    """

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._prepared: dict[str, _Prepared] = {}

    def execute(self, connection: Connection, parameters: Mapping[str, Any]) -> Sequence[Any]:
        """Execute it in the connection's transaction and return its rows, their values by the columns' names.

        Every parameter must be given, on every call the same ones.
        """
        prepared = self._prepared.get(connection.dialect.name) or self._prepare(connection, parameters)
        if connection.dialect.name == "sqlite":
            cursor = execute_directly(connection, prepared.sql, prepared.values(parameters))
            if cursor.description is None:
                return ()
            row = _row_class(tuple(column[0] for column in cursor.description))
            return [row._make(values) for values in cursor.fetchall()]
        result = connection.exec_driver_sql(prepared.sql, prepared.values(parameters))
        return result.all() if result.returns_rows else ()

    def _compiled(self, connection: Connection, parameters: Mapping[str, Any]) -> SQLCompiler:
        return _compile(self._statement, connection, None)

    def _prepare(self, connection: Connection, parameters: Mapping[str, Any]) -> _Prepared:
        dialect = connection.dialect
        compiled = self._compiled(connection, parameters)
        processors = {
            name: bind.type.dialect_impl(dialect).bind_processor(dialect) for bind, name in compiled.bind_names.items()
        }
        prepared = _Prepared(
            str(compiled),
            tuple(compiled.positiontup or ()) if compiled.positional else None,
            {name: value for name, value in compiled.params.items() if name not in parameters},
            tuple((name, process) for name, process in processors.items() if process is not None),
        )
        self._prepared[dialect.name] = prepared
        return prepared


class FixedInsert(FixedStatement):
    """Rows into one table; their columns are those of the first call.

    Parameters
    ----------
    what
        The table, or an insert into it that also says what happens where the row is there already.
    """

    def __init__(self, what: Table | Insert) -> None:
        super().__init__((what if isinstance(what, Insert) else insert(what)).inline())

    def _compiled(self, connection: Connection, parameters: Mapping[str, Any]) -> SQLCompiler:
        compiled = _compile(self._statement, connection, list(parameters))
        if compiled.prefetch:
            left_out = ", ".join(column.name for column in compiled.prefetch)
            raise ValueError(f"a fixed insert fills in no defaults; give a value for {left_out}")
        return compiled


@cache
def _row_class(names: tuple[str, ...]) -> Any:
    return namedtuple("Row", names)


def _compile(statement: Executable, connection: Connection, columns: list[str] | None) -> SQLCompiler:
    if not isinstance(statement, ClauseElement):
        raise TypeError(f"{type(statement).__name__} cannot be put into SQL")
    compiled = statement.compile(dialect=connection.dialect, column_keys=columns)
    if not isinstance(compiled, SQLCompiler):
        raise TypeError(f"{type(compiled).__name__} is no compiled statement")
    return compiled
