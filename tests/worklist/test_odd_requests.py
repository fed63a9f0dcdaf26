"""Requests that the fuzzers found, or that look like them: refused with a reason, never a server error."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator

import pytest
from httpx import Client
from pages import csrf_of, served
from sqlalchemy import Engine
from study_rows import add_triaged_study, now

from worker.rows.database import session_factory
from worker.settings.config import Settings

pytestmark = pytest.mark.either_database

LARGE = 36893488147419103231
EARLIEST, LATEST = "0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00"


def cursor(*values: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode()


ODD = {
    f"/api/studies?offset={LARGE}": {422},
    f"/api/v1/studies?since={EARLIEST}": {422},
    f"/api/v1/studies?until={LATEST}": {422},
    f"/api/v1/events?after={cursor('events', LARGE)}": {422},
    f"/api/v1/studies?after={cursor('studies', '0001-01-01T00:00:00+14:00', 'x')}": {422},
    f"/api/v1/events?after={base64.urlsafe_b64encode(b'[' * 20_000).decode()}": {422},
    "/api/studies/1.2%00": {404, 422},
    "/studies/1.2%00": {404, 422},
    "/studies/1.2%00/change/override": {404, 422},
    "/operations/requeue?study=1%00": {404, 422},
    "/?q=a%00b": {200, 422},
    "/?source=%00": {200, 422},
    "/?until=9999-12-31&q=x": {200},
    "/?since=0001-01-01&q=x": {200},
    f"/?q=x&after={cursor('newest', '0001-01-01T00:00:00+14:00', 'x')}": {200},
    f"/?q=x&after={base64.urlsafe_b64encode(b'[' * 20_000).decode()}": {200},
    f"/operations?requeued={LARGE}": {200},
    f"/studies/1.2/instances/{LARGE}.png": {404},
}
"""What may be answered, by address."""


@pytest.fixture
def answers(make_settings: Callable[..., Settings], database_url: str) -> Iterator[Callable[[str], int]]:
    settings = make_settings(database_url=database_url)

    def ask(address: str) -> int:
        return client.get(address).status_code

    with served(settings) as url, Client(base_url=url, timeout=30) as client:
        yield ask


def test_odd_addresses_are_refused(answers: Callable[[str], int]) -> None:
    found = {address: answers(address) for address in ODD}
    assert {address: status for address, status in found.items() if status not in ODD[address]} == {}


@pytest.mark.parametrize("run", ["²", str(LARGE), "1" * 5000, "-1", "1\0"])
def test_an_odd_number_in_a_review_is_refused(page_settings: Settings, engine: Engine, run: str) -> None:
    with session_factory(engine).begin() as session:
        uid = add_triaged_study(session, {"Mass": 0.9}, now=now()).study_instance_uid
    settings = page_settings.model_copy(update={"database_url": engine.url.render_as_string(hide_password=False)})
    with served(settings) as url, Client(base_url=url, timeout=30) as client:
        token = csrf_of(client.get(f"/studies/{uid}").text)
        answer = client.post(f"/studies/{uid}/review", data={"csrf": token, "run": run, "v.Mass": "agree"})
    assert answer.status_code in (409, 422)


ENCODINGS = {"utf-7": b"+2AA-", "unicode_escape": b"\\ud800", "punycode": b"\xff-a!", "undefined": b"x", "none": b"x"}
"""Names of codecs, and what some of them make half a surrogate pair of, or fail over."""
FORMS = {"/login": "csrf", "/try": "picture", "/studies/1.2/review": "csrf", "/studies/1.2/change/override": "priority"}
"""One field of each form."""


def test_a_form_in_another_encoding_is_refused(page_settings: Settings) -> None:
    found = {}
    with served(page_settings) as url, Client(base_url=url, timeout=30) as client:
        token = csrf_of(client.get("/try").text).encode()
        for address, field in FORMS.items():
            for charset, value in {**ENCODINGS, "UTF8": b"x"}.items():
                fields = {"csrf": token} | {field: value}
                parts = [
                    b'--B\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), content)
                    for name, content in fields.items()
                ]
                head = {"Content-Type": f"multipart/form-data; boundary=B; charset={charset}"}
                answer = client.post(address, content=b"".join(parts) + b"--B--\r\n", headers=head)
                found[address, charset] = answer.status_code
    assert {key for key, status in found.items() if status == 415} == {
        (form, name) for form in FORMS for name in ENCODINGS
    }
    assert max(found.values()) < 500


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (f"/?q={'x' * 201}", "q: String should have at most 200 characters"),
        ("/operations/shadow?days=0", "days: Input should be greater than or equal to 1"),
        ("/studies/1.2/instances/one.png", "instance_id: Input should be a valid integer"),
        ("/studies/1.2/change/delete", "deed: Input should be"),
    ],
)
def test_a_value_that_is_not_of_its_kind_is_refused_with_a_page_for_people(
    page_settings: Settings, address: str, words: str
) -> None:
    with served(page_settings) as url, Client(base_url=url, timeout=30) as client:
        answer = client.get(address)
        assert (answer.status_code, answer.headers["content-type"]) == (422, "text/html; charset=utf-8")
        assert words in answer.text
        assert client.get("/api/studies?limit=0").json()["detail"][0]["loc"] == ["query", "limit"]
