"""Who looked at which study is kept: once for each person, study and hour, and without the patient."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from httpx import Client
from pages import PASSWORD, csrf_of, served
from sqlalchemy import select
from study_rows import add_triaged_study, now

from worker.care.looking import note_listing, note_look
from worker.care.tokens import create_token
from worker.rows.database import SessionFactory
from worker.rows.site_tables import Event
from worker.rows.study_tables import Instance
from worker.settings.config import Settings
from worklist.accounts import Role, write_password_file

KINDS = ("viewed", "listed")


@pytest.fixture
def uids(writing: SessionFactory) -> list[str]:
    with writing.begin() as session:
        studies = [
            add_triaged_study(session, {"Mass": 0.9}, now=now(), patient_name="SECRET^NAME", patient_id="SECRET-7")
            for _ in range(2)
        ]
        return [study.study_instance_uid for study in studies]


@pytest.fixture
def url(page_settings: Settings, tmp_path: Path) -> Iterator[str]:
    """A page with two radiologists."""
    accounts = tmp_path / "accounts"
    for name in ("ada", "bob"):
        write_password_file(accounts, PASSWORD, name, Role.RADIOLOGIST)
    with served(page_settings.model_copy(update={"worklist_password_hash_file": accounts})) as address:
        yield address


@contextmanager
def logged_in(url: str, name: str) -> Iterator[Client]:
    with Client(base_url=url, follow_redirects=True, timeout=30) as client:
        form = {"username": name, "password": PASSWORD, "csrf": csrf_of(client.get("/login").text)}
        assert client.post("/login", data=form).status_code == 200
        yield client


def looks(writing: SessionFactory, count: int) -> list[tuple[str, str | None]]:
    """Wait for so many notes, which are made after the answers, and return who looked at what."""
    deadline = time.monotonic() + 10
    while True:
        with writing() as session:
            found = session.scalars(select(Event).where(Event.kind.in_(KINDS)).order_by(Event.id)).all()
        if len(found) >= count or time.monotonic() > deadline:
            assert "SECRET" not in str([vars(event) for event in found])
            return [(event.actor, event.study_instance_uid or event.reason) for event in found]
        time.sleep(0.05)


def test_who_opens_a_study_is_noted_once_an_hour_whatever_of_it_they_look_at(
    url: str, uids: list[str], writing: SessionFactory
) -> None:
    with writing() as session:
        image = session.scalars(select(Instance.id).where(Instance.study_instance_uid == uids[0])).one()
    with logged_in(url, "ada") as ada, logged_in(url, "bob") as bob:
        for _ in range(3):
            assert ada.get(f"/studies/{uids[0]}").status_code == 200
            ada.get(f"/studies/{uids[0]}/instances/{image}.png")
            ada.get(f"/api/studies/{uids[0]}")
        assert looks(writing, 1) == [("ada", uids[0])]
        bob.get(f"/api/studies/{uids[0]}")
        assert looks(writing, 2)[1:] == [("bob", uids[0])]
        ada.get(f"/studies/{uids[1]}/instances/0.png")
        assert looks(writing, 3)[2:] == [("ada", uids[1])]
        ada.get("/")
        ada.get("/studies/1.2.3")
        with writing.begin() as session:
            for event in session.scalars(select(Event).where(Event.kind == "viewed")):
                event.at -= timedelta(hours=1, seconds=1)
        page = ada.get(f"/studies/{uids[0]}").text
        assert looks(writing, 4)[3:] == [("ada", uids[0])]
        rows = ada.get("/api/v1/events", params={"kind": "viewed"}).json()["rows"]
    assert [(row["actor"], row["study_instance_uid"]) for row in rows] == looks(writing, 4)
    assert "viewed" not in page.split('id="timeline"')[1].split("</ol>")[0]


def test_a_page_and_its_pictures_asked_for_at_once_are_one_look(uids: list[str], writing: SessionFactory) -> None:
    for _ in range(2):
        with writing.begin() as session:
            note_look(session, uids[0], "ada")
            note_look(session, uids[1], "ada")
            note_look(session, "1.2.3", "ada")
    assert looks(writing, 2) == [("ada", uids[0]), ("ada", uids[1])]


def test_a_listing_fetched_twice_at_once_is_one_look(uids: list[str], writing: SessionFactory) -> None:
    assert uids
    inside, first_may_commit = threading.Event(), threading.Event()

    def first() -> None:
        with writing.begin() as session:
            note_listing(session, "studies", "ada")
            session.flush()
            inside.set()
            first_may_commit.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(10)
    threading.Timer(0.3, first_may_commit.set).start()
    with writing.begin() as session:
        note_listing(session, "studies", "ada")
        note_listing(session, "runs", "ada")
        note_listing(session, "studies", "eve")
    thread.join()
    assert looks(writing, 3) == [("ada", "studies"), ("ada", "runs"), ("eve", "studies")]


def test_a_listing_with_patients_is_noted_and_one_without_is_not(
    url: str, uids: list[str], writing: SessionFactory
) -> None:
    with writing.begin() as session:
        tokens = [create_token(session, name, "ada", days=None, patients=name == "full") for name in ("full", "blind")]
    with Client(base_url=url, timeout=30) as program:
        for token in tokens:
            for listing in ("studies", "runs", "studies"):
                answer = program.get(f"/api/v1/{listing}", headers={"Authorization": f"Bearer {token}"})
                assert answer.status_code == 200
    assert looks(writing, 1) == [("token full", "studies")]
