"""A database host that vanishes without a word (power, network, a failover to another one) is given up in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from distant_database import DistantDatabase, distant_database
from psycopg.conninfo import make_conninfo
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from worker.rows.database import VANISHED_AFTER_SECONDS, open_engine


@pytest.fixture
def database() -> Iterator[DistantDatabase]:
    try:
        with distant_database() as made:
            yield made
    except NotImplementedError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_an_answer_that_never_comes_is_not_waited_for_for_hours(database: DistantDatabase) -> None:
    engine = open_engine(database.url)
    told: list[OperationalError] = []

    def ask() -> None:
        try:
            with engine.connect() as connection:
                connection.execute(text("SELECT pg_sleep(600)"))
        except OperationalError as error:
            told.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    time.sleep(2)  # the question is there; from now on only silence says that nobody is
    database.vanish()
    asking.join(VANISHED_AFTER_SECONDS + 20)
    assert told, "it still waits"


@pytest.mark.slow
def test_a_question_that_never_arrives_is_not_sent_again_for_a_quarter_of_an_hour(database: DistantDatabase) -> None:
    engine = open_engine(database.url)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        database.vanish()
        begun = time.monotonic()
        with pytest.raises(OperationalError):
            connection.execute(text("SELECT 1"))
        assert time.monotonic() - begun < VANISHED_AFTER_SECONDS + 20


def test_every_connection_says_how_long_silence_may_last_unless_the_address_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[dict[str, Any]] = []

    def note(*_arguments: object, **parameters: Any) -> None:
        asked.append(parameters)
        raise psycopg.OperationalError("nobody there")

    monkeypatch.setattr(psycopg, "connect", note)
    for query in ("", "?tcp_user_timeout=7000&connect_timeout=3"):
        with pytest.raises(OperationalError):
            open_engine(f"postgresql+psycopg://cxr@db.example/triage{query}").connect()
    ours, theirs = asked
    assert int(ours["tcp_user_timeout"]) == VANISHED_AFTER_SECONDS * 1000
    assert (int(theirs["tcp_user_timeout"]), int(theirs["connect_timeout"])) == (7000, 3)
    known = {name: value for name, value in ours.items() if name != "context"}  # which is psycopg's own
    assert "keepalives_idle" in make_conninfo("", **known)  # refuses what libpq does not know
