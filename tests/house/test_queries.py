"""docs/queries.md: every worked query gives, on SQLite and PostgreSQL, the answer counted by hand from known rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, RowMapping, create_engine, select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session
from study_rows import add_study, add_triaged_study

from worker.care.administration import mark_read
from worker.rows.database import SessionFactory
from worker.rows.states import DeliveryState, StudyState
from worker.rows.study_tables import Review, Study

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "queries.md").read_text(encoding="utf-8")
QUERIES: dict[str, str] = dict(re.findall(r"^### ([^\n]+)\n(?:[^#`][^\n]*\n|\n)*```sql\n(.*?)```", PAGE, re.M | re.S))
ROLES = re.findall(r"```sql role\n(.*?)```", PAGE, re.S)
VERSION = "0.1.0+weights.0a1b2c3d"

ANSWERS: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
    "How many unread STAT": ("priority studies oldest_minutes", [("STAT", 1, 20), ("URGENT", 1, 600)]),
    "How many STAT pneumothorax": (
        "station_name calling_ae_title studies read_so_far mean_minutes longest_minutes",
        [("ROOM-1", "PACS", 3, 2, 20, 30), ("ROOM-2", "PACS", 1, 0, None, None)],
    ),
    "How long is half of": ("priority studies median_minutes", [("ROUTINE", 1, 5), ("STAT", 2, 20)]),
    "How many studies of every hundred": ("model_version studies flagged per_hundred", [(VERSION, 6, 4, 67)]),
    "What would another threshold": ("studies flagged_now flagged_at_80_percent", [(7, 4, 3)]),
    "Which studies have no answer": (
        "state reason_code studies",
        [("not_analysed", "age", 2), ("failed", "poison", 1)],
    ),
    "Which results have not arrived": (
        "destination state last_comment objects studies",
        [("pacs", "pending", None, 1, 1), ("pacs", "refused", "out of resources", 2, 1)],
    ),
    "Which device has fallen silent": (
        "calling_ae_title station_name studies silent_hours",
        [("PACS", "ROOM-2", 1, 50), ("WARD", "", 2, 10), ("PACS", "ROOM-3", 3, 2), ("PACS", "ROOM-1", 4, 0)],
    ),
    "Which stage of the analysis": (
        "stage runs mean_ms longest_ms",
        [("total", 6, 271, 271), ("decode", 6, 112, 112), ("build", 6, 84, 84), ("inference", 6, 61, 61)],
    ),
    "How often do radiologists agree": (
        "finding reviews agreed percent",
        [("Pneumothorax", 2, 1, 50), ("Effusion", 1, 1, 100)],
    ),
    "Who changed what by hand": ("actor kind", [("anna", "read")]),
    "What happened to one study": (
        "kind to_state",
        [
            ("received", "receiving"),
            ("queued", "queued"),
            ("claimed", "triaging"),
            ("triaged", "triaged"),
            ("read", None),
        ],
    ),
}
"""Beginning of a question -> the columns looked at and their rows."""
BY_DAY = ("What share of each source's", "How many studies were answered each day")


def add_studies(session: Session, now: datetime) -> None:
    """Add ten studies of four devices; ``ANSWERS`` counts them."""
    room: dict[str, Any] = {"calling_ae_title": "PACS", "station_name": "ROOM-1", "now": now}

    def read(minutes_ago: float, after: float) -> dict[str, Any]:
        return {"minutes_ago": minutes_ago, "read_at": now - timedelta(minutes=minutes_ago - after), "read_by": "ben"}

    first = add_triaged_study(session, {"Pneumothorax": 0.91, "Effusion": 0.1}, **room, **read(50, 10))
    second = add_triaged_study(session, {"Pneumothorax": 0.85, "Effusion": 0.7}, **room, **read(55, 30))
    waiting = {"Pneumothorax": 0.65, "Effusion": 0.2}
    add_triaged_study(session, waiting, **room, minutes_ago=20, delivery_state=None, accession_number="ACC-1")
    nothing = {"Pneumothorax": 0.3, "Effusion": 0.2}
    sent_later = add_triaged_study(session, nothing, **room, **read(45, 5), delivery_state=DeliveryState.PENDING)
    add_triaged_study(
        session, {"Pneumothorax": 0.95, "Effusion": 0.3}, now=now, minutes_ago=50 * 60, calling_ae_title="PACS",
        station_name="ROOM-2", state=StudyState.QUEUED, delivery_state=DeliveryState.REFUSED,
    )  # fmt: skip
    ward: dict[str, Any] = {"now": now, "minutes_ago": 600, "calling_ae_title": "WARD"}
    add_triaged_study(session, {"Effusion": 0.9, "Pneumothorax": 0.1}, **ward)
    add_triaged_study(session, {"Effusion": 0.4, "Pneumothorax": 0.1}, **ward)
    for state, reason_code in (("not_analysed", "age"), ("not_analysed", "age"), ("failed", "poison")):
        add_study(session, **room | {"station_name": "ROOM-3"}, minutes_ago=120, state=state, reason_code=reason_code)
    for study in session.query(Study).where(Study.priority.in_(("STAT", "URGENT"))):
        study.flagged_at = study.last_received_at
    reviews = ((first, "Pneumothorax", "disagree"), (first, "Pneumothorax", "agree"), (first, None, "read"),
               (second, "Pneumothorax", "disagree"), (sent_later, "Effusion", "agree"))  # fmt: skip
    for study, finding, verdict in reviews:
        uid = study.study_instance_uid
        session.add(Review(study_instance_uid=uid, finding=finding, verdict=verdict, reviewer="anna", created_at=now))
        session.flush()


@pytest.fixture
def seeded(sessions: SessionFactory, engine: Engine) -> Engine:
    """The database with these studies, one of them just marked read and marked unread again by hand of SQL."""
    now = datetime.now(UTC)
    with sessions.begin() as session:
        add_studies(session, now)
        uid = session.query(Study.study_instance_uid).filter_by(accession_number="ACC-1").scalar()
        mark_read(session, uid, "anna")
        session.get_one(Study, uid).read_at = None
    return engine


def answer(engine: Engine, question: str) -> list[RowMapping]:
    query = next(sql for asked, sql in QUERIES.items() if asked.startswith(question))
    with engine.connect() as connection:
        return list(connection.execute(text(query.replace(":", r"\:"))).mappings())


def test_every_question_on_the_page_has_a_query_and_an_answer_here() -> None:
    questions = re.findall(r"^### (.+)$", PAGE, re.M)
    assert list(QUERIES) == questions
    assert all(sum(asked.startswith(start) for start in (*ANSWERS, *BY_DAY)) == 1 for asked in questions)


def test_every_query_gives_what_was_counted_by_hand(seeded: Engine) -> None:
    for question, (columns, expected) in ANSWERS.items():
        found = [tuple(row[name] for name in columns.split()) for row in answer(seeded, question)]
        assert found == expected, question


def test_what_is_counted_day_by_day_falls_on_the_day_of_the_first_image(
    seeded: Engine, sessions: SessionFactory
) -> None:
    with sessions() as session:
        triaged = session.scalars(select(Study).where(Study.priority.is_not(None))).all()
    share, answered = (answer(seeded, question) for question in BY_DAY)
    per_day = Counter((f"{study.first_received_at:%Y-%m-%d}", study.calling_ae_title) for study in triaged)
    assert {(str(row["received_on"]), row["calling_ae_title"]): row["studies"] for row in share} == per_day
    assert sum(row["positive"] for row in share) == 2
    assert all(row["percent"] == round(100 * row["positive"] / row["studies"]) for row in share)
    done = Counter(f"{study.first_received_at:%Y-%m-%d}" for study in triaged if study.state == StudyState.TRIAGED)
    assert {str(row["received_on"]): row["studies"] for row in answered} == done
    assert {(row["mean_seconds"], row["longest_seconds"]) for row in answered} == {(1, 1)}


@pytest.fixture
def make_role(seeded: Engine) -> Iterator[Callable[[str], Engine]]:
    """Run a block of statements from the page as the owner and log in as the role that it makes."""
    if seeded.dialect.name != "postgresql":
        pytest.skip("SQLite knows no roles")
    opened: list[tuple[Engine, str]] = []

    def make(statements: str) -> Engine:
        name = re.findall(r"CREATE ROLE (\w+)", statements)[0]
        password = re.findall(r"PASSWORD '([^']+)'", statements)[0]
        with seeded.begin() as connection:
            connection.exec_driver_sql(statements)
        engine = create_engine(seeded.url.set(username=name, password=password))
        opened.append((engine, name))
        return engine

    yield make
    for engine, name in opened:
        engine.dispose()
        with seeded.begin() as connection:
            connection.exec_driver_sql(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_the_reading_role_reads_the_views_also_of_later_versions_and_writes_nothing(
    make_role: Callable[[str], Engine], seeded: Engine
) -> None:
    reader = make_role(ROLES[0])
    for question, (columns, expected) in ANSWERS.items():
        found = [tuple(row[name] for name in columns.split()) for row in answer(reader, question)]
        assert found == expected, question
    with seeded.begin() as connection:
        connection.exec_driver_sql("CREATE VIEW of_a_later_version AS SELECT state FROM study")
    assert refusal(reader, "SELECT * FROM of_a_later_version") is None
    for statement in (
        "UPDATE study SET read_at = now()",
        "DELETE FROM event",
        "INSERT INTO service_lease VALUES ('sweeper', 'me', now())",
        "CREATE TABLE mine (a INT)",
        "SELECT content FROM inbound_message",
    ):
        assert refusal(reader, statement) == "InsufficientPrivilege", statement


def test_the_dashboards_role_counts_and_sees_no_patient(make_role: Callable[[str], Engine]) -> None:
    dashboard = make_role(ROLES[1])
    assert refusal(dashboard, QUERIES[next(asked for asked in QUERIES if "unread STAT" in asked)]) is None
    assert refusal(dashboard, QUERIES[next(asked for asked in QUERIES if "share of each source" in asked)]) is None
    assert refusal(dashboard, QUERIES[next(asked for asked in QUERIES if "Which stage" in asked)]) is None
    for column in ("patient_name", "patient_id", "patient_birth_date", "accession_number", "study_instance_uid"):
        statement = f"SELECT {column} FROM triage_worklist"  # noqa: S608 (names from the line above)
        assert refusal(dashboard, statement) == "InsufficientPrivilege"
    assert refusal(dashboard, "SELECT state FROM study") == "InsufficientPrivilege"


def refusal(engine: Engine, statement: str) -> str | None:
    """Return why PostgreSQL refuses the statement, with the session's own read-only default lifted; None if it runs."""
    with engine.connect() as connection:
        connection.exec_driver_sql("SET TRANSACTION READ WRITE")
        try:
            connection.exec_driver_sql(statement.replace("%", "%%"))
        except ProgrammingError as error:
            return type(error.orig).__name__
    return None
