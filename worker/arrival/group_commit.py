"""Several associations' rows in one transaction, where a database takes one writer at a time (SQLite).

Whoever comes while a transaction is being written waits for it and is then served with all the others that wait: one
``fsync`` for all of them. Without this, waiting writers would ask SQLite again and again, sleeping in between.
PostgreSQL writes side by side and groups commits by itself.

One connection is kept for it, past the pool: a session and a connection from there for each transaction cost as much as
its statements.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from sqlalchemy import Connection

from worker.rows.database import SessionFactory

Outcome = TypeVar("Outcome")


@dataclass
class _Waiting:
    entry: Callable[[Connection], Any]
    outcome: Any = None
    done: bool = False
    trouble: BaseException | None = None


class GroupCommit:
    """Commits entries together; `commit` may be called from any thread."""

    def __init__(self, sessions: SessionFactory) -> None:
        self._waiting: list[_Waiting] = []
        self._list_lock = threading.Lock()
        self._writer_lock = threading.Lock()
        with sessions() as session:
            self._engine = session.get_bind().engine
        self._one_writer = self._engine.dialect.name == "sqlite"
        self._kept: Connection | None = None
        """Of whoever holds the writer's lock."""

    def commit(self, entry: Callable[[Connection], Outcome]) -> Outcome:
        """Write and commit; returns what the entry returned when its rows are on disk.

        Parameters
        ----------
        entry
            Writes rows; may be called a second time, in another transaction, after what it wrote first was rolled back.

        Raises
        ------
        Exception
            What the entry or its commit raised; of an entry that shared its transaction, only its own. That no
            transaction could begin is told to all that waited for it.
        """
        if not self._one_writer:
            with self._engine.begin() as connection:
                return entry(connection)
        own = _Waiting(entry)
        with self._list_lock:
            self._waiting.append(own)
        with self._writer_lock:
            if not own.done:  # else whoever wrote before has served us, too
                with self._list_lock:
                    group, self._waiting = self._waiting, []
                self._write(group)
        if own.trouble is not None:
            raise own.trouble
        return cast(Outcome, own.outcome)

    def _write(self, group: list[_Waiting]) -> bool:
        """Write the rows of all; return False where no transaction began, which is trouble of all and of nobody.

        A database that stays locked is so waited for once, and not once for each.
        """
        begun = False
        try:
            with self._transaction() as connection:
                begun = True
                for waiting in group:
                    waiting.outcome = waiting.entry(connection)
        except BaseException as error:  # noqa: BLE001 (raised again in the threads it belongs to)
            if begun and len(group) > 1:
                self._write_each(group)
                return True
            for waiting in group:
                waiting.trouble = error
        for waiting in group:
            waiting.done = True
        return begun

    def _write_each(self, group: list[_Waiting]) -> None:
        """Write the rows of each in a transaction of its own: nobody pays for another's trouble."""
        for number, waiting in enumerate(group):
            if not self._write([waiting]):
                for other in group[number + 1 :]:
                    other.trouble, other.done = waiting.trouble, True
                return

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Begin on the kept connection and commit; after trouble of any kind it is kept no longer."""
        connection, self._kept = self._kept or self._engine.connect(), None
        try:
            with connection.begin():
                yield connection
        except BaseException:
            connection.close()
            raise
        self._kept = connection
