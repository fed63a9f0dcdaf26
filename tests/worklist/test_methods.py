"""HEAD and methods that an address does not take (RFC 9110 9.3.2, 10.2.1, 15.5.6)."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from http_mutations import page_routes
from httpx import Client, Response
from pages import served
from study_rows import add_triaged_study, now

from worker.rows.database import SessionFactory
from worker.settings.config import Settings

ADDRESSES = ("/", "/?q=nobody", "/studies/{}", "/studies/1.2.3", "/try", "/operations", "/api/v1/studies?format=csv",
             "/api/studies", "/api/openapi.json", "/healthz", "/metrics", "/static/page.css", "/nowhere")  # fmt: skip


@pytest.fixture
def client(page_settings: Settings) -> Iterator[Client]:
    with served(page_settings) as url, Client(base_url=url, timeout=20) as client:
        yield client


def kind(answer: Response) -> tuple[int, str | None, str | None]:
    return answer.status_code, answer.headers.get("content-type"), answer.headers.get("cache-control")


def test_head_is_answered_as_get_without_the_body(client: Client, writing: SessionFactory) -> None:
    with writing.begin() as session:
        uid = add_triaged_study(session, {"Mass": 0.2}, now=now()).study_instance_uid
    for address in (address.format(uid) for address in ADDRESSES):
        head, whole = client.head(address), client.get(address)
        assert kind(head) == kind(whole), address
        assert head.content == b"", address


def test_the_head_of_the_live_feed_ends(client: Client) -> None:
    answer = client.head("/live")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


def test_nothing_follows_the_head_on_the_wire(client: Client) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=20) as caller:
        caller.sendall(b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = b"".join(iter(lambda: caller.recv(65536), b""))
    head, _, rest = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert rest == b""


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_a_method_that_an_address_does_not_take_is_told_those_that_it_does(client: Client, method: str) -> None:
    taken: dict[str, set[str]] = {"/static/page.css": {"GET", "HEAD"}, "/api/openapi.json": {"GET", "HEAD"}}
    for known, path in page_routes():
        taken.setdefault(path.replace("{deed}", "override").replace("{instance_id}", "1"), set()).add(known)
    for path, methods in taken.items():
        answer = client.request(method, path)
        expected = methods | {"HEAD"} if "GET" in methods else methods
        assert (answer.status_code, set(answer.headers.get("allow", "").split(", "))) == (405, expected), path


def test_an_address_that_only_takes_forms_says_so_to_get(client: Client) -> None:
    for method in ("GET", "HEAD"):
        answer = client.request(method, "/logout")
        assert (answer.status_code, answer.headers.get("allow")) == (405, "POST")


def test_a_refused_token_is_told_how_to_show_one(client: Client) -> None:
    answer = client.get("/api/v1/studies", headers={"Authorization": "Bearer none"})
    assert (answer.status_code, answer.headers.get("www-authenticate")) == (401, "Bearer")
