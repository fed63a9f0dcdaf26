"""The live feed of open pages: what changed while a page was on its way, while it listens, without a database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from httpx import Client
from pages import served
from sqlalchemy import text
from study_rows import add_triaged_study, now

from worker.rows.database import SessionFactory
from worker.settings.config import Settings


@pytest.fixture
def client(page_settings: Settings) -> Iterator[Client]:
    with served(page_settings) as url, Client(base_url=url, timeout=20) as client:
        yield client


@contextmanager
def listening(client: Client, address: str) -> Iterator[Iterator[str]]:
    """Give the events that a page hears, as they come."""
    with client.stream("GET", address) as answer:
        yield (line.removeprefix("event: ") for line in answer.iter_lines() if line.startswith("event: "))


def change(writing: SessionFactory) -> None:
    with writing.begin() as session:
        add_triaged_study(session, {"Mass": 0.2}, now=now())


def mark_of(html: str) -> str:
    """Return the mark by which the list was made."""
    found = re.search(r'<data id="mark" value="(\d+)"', html)
    assert found, "the page has no mark"
    return found[1]


@pytest.mark.parametrize("page", ["/", "/partial/worklist", "/?finding=Mass"])
def test_what_changed_while_a_page_was_on_its_way_is_told_at_once(
    client: Client, writing: SessionFactory, page: str
) -> None:
    change(writing)
    mark = mark_of(client.get(page).text)
    with listening(client, f"/live?mark={mark}") as events:
        assert next(events) == "alive"
    change(writing)
    with listening(client, f"/live?mark={mark}") as events:
        assert next(events) == "changed"


def test_what_changes_while_a_page_listens_is_told_to_every_page(client: Client, writing: SessionFactory) -> None:
    with listening(client, "/live") as one, listening(client, "/live") as other:
        assert [next(one), next(other)] == ["alive", "alive"]
        change(writing)
        assert [next(one), next(other)] == ["changed", "changed"]


def test_a_feed_without_its_database_says_so_and_that_something_may_have_changed_when_it_is_back(
    client: Client, writing: SessionFactory
) -> None:
    with listening(client, "/live") as events:
        assert next(events) == "alive"
        with writing.begin() as session:
            session.execute(text("ALTER TABLE event RENAME TO gone"))
        assert next(events) == "broken"
        with listening(client, "/live?mark=0") as others:
            assert next(others) == "broken"
        with writing.begin() as session:
            session.execute(text("ALTER TABLE gone RENAME TO event"))
        heard = [next(events)]
        while heard[-1] == "broken":
            heard.append(next(events))
        assert heard[-1] == "changed"
