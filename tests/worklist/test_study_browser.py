"""The study's page in a real Chromium: the viewer, the heat maps' own pixels, the review, other studies."""

from __future__ import annotations

import io
import re

import httpx
import numpy as np
import pytest
from browsers import add_pictures
from httpx import Client
from pages import csrf_of, served
from PIL import Image
from playwright.sync_api import Page, expect
from pydicom import dcmread
from study_rows import add_study, add_triaged_study, now

from dicom_io.pictures.overlay import Caption, Film, draw_overlay, radiograph_box
from worker.care.priority_override import override_priority
from worker.rows.database import SessionFactory
from worker.rows.states import Priority, StudyState
from worker.rows.study_tables import Review, Study
from worker.settings.config import Settings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:playwright")
RIGHT_OF_MIDDLE = "[Math.round(stage.width * 0.55), Math.round(stage.height * 0.25)]"


def colour(page: Page) -> list[int]:
    """Return the colour of the canvas where the heat map of `add_pictures` is strong."""
    found: list[int] = page.evaluate(
        "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {"
        " const stage = document.getElementById('stage');"
        f" done([...stage.getContext('2d').getImageData(...{RIGHT_OF_MIDDLE}, 1, 1).data].slice(0, 3)); }})))"
    )
    return found


@pytest.mark.parametrize("shape", [(1024, 900), (3000, 2400), (300, 2000)])
@pytest.mark.parametrize("demonstration", [False, True])
def test_the_radiograph_is_found_in_every_heat_map_picture(shape: tuple[int, int], demonstration: bool) -> None:
    flat, caption = np.full(shape, 123, np.uint8), Caption("STAT", "model", demonstration)
    picture = draw_overlay(Film(flat), np.zeros((7, 7), np.float32), caption)
    box = radiograph_box((picture.shape[0], picture.shape[1]), shape)
    assert box is not None
    inside = picture[box.top : box.top + box.height, box.left : box.left + box.width]
    assert (inside == 123).all()
    assert abs(box.height / box.width - shape[0] / shape[1]) < 0.03 * shape[0] / shape[1]
    outside = picture.astype(int)
    outside[box.top : box.top + box.height, box.left : box.left + box.width] = 0
    assert not (outside[:, box.left + box.width // 2] == 123).all(axis=1).any()
    assert radiograph_box((picture.shape[0] + 1, picture.shape[1]), shape) is None


def test_a_picture_that_could_be_laid_out_in_two_ways_is_not_guessed() -> None:
    flat = np.full((2000, 300), 123, np.uint8)
    picture = draw_overlay(Film(flat), np.zeros((7, 7), np.float32), Caption("STAT", "model", False))
    assert radiograph_box((picture.shape[0], picture.shape[1]), (2000, 300)) is None


def test_the_viewer_windows_zooms_moves_inverts_and_lays_the_sent_heat_map_over(
    page: Page, page_settings: Settings, writing: SessionFactory
) -> None:
    with writing.begin() as session:
        uid = add_triaged_study(session, {"Pneumothorax": 0.91, "Effusion": 0.7}, now=now()).study_instance_uid
    add_pictures(writing, page_settings, uid)
    with served(page_settings) as url:
        page.goto(f"{url}/studies/{uid}")
        stage = page.locator("#stage")
        expect(stage).to_have_attribute("data-scale", "1.00")
        plain = colour(page)
        assert max(plain) - min(plain) == 0, "the radiograph is grey"
        with page.expect_response("**/maps/**") as answered:
            page.locator("#map-choice label", has_text="Pneumothorax").click()
        shown = np.asarray(Image.open(io.BytesIO(httpx.get(answered.value.url).content)))
        sent = dcmread(page_settings.results_dir / uid / "capture.dcm").pixel_array
        box = radiograph_box((sent.shape[0], sent.shape[1]), (1024, 900))
        assert box is not None
        assert (shown == sent[box.top : box.top + box.height, box.left : box.left + box.width]).all()
        expect(stage).not_to_have_attribute("data-map", "")
        tinted = colour(page)
        assert max(tinted) - min(tinted) > 10, "the heat map is not seen"
        page.get_by_label("Opacity").fill("0")
        assert colour(page) == plain
        page.get_by_role("button", name="Invert").click()
        assert abs(colour(page)[0] - (255 - plain[0])) <= 1
        page.get_by_role("button", name="Reset").click()
        assert colour(page) == plain
        stage.hover(position={"x": 200, "y": 200})
        box_of_stage = stage.bounding_box()
        assert box_of_stage
        page.mouse.down()
        page.mouse.move(box_of_stage["x"] + 200, box_of_stage["y"] + 300)
        page.mouse.up()
        expect(stage).to_have_attribute("data-level", "178")
        assert colour(page)[0] < plain[0]
        page.mouse.wheel(0, -400)
        expect(stage).to_have_attribute("data-scale", "2.72")
        stage.focus()
        for key in ("0", "+", "ArrowLeft", "i"):
            page.keyboard.press(key)
        expect(stage).to_have_attribute("data-scale", "1.25")
        expect(page.get_by_role("button", name="Invert")).to_have_attribute("aria-pressed", "true")


def test_a_missing_picture_is_said_in_words(page: Page, page_settings: Settings, writing: SessionFactory) -> None:
    with writing.begin() as session:
        uid = add_triaged_study(session, {"Mass": 0.1}, now=now()).study_instance_uid
    with served(page_settings) as url:
        page.route("**/instances/*.png", lambda route: route.fulfill(status=200, body="no picture"))
        page.goto(f"{url}/studies/{uid}")
        expect(page.locator("#stage-note")).to_contain_text("The picture cannot be shown")


def test_a_review_is_kept_and_the_study_leaves_the_list(
    page: Page, page_settings: Settings, writing: SessionFactory
) -> None:
    with writing.begin() as session:
        uid = add_triaged_study(session, {"Pneumothorax": 0.91, "Mass": 0.1}, now=now()).study_instance_uid
    add_pictures(writing, page_settings, uid)
    with served(page_settings) as url:
        page.goto(f"{url}/studies/{uid}")
        page.get_by_label("Your verdict on Pneumothorax").select_option("disagree")
        page.get_by_label("Your verdict on Hernia").select_option("missed")
        page.get_by_role("button", name="Agree with all the rest").click()
        page.get_by_label("Comment").fill("<b>skin fold</b>")
        page.get_by_role("button", name="Save review").click()
        expect(page.get_by_label("Your verdict on Pneumothorax")).to_have_value("disagree")
        expect(page.get_by_label("Your verdict on Mass")).to_have_value("agree")
        expect(page.locator("ol.timeline q")).to_have_text("<b>skin fold</b>")
        page.get_by_role("button", name="Save and mark read").click()
        expect(page.get_by_role("heading", name="Everything is read")).to_be_visible()
        with writing() as session:
            said = {(row.finding, row.verdict) for row in session.query(Review) if row.finding}
            assert said == {("Pneumothorax", "disagree"), ("Hernia", "missed"), ("Mass", "agree")}
            assert session.get_one(Study, uid).read_at is not None


def test_a_review_of_a_result_that_was_replaced_says_so(page_settings: Settings, writing: SessionFactory) -> None:
    with writing.begin() as session:
        uid = add_triaged_study(session, {"Pneumothorax": 0.91}, now=now()).study_instance_uid
        newer = add_triaged_study(session, {"Pneumothorax": 0.2}, now=now()).current_run_id
    with served(page_settings) as url, Client(base_url=url, timeout=30) as client:
        form = {"csrf": csrf_of(client.get("/").text), "run": str(newer), "v.Pneumothorax": "agree"}
        answer = client.post(f"/studies/{uid}/review", data=form)
        assert (answer.status_code, "analysed again meanwhile" in answer.text) == (409, True)
        assert client.post(f"/studies/{uid}/review", data=form | {"csrf": "guessed"}).status_code == 403
    with writing() as session:
        assert session.query(Review).count() == 0


def test_a_review_marks_nothing_read_that_somebody_has_made_stat_since(
    page_settings: Settings, writing: SessionFactory
) -> None:
    with writing.begin() as session:
        uid = add_triaged_study(session, {"Mass": 0.1}, now=now()).study_instance_uid
    with served(page_settings) as url, Client(base_url=url, timeout=30) as client:
        html = client.get(f"/studies/{uid}").text
        form = dict(
            re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', html[html.index('id="review"') :])
        )
        with writing.begin() as session:
            override_priority(session, uid, Priority.STAT, reason="Seen on the lateral.", by="dr.lee")
        answer = client.post(f"/studies/{uid}/review", data=form | {"read": "true", "comment": "half a <thought>"})
        assert (answer.status_code, "it has become STAT since" in answer.text) == (409, True)
        assert ">half a &lt;thought&gt;</textarea>" in answer.text
        with writing() as session:
            assert (session.get_one(Study, uid).read_at, session.query(Review).count()) == (None, 0)
        seen = form | {"read": "true", "comment": "a thought", "shown": "STAT"}
        assert client.post(f"/studies/{uid}/review", data=seen).status_code == 303
        with writing() as session:
            assert session.get_one(Study, uid).read_by == "local"


def test_only_the_same_patient_of_the_same_issuer_is_history(
    page: Page, page_settings: Settings, writing: SessionFactory
) -> None:
    same = {"patient_id": "P1", "issuer_of_patient_id": "HOSPITAL", "study_description": "SAME"}
    with writing.begin() as session:
        uid = add_triaged_study(session, {"Mass": 0.7}, now=now(), **same).study_instance_uid
        add_triaged_study(session, {"Effusion": 0.8, "Mass": 0.1}, now=now(), **(same | {"study_date": "20250101"}))
        for changed in ({"issuer_of_patient_id": "OTHER"}, {"patient_id": "P2"}, {"state": StudyState.HELD}):
            add_study(session, now=now(), **(same | changed | {"study_description": "ANOTHER"}))
    add_pictures(writing, page_settings, uid)
    with served(page_settings) as url:
        page.goto(f"{url}/studies/{uid}")
        table = page.locator("table.history")
        expect(table.locator("tbody tr")).to_have_count(2)
        assert table.locator("thead th").all_inner_texts() == ["Taken", "Study", "Priority", "Effusion", "Mass"]
        assert table.locator("tbody tr").last.locator("td").all_inner_texts() == [
            "2025-01-01", "SAME", "URGENT", "80 %", "10 %",
        ]  # fmt: skip
        expect(table).not_to_contain_text("ANOTHER")
