from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import pytest
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from worker.arrival.group_commit import GroupCommit
from worker.rows import database
from worker.rows.database import SessionFactory, open_engine, session_factory
from worker.rows.events import record
from worker.rows.site_tables import Event


@pytest.fixture
def sessions(sqlite_url: str) -> Iterator[SessionFactory]:
    engine = open_engine(sqlite_url)
    yield session_factory(engine)
    engine.dispose()


def note(connection: Connection, actor: str) -> None:
    with Session(connection) as session:
        record(session, "received", actor=actor)
        session.flush()


def test_who_waits_is_committed_together_and_trouble_stays_with_its_own(sessions) -> None:
    group_commit = GroupCommit(sessions)
    under_way, go_on = threading.Event(), threading.Event()
    transactions: list[int] = []

    def first(connection: Connection) -> None:
        under_way.set()
        go_on.wait(10)
        note(connection, "first")

    def follower(number: int) -> None:
        def entry(connection: Connection) -> None:
            transactions.append(id(connection.get_transaction()))
            note(connection, f"follower {number}")

        group_commit.commit(entry)
        with sessions() as session:  # committed when it returns
            assert session.scalar(select(Event.id).where(Event.actor == f"follower {number}")) is not None

    with ThreadPoolExecutor(8) as pool:
        leading = pool.submit(group_commit.commit, first)
        assert under_way.wait(10)
        following = [pool.submit(follower, number) for number in range(5)]
        while len(group_commit._waiting) < 5:
            time.sleep(0.01)
        go_on.set()
        for each in (leading, *following):
            each.result(20)
    assert len(set(transactions)) == 1
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Event)) == 6


def test_an_entry_that_fails_takes_no_other_with_it(sessions) -> None:
    group_commit = GroupCommit(sessions)
    under_way, go_on = threading.Event(), threading.Event()

    def first(connection: Connection) -> None:
        under_way.set()
        go_on.wait(10)

    def good(connection: Connection) -> None:
        note(connection, "good")

    def bad(connection: Connection) -> None:
        note(connection, "bad")
        raise ValueError("its own trouble")

    with ThreadPoolExecutor(4) as pool:
        leading = pool.submit(group_commit.commit, first)
        assert under_way.wait(10)
        following = [pool.submit(group_commit.commit, entry) for entry in (good, bad, good)]
        while len(group_commit._waiting) < 3:
            time.sleep(0.01)
        go_on.set()
        leading.result(20)
        following[0].result(20)
        following[2].result(20)
        with pytest.raises(ValueError, match="its own trouble"):
            following[1].result(20)
    with sessions() as session:
        assert session.scalars(select(Event.actor)).all() == ["good", "good"]


def test_a_database_that_stays_locked_is_waited_for_once_and_not_once_for_everybody(sqlite_url, monkeypatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MILLISECONDS", 400)
    engine = open_engine(sqlite_url)
    group_commit, begun = GroupCommit(session_factory(engine)), list[str]()
    group_commit.commit(partial(note, actor="earlier"))
    begin = database.execute_directly
    monkeypatch.setattr(database, "execute_directly", lambda *each: (begun.append(each[1]), begin(*each)))
    with ThreadPoolExecutor(8) as pool, closing(sqlite3.connect(engine.url.database or "")) as other:
        other.execute("BEGIN IMMEDIATE")
        leading = pool.submit(group_commit.commit, partial(note, actor="leading"))
        while not (begun or leading.done()):
            time.sleep(0.01)
        following = [pool.submit(group_commit.commit, partial(note, actor="following")) for _ in range(6)]
        for each in (leading, *following):
            with pytest.raises(OperationalError, match="locked"):
                each.result(20)
        other.rollback()
        assert len(begun) <= 3, "the first, and the others together"
    group_commit.commit(partial(note, actor="later"))
    engine.dispose()
