"""Several associations' rows in one transaction, where a database takes one writer at a time (SQLite).

Whoever comes while a transaction is being written waits for it and is then served with all the others that wait: one
``fsync`` for all of them. Without this, waiting writers would ask SQLite again and again, sleeping in between.
PostgreSQL writes side by side and groups commits by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from worker.rows.database import SessionFactory

Entry = Callable[[Session], None]
"""Writes rows; may be called a second time, in another session, after what it wrote first was rolled back."""


@dataclass
class _Waiting:
    entry: Entry
    done: bool = False
    trouble: BaseException | None = None


class GroupCommit:
    """Commits entries together; `commit` may be called from any thread."""

    def __init__(self, sessions: SessionFactory) -> None:
        self._sessions = sessions
        self._waiting: list[_Waiting] = []
        self._list_lock = threading.Lock()
        self._writer_lock = threading.Lock()
        with sessions() as session:
            self._one_writer = session.get_bind().dialect.name == "sqlite"

    def commit(self, entry: Entry) -> None:
        """Write and commit; returns when the rows are on disk.

        Raises
        ------
        Exception
            What the entry or its commit raised; of an entry that shared its transaction, only its own.
        """
        if not self._one_writer:
            with self._sessions.begin() as session:
                entry(session)
            return
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

    def _write(self, group: list[_Waiting]) -> None:
        try:
            with self._sessions.begin() as session:
                for waiting in group:
                    waiting.entry(session)
        except BaseException as error:  # noqa: BLE001 (raised again in the thread it belongs to)
            if len(group) == 1:
                group[0].trouble = error
            else:  # nobody pays for another's trouble: each alone
                for waiting in group:
                    self._write([waiting])
        for waiting in group:
            waiting.done = True
