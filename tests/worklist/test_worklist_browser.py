"""The page in a real Chromium: live refresh, stale banner, themes, reading; no console error, no foreign request."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from browsers import add_pictures
from pages import served
from playwright.sync_api import Page, expect
from sqlalchemy import update
from study_rows import add_study, add_triaged_study, now

from worker.rows.database import SessionFactory
from worker.rows.run_tables import Run
from worker.rows.states import StudyState
from worker.rows.study_tables import Study
from worker.settings.config import Settings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:playwright")


def test_a_new_study_climbs_to_its_place_without_reload_and_focus_stays(
    page: Page, page_settings: Settings, writing: SessionFactory
) -> None:
    with writing.begin() as session:
        add_triaged_study(session, {"Mass": 0.2}, now=now(), patient_name="ROUTINE^RITA", minutes_ago=10)
    with served(page_settings) as url:
        page.goto(url)
        link = page.get_by_role("link", name="ROUTINE, RITA")
        link.focus()
        with writing.begin() as session:
            add_triaged_study(session, {"Pneumothorax": 0.91}, now=now(), patient_name="STAT^STELLA")
        expect(page.get_by_text("STAT, STELLA")).to_be_visible(timeout=5_000)
        names = page.locator(".name").all_inner_texts()
        assert names == ["STAT, STELLA", "ROUTINE, RITA"]
        expect(link).to_be_focused()
        expect(page).to_have_title("2 unread - CXR Triage")


def test_what_a_person_reads_stays_where_it_is_while_studies_arrive_above(
    page: Page, page_settings: Settings, writing: SessionFactory
) -> None:
    with writing.begin() as session:
        for number in range(40):
            add_triaged_study(session, {"Mass": 0.2}, now=now(), patient_name=f"R{number:02d}", minutes_ago=50 - number)
    with served(page_settings) as url:
        page.goto(url)
        row = page.locator("tr", has_text="R30")
        row.scroll_into_view_if_needed()
        page.evaluate("scrollBy(0, 100)")
        before = row.bounding_box()
        with writing.begin() as session:
            for _ in range(3):
                add_triaged_study(session, {"Pneumothorax": 0.9}, now=now(), patient_name="STAT^STELLA")
        expect(page.locator("#tile-STAT b")).to_have_text("3", timeout=5_000)
        after = row.bounding_box()
        assert before
        assert after
        assert abs(before["y"] - after["y"]) < 2
        expect(page.locator("#news")).to_have_text("3 new on the list, 3 STAT")


def test_the_list_is_worked_by_keys_alone(page: Page, page_settings: Settings, writing: SessionFactory) -> None:
    with writing.begin() as session:
        uids = [
            add_triaged_study(
                session, {"Mass": 0.2}, now=now(), patient_name=name, minutes_ago=9 - place
            ).study_instance_uid
            for place, name in enumerate(("FIRST", "SECOND", "THIRD"))
        ]
    add_pictures(writing, page_settings, uids[2])
    with served(page_settings) as url:
        page.goto(url)
        for key, focused in (("j", 0), ("j", 1), ("j", 2), ("k", 1)):
            page.keyboard.press(key)
            expect(page.locator(f"#o-{uids[focused]}".replace(".", "\\."))).to_be_focused()
        page.keyboard.press("r")
        expect(page.locator("#tile-ROUTINE b")).to_have_text("2")
        expect(page.get_by_role("link", name="THIRD")).to_be_focused()
        with writing() as session:
            assert session.get_one(Study, uids[1]).read_by == "local"
        page.keyboard.press("/")
        page.keyboard.type("thir")
        page.keyboard.press("Enter")
        expect(page.locator("#title-found .count")).to_have_text("1")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="THIRD")).to_be_visible()


def test_the_keys_go_on_where_the_list_was_refreshed_before_the_mark_was_answered(
    page: Page, page_settings: Settings, writing: SessionFactory
) -> None:
    """Over a slow network the feed tells of the mark first, and the rows are others by the time of its answer."""
    with writing.begin() as session:
        for place, name in enumerate(("FIRST", "SECOND", "THIRD")):
            add_triaged_study(session, {"Mass": 0.2}, now=now(), patient_name=name, minutes_ago=9 - place)
    page.add_init_script(
        "const real = fetch; window.fetch = async (address, options) => {"
        " const answer = await real(address, options);"
        " while (options?.method === 'POST' && document.querySelector('#tile-ROUTINE b').textContent !== '2')"
        " await new Promise(done => setTimeout(done, 20)); return answer; };"
    )
    with served(page_settings) as url:
        page.goto(url)
        page.get_by_role("link", name="SECOND").focus()
        page.keyboard.press("r")
        expect(page.locator("#news")).to_have_text("Marked", timeout=20_000)
        expect(page.get_by_role("link", name="THIRD")).to_be_focused()


def test_a_search_stays_the_same_search_while_it_is_open(
    page: Page, page_settings: Settings, writing: SessionFactory
) -> None:
    with writing.begin() as session:
        for _ in range(60):
            add_triaged_study(session, {"Effusion": 0.8}, now=now(), minutes_ago=30)
    with served(page_settings) as url:
        page.goto(url)
        page.get_by_role("link", name="All 60").click()
        expect(page.locator(".g-found tbody tr")).to_have_count(50)
        page.get_by_role("link", name="Next page").click()
        expect(page.locator(".g-found tbody tr")).to_have_count(10)
        page.goto(url)
        page.get_by_label("Finding").select_option("Effusion")
        page.get_by_role("button", name="Find").click()
        expect(page.locator("#title-found .count")).to_have_text("60")
        with writing.begin() as session:
            add_triaged_study(session, {"Effusion": 0.8}, now=now())
            add_triaged_study(session, {"Mass": 0.8}, now=now())
        expect(page.locator("#title-found .count")).to_have_text("61", timeout=5_000)


def test_an_opened_group_stays_open_over_a_refresh(
    page: Page, page_settings: Settings, writing: SessionFactory
) -> None:
    with writing.begin() as session:
        add_study(session, now=now(), state=StudyState.OUT_OF_SCOPE, patient_name="LEG^LEO")
    with served(page_settings) as url:
        page.goto(url)
        expect(page.get_by_text("LEG, LEO")).to_be_hidden()
        page.locator("summary", has_text="Out of scope").click()
        expect(page.get_by_text("LEG, LEO")).to_be_visible()
        with page.expect_response("**/partial/worklist"):
            pass
        expect(page.get_by_text("LEG, LEO")).to_be_visible()


def test_a_list_that_cannot_be_refreshed_says_so(page: Page, page_settings: Settings) -> None:
    with served(page_settings) as url:
        page.goto(url)
        banner = page.locator("#stale")
        expect(banner).to_be_hidden()
    expect(banner).to_be_visible()
    expect(banner).to_contain_text("New studies are not shown")


def test_reading_from_list_to_mark_with_the_keyboard(
    page: Page, page_settings: Settings, writing: SessionFactory
) -> None:
    with writing.begin() as session:
        study = add_triaged_study(session, {"Pneumothorax": 0.91}, now=now(), patient_name="STAT^STELLA")
        uid = study.study_instance_uid
    add_pictures(writing, page_settings, uid)
    with served(page_settings) as url:
        page.goto(url)
        page.get_by_role("link", name="STAT, STELLA").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="STAT, STELLA")).to_be_visible()
        expect(page.locator("#stage")).to_have_attribute("data-scale", "1.00")
        page.get_by_role("button", name="Mark read", exact=True).press("Enter")
        expect(page.get_by_role("button", name="Mark unread")).to_be_visible()
        with writing() as session:
            assert session.get_one(Study, uid).read_by == "local"


def test_the_theme_is_dark_until_the_reader_chooses_another(page: Page, page_settings: Settings) -> None:
    with served(page_settings) as url:
        page.emulate_media(color_scheme="light")
        page.goto(url)
        root = page.locator("html")
        expect(root).to_have_attribute("data-theme", "dark")
        page.get_by_role("button", name="Theme:").click()
        expect(root).to_have_attribute("data-theme", "light")
        page.reload()
        expect(root).to_have_attribute("data-theme", "light")
        page.get_by_role("button", name="Theme:").click()
        page.emulate_media(color_scheme="dark")
        expect(root).to_have_attribute("data-theme", "dark")


def test_nothing_overflows_on_a_narrow_screen(page: Page, page_settings: Settings, writing: SessionFactory) -> None:
    with writing.begin() as session:
        study = add_triaged_study(
            session, {"Pneumothorax": 0.91, "Effusion": 0.8}, now=now(), patient_name=f"{'LONG' * 20}^NAME"
        )
        add_study(session, now=now(), state=StudyState.FAILED, reason_code="poison", reason="word" * 60)
        uid = study.study_instance_uid
        other = add_triaged_study(session, {"Mass": 0.2}, now=now()).current_run_id  # two models stand in a list
        version = f"1.0.0+weights.{8 * 'a'}.outputs.{8 * 'b'}.check.{8 * 'c'}"
        session.execute(update(Run).where(Run.id == other).values(model_version=version))
    add_pictures(writing, page_settings, uid)
    change = f"/studies/{uid}/change"
    paths = ["/", "/?q=long", f"/studies/{uid}", f"{change}/correct", f"{change}/reject", "/try", "/models/default"]
    paths += ["/operations", "/operations/model", "/operations/shadow", f"/operations/requeue?study={uid}"]
    with served(page_settings) as url:
        for width in (360, 720, 1440):  # the second is 1440 at a zoom of 200 %
            page.set_viewport_size({"width": width, "height": 800})
            for path in paths:
                page.goto(url + path)
                overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                assert overflow <= 0, f"{path} is {overflow} px too wide at {width} px"
            page.goto(f"{url}/studies/{uid}")
            flagged, other = (
                page.get_by_text(name, exact=True).first.bounding_box() for name in ("Pneumothorax", "Mass")
            )
            assert flagged and other
            assert flagged["height"] == other["height"], f"the name of a finding is broken in two at {width} px"


def test_waits_are_told_by_the_servers_clock(page: Page, page_settings: Settings, writing: SessionFactory) -> None:
    """A reading room's computer that is half an hour behind must not call a study fresh, nor one ahead call it late."""
    with writing.begin() as session:
        uid = add_triaged_study(session, {"Mass": 0.2}, now=now(), minutes_ago=20).study_instance_uid
    add_pictures(writing, page_settings, uid)
    with served(page_settings) as url:
        for path in ("/", f"/studies/{uid}"):
            page.clock.set_fixed_time(now() - timedelta(minutes=30))
            page.goto(url + path)
            expect(page.locator(".waiting")).to_have_text(re.compile("^20 min"))


def test_single_letters_can_be_switched_off(page: Page, page_settings: Settings, writing: SessionFactory) -> None:
    with writing.begin() as session:
        uid = add_triaged_study(session, {"Mass": 0.2}, now=now(), patient_name="ALPHA").study_instance_uid
    add_pictures(writing, page_settings, uid)
    with served(page_settings) as url:
        page.goto(url)
        page.get_by_role("button", name="Keys: on").click()
        expect(page.get_by_role("button", name="Keys: off")).to_be_visible()
        page.get_by_role("link", name="ALPHA").focus()
        for key in ("r", "/", "j"):
            page.keyboard.press(key)
        expect(page.get_by_role("link", name="ALPHA")).to_be_focused()
        page.goto(f"{url}/studies/{uid}")
        expect(page.locator("#stage")).to_have_attribute("data-scale", "1.00")
        page.keyboard.press("r")
        page.wait_for_timeout(500)
        expect(page.get_by_role("button", name="Mark read", exact=True)).to_be_visible()


def test_no_title_names_a_patient_for_the_browsers_history(
    page: Page, page_settings: Settings, writing: SessionFactory
) -> None:
    with writing.begin() as session:
        uid = add_triaged_study(
            session, {"Pneumothorax": 0.9}, now=now(), patient_name="SECRET^NAME"
        ).study_instance_uid
        failed = add_study(session, now=now(), state=StudyState.FAILED, priority="STAT", reason="x").study_instance_uid
    add_pictures(writing, page_settings, uid)
    with served(page_settings) as url:
        for path, title in (
            (uid, "STAT study"),
            (f"{uid}/change/correct", "Correct patient"),
            (failed, "STAT study"),
        ):
            page.goto(f"{url}/studies/{path}")
            assert page.title().startswith(title)
