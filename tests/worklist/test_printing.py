"""Pages on paper, as a real Chromium prints them from the dark theme: readable, whole, marked as no medical device."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from browsers import add_pictures, serious_findings
from pages import served
from playwright.sync_api import Page, expect
from study_rows import add_study, add_triaged_study, now

import worklist
from dicom_io.results.reporting import NO_MEDICAL_DEVICE
from worker.rows.database import SessionFactory
from worker.rows.states import StudyState
from worker.settings.config import Settings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:playwright")
LONG = "A very long reason that a line on a screen would cut " * 4


@pytest.fixture
def uid(page_settings: Settings, writing: SessionFactory) -> str:
    with writing.begin() as session:
        study = add_triaged_study(session, {"Pneumothorax": 0.91, "Mass": 0.7}, now=now(), patient_name="STAT^STELLA")
        for number in range(30):
            add_triaged_study(session, {"Mass": 0.2}, now=now(), patient_name=f"R{number:02d}")
        for state in (StudyState.FAILED, StudyState.NOT_ANALYSED, StudyState.HELD):
            add_study(session, now=now(), state=state, reason=LONG, patient_name=f"ASIDE^{state.upper()}")
        found = study.study_instance_uid
    add_pictures(writing, page_settings, found)
    return found


def background(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_list_and_study_are_dark_on_white_on_paper_and_say_what_they_are_not(
    page: Page, page_settings: Settings, uid: str
) -> None:
    with served(page_settings) as url:
        for path in ("/", f"/studies/{uid}", f"/studies/{uid}/change/override", "/operations"):
            page.emulate_media(media="screen")
            page.goto(url + path)
            assert background(page) == "rgb(10, 13, 18)", "the theme is dark on the screen"
            page.emulate_media(media="print")
            assert background(page) == "rgb(255, 255, 255)"
            expect(page.get_by_text(f"{NO_MEDICAL_DEVICE}.")).to_be_visible()
            assert [text for text in serious_findings(page, path) if "color-contrast" in text] == []


def test_the_printed_list_has_every_line_and_reason_whole_and_nothing_to_press(
    page: Page, page_settings: Settings, uid: str
) -> None:
    with served(page_settings) as url:
        page.goto(url)
        page.emulate_media(media="print")
        for name in ("STAT, STELLA", "R00", "R29", "ASIDE, FAILED", "ASIDE, HELD", "ASIDE, NOT_ANALYSED"):
            expect(page.get_by_text(name, exact=True)).to_be_visible()
        expect(page.get_by_text("The list as it was at")).to_be_visible()
        for pressed in page.locator("button, input, select").all():
            expect(pressed).to_be_hidden()
        cut = page.evaluate(
            "[...document.querySelectorAll('.studies *')].filter(element => element.checkVisibility()"
            " && getComputedStyle(element).overflow !== 'visible' && !element.classList.contains('hidden')"
            " && (element.scrollWidth > element.clientWidth + 1 || element.scrollHeight > element.clientHeight + 1))"
            ".map(element => element.className)"
        )
        assert cut == []


def test_the_printed_study_has_radiograph_heat_map_and_every_finding(
    page: Page, page_settings: Settings, uid: str
) -> None:
    with served(page_settings) as url:
        page.goto(f"{url}/studies/{uid}")
        page.locator("#map-choice label", has_text="Pneumothorax").click()
        expect(page.locator("#stage-map")).to_have_text("Heat map: Pneumothorax 91 %")
        page.emulate_media(media="print")
        expect(page.locator("#stage-map")).to_be_visible()
        expect(page.locator(".bars .label")).to_have_count(14)
        expect(page.get_by_role("button")).to_have_count(0)
        box = page.locator("#stage").bounding_box()
        assert box
        assert box["width"] > 200
        assert box["height"] > 200


def test_every_sheet_says_that_this_is_no_medical_device(page: Page, page_settings: Settings, uid: str) -> None:
    """The margin of a sheet is drawn by the style alone, so the words stand there once more."""
    style = (Path(worklist.__file__).parent / "static" / "print.css").read_text(encoding="utf-8")
    (words,) = re.findall(r'@bottom-center { content: "([^"]+)"', style)
    assert words.startswith(f"{NO_MEDICAL_DEVICE}.")
    with served(page_settings) as url:
        page.goto(url)
        margins = page.evaluate(
            "[...document.styleSheets].flatMap(sheet => [...sheet.cssRules])"
            ".filter(rule => rule instanceof CSSPageRule).flatMap(rule => [...rule.cssRules])"
            ".map(rule => rule.cssText).join()"
        )
        assert words in margins, "this browser understands the rule"
