"""Pages that stay open, in a real Chromium: servers that restart, sleep, logins that end, studies that change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browsers import add_pictures
from pages import PASSWORD, served
from playwright.sync_api import Browser, BrowserContext, Page, expect
from services import free_port
from sqlalchemy import delete, text
from study_rows import add_study, add_triaged_study, now

from worker.rows.database import SessionFactory
from worker.rows.events import record
from worker.rows.site_tables import Event
from worker.rows.states import StudyState
from worker.rows.study_tables import Study, StudyWord
from worker.settings.config import Settings
from worklist.accounts import remove_account, write_password_file

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:playwright")
SOON = 12_000
"""Milliseconds: below the 15 s after which a list asks by itself, where nothing has gone wrong."""


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser whose console may say that an answer was an error, as here they are."""
    opened = chromium.new_context(viewport={"width": 1440, "height": 900})
    opened.set_default_timeout(20_000)
    yield opened
    opened.close()


def add(writing: SessionFactory, name: str, probability: float = 0.2) -> str:
    with writing.begin() as session:
        return add_triaged_study(session, {"Mass": probability}, now=now(), patient_name=name).study_instance_uid


def test_a_list_says_at_once_that_its_server_is_gone_and_hears_of_new_studies_once_it_is_back(
    context: BrowserContext, page_settings: Settings, writing: SessionFactory
) -> None:
    page, port = context.new_page(), free_port()
    add(writing, "ALPHA")
    with served(page_settings, port) as url:
        page.goto(url)
        expect(page.get_by_text("ALPHA")).to_be_visible()
    expect(page.locator("#stale")).to_contain_text("server does not answer. New studies are not shown", timeout=SOON)
    expect(page.locator("#live-text")).not_to_have_text("Up to date")
    add(writing, "BETA")
    with served(page_settings, port):
        expect(page.get_by_text("BETA")).to_be_visible(timeout=20_000)
        expect(page.locator("#stale")).to_be_hidden()
        expect(page.locator("#live-text")).to_have_text("Up to date", timeout=20_000)
        add(writing, "GAMMA")
        expect(page.get_by_text("GAMMA")).to_be_visible(timeout=5_000)


def test_a_proxy_that_answers_for_the_server_while_it_starts_does_not_end_the_feed(
    context: BrowserContext, page_settings: Settings, writing: SessionFactory
) -> None:
    """A browser gives a feed up for good after an answer that is no stream; then a list would be 15 s behind."""
    page = context.new_page()
    page.route("**/live*", lambda route: route.fulfill(status=502, body="Bad Gateway"))
    with served(page_settings) as url:
        page.goto(url)
        expect(page.locator("#live-text")).to_have_text("Connecting")
        page.unroute("**/live*")
        expect(page.locator("#live-text")).to_have_text("Up to date", timeout=20_000)
        add(writing, "DELTA")
        expect(page.get_by_text("DELTA")).to_be_visible(timeout=5_000)


def test_a_proxys_error_page_is_told_as_what_it_is(context: BrowserContext, page_settings: Settings) -> None:
    page = context.new_page()
    with served(page_settings) as url:
        page.goto(url)
        page.route("**/partial/*", lambda route: route.fulfill(status=502, body="<html><b>Bad Gateway</b></html>"))
        page.reload()
        page.evaluate("feed => dispatchEvent(new Event('pagehide')) && dispatchEvent(new Event('pageshow'))", None)
        expect(page.locator("#stale")).to_contain_text("the page's server answers 502")


def test_a_connection_that_died_while_the_machine_slept_is_made_anew(
    context: BrowserContext, page_settings: Settings, writing: SessionFactory
) -> None:
    page = context.new_page()
    page.add_init_script(  # as after a sleep: nothing comes any more, and nobody says that it is over
        "const Real = EventSource; let first = true;"
        "window.EventSource = function (address) { if (!first) return new Real(address); first = false;"
        " return { addEventListener() {}, close() { window.ended = true; } }; };"
    )
    with served(page_settings) as url:
        page.clock.install()
        page.goto(url)
        page.clock.run_for(10_000)
        assert page.evaluate("window.ended") is None
        page.clock.run_for(8_000)
        page.wait_for_function("window.ended")
        page.clock.resume()
        expect(page.locator("#live-text")).to_have_text("Up to date")
        add(writing, "DELTA")
        expect(page.get_by_text("DELTA")).to_be_visible(timeout=5_000)


def test_a_database_that_went_away_is_told_at_once_and_so_is_its_return(
    context: BrowserContext, page_settings: Settings, writing: SessionFactory
) -> None:
    page = context.new_page()
    with served(page_settings) as url:
        page.goto(url)
        expect(page.locator("#live-text")).to_have_text("Up to date")
        with writing.begin() as session:
            session.execute(text("ALTER TABLE event RENAME TO gone"))
        expect(page.locator("#stale")).to_contain_text("database", timeout=SOON)
        with writing.begin() as session:
            session.execute(text("ALTER TABLE gone RENAME TO event"))
        expect(page.locator("#stale")).to_be_hidden(timeout=SOON)


@pytest.fixture
def guarded_settings(make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path) -> Settings:
    write_password_file(tmp_path / "password", PASSWORD)
    write_password_file(tmp_path / "password", PASSWORD, "reader")
    return make_settings(database_url=sqlite_url, worklist_password_hash_file=tmp_path / "password")


def log_in(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_label("Name").fill("reader")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#worklist")).to_be_visible()


def test_lists_and_studies_close_when_the_login_ends_elsewhere(
    context: BrowserContext, guarded_settings: Settings, writing: SessionFactory
) -> None:
    uid = add(writing, "SECRET")
    with served(guarded_settings) as url:
        one, other, third = (context.new_page() for _ in range(3))
        log_in(one, url)
        other.goto(f"{url}/studies/{uid}")
        third.goto(f"{url}/studies/{uid}")
        third.get_by_label("Comment").fill("half a thought")
        remove_account(guarded_settings.worklist_password_hash_file, "reader")  # type: ignore[arg-type]
        for page in (one, other):
            page.bring_to_front()
            expect(page.get_by_role("heading", name="Log in")).to_be_visible(timeout=SOON)
        third.bring_to_front()
        expect(third.locator("#changed")).to_contain_text("logged out", timeout=SOON)
        expect(third.get_by_label("Comment")).to_have_value("half a thought")


def test_what_was_written_before_the_login_ended_can_be_sent_after_the_next(
    context: BrowserContext, guarded_settings: Settings, writing: SessionFactory
) -> None:
    uid = add(writing, "ALPHA")
    with served(guarded_settings) as url:
        one, other = context.new_page(), context.new_page()
        log_in(one, url)
        one.goto(f"{url}/studies/{uid}")
        one.get_by_label("Comment").fill("half a thought")
        other.goto(url)
        other.get_by_role("button", name="Log out").click()
        expect(one.locator("#changed")).to_contain_text("Log in again in another tab", timeout=SOON)
        log_in(other, url)
        one.bring_to_front()
        expect(one.locator("#changed")).to_be_hidden(timeout=20_000)
        one.get_by_role("button", name="Save review").click()
        expect(one.locator("ol.timeline q")).to_have_text("half a thought")


def withdraw(study: Study) -> None:
    study.state, study.priority, study.reason_code, study.current_run_id = (
        StudyState.NOT_ANALYSED,
        None,
        "retracted",
        None,
    )


def correct(study: Study) -> None:
    study.patient_name, study.patient_id = "OTHER^PATIENT", "P-2"


def hold(study: Study) -> None:
    study.state, study.reason = StudyState.HELD, "Two patients in one study."


def read_by_another(study: Study) -> None:
    study.read_at, study.read_by = now(), "dr.lee"


@pytest.mark.parametrize("change", [withdraw, correct, hold, read_by_another])
def test_an_open_study_says_that_it_has_changed_and_shows_it_on_demand(
    page: Page, page_settings: Settings, writing: SessionFactory, change: Callable[[Study], None]
) -> None:
    uid = add(writing, "BEFORE", 0.9)
    add_pictures(writing, page_settings, uid)
    with served(page_settings) as url:
        page.goto(f"{url}/studies/{uid}")
        page.get_by_label("Comment").fill("half a thought")
        banner = page.locator("#changed")
        with writing.begin() as session:
            record(session, "delivered", actor="w", study_instance_uid=uid)
        page.wait_for_timeout(2_500)
        expect(banner).to_be_hidden()
        with writing.begin() as session:
            change(session.get_one(Study, uid))
            record(session, "corrected", actor="dr.lee", study_instance_uid=uid)
        expect(banner).to_contain_text("This study has changed", timeout=SOON)
        expect(page.get_by_label("Comment")).to_have_value("half a thought")
        banner.get_by_role("link").click()
        expect(banner).to_be_hidden()


def test_an_open_study_that_was_forgotten_says_so(
    context: BrowserContext, page_settings: Settings, writing: SessionFactory
) -> None:
    page = context.new_page()
    with writing.begin() as session:
        uid = add_study(session, now=now(), state=StudyState.FAILED, reason="x").study_instance_uid
    with served(page_settings) as url:
        page.goto(f"{url}/studies/{uid}")
        with writing.begin() as session:
            for table in (Event, StudyWord, Study):
                session.execute(delete(table).where(table.study_instance_uid == uid))
            record(session, "forgotten", actor="x")
        expect(page.locator("#changed")).to_contain_text("No such study", timeout=SOON)


def test_an_open_study_says_that_its_server_is_gone(
    context: BrowserContext, page_settings: Settings, writing: SessionFactory
) -> None:
    page, uid = context.new_page(), add(writing, "ALPHA")
    with served(page_settings) as url:
        page.goto(f"{url}/studies/{uid}")
        expect(page.locator("#changed")).to_be_hidden()
    expect(page.locator("#changed")).to_contain_text("its server does not answer", timeout=SOON)


def test_a_mark_that_was_refused_says_why_on_the_list(
    context: BrowserContext, page_settings: Settings, writing: SessionFactory
) -> None:
    page, uid = context.new_page(), add(writing, "ALPHA")
    with served(page_settings) as url:
        page.goto(url)
        page.route("**/partial/*", lambda route: route.abort())
        with writing.begin() as session:
            session.get_one(Study, uid).priority = "STAT"
        page.get_by_role("link", name="ALPHA").focus()
        page.keyboard.press("r")
        expect(page.locator("#refused")).to_contain_text("it has become STAT since this page was made")
    page.keyboard.press("r")
    expect(page.locator("#refused")).to_contain_text("Not marked: the page's server does not answer")


@pytest.mark.parametrize("page_path", ["/", "/operations"])
def test_a_page_that_was_refused_says_why_and_not_that_it_is_up_to_date(
    context: BrowserContext, page_settings: Settings, page_path: str
) -> None:
    page = context.new_page()
    with served(page_settings) as url:
        page.clock.install()
        page.goto(url + page_path)
        detail = {"detail": "This is for administrators."}
        page.route("**/partial/*", lambda route: route.fulfill(status=403, json=detail))
        page.clock.run_for(16_000)
        expect(page.locator("#stale")).to_contain_text("This is for administrators")
        expect(page.locator("#live-text")).not_to_have_text("Up to date")
