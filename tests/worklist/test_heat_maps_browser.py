"""The heat map lies over its own image and nowhere else, in a real Chromium: several images, zoom, resizing, delay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from browsers import add_pictures
from factories import chest_radiograph, sha256_of, write_dicom
from httpx import Client
from pages import served
from playwright.sync_api import Browser, Page, Route, expect
from study_rows import add_instance, add_triaged_study, now

from worker.rows.database import SessionFactory
from worker.rows.run_tables import Prediction, Result, Run
from worker.rows.study_tables import Instance, Study
from worker.settings.config import Settings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:playwright")

COLOURED = """() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {
  const stage = document.getElementById("stage"), context = stage.getContext("2d");
  const { width, height } = stage, { data } = context.getImageData(0, 0, width, height);
  let [coloured, lit, tinted] = [0, [width, 0, height, 0], [width, 0, height, 0]];
  for (let y = 0; y < height; y += 2) for (let x = 0; x < width; x += 2) {
    const at = 4 * (y * width + x), [r, g, b] = [data[at], data[at + 1], data[at + 2]];
    const widened = ([left, right, top, bottom]) =>
      [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
    if (Math.max(r, g, b) > 0) lit = widened(lit);
    if (Math.max(r, g, b) - Math.min(r, g, b) < 12) continue;
    coloured++;
    tinted = widened(tinted);
  }
  const [x, y, w, h] = [lit[0], lit[2], Math.max(1, lit[1] - lit[0]), Math.max(1, lit[3] - lit[2])];
  const box = [...tinted.slice(0, 2).map(at => (at - x) / w), ...tinted.slice(2).map(at => (at - y) / h)];
  done({ coloured, lit: Math.max(0, lit[1] - lit[0]), box });
})))"""
"""How much colour is on the stage, and where, as shares of what is lit: the radiograph."""


class Pair(NamedTuple):
    """A study of two images; the heat map is of the first one."""

    uid: str
    first: int
    second: int
    map: int


@pytest.fixture
def pair(page_settings: Settings, writing: SessionFactory) -> Pair:
    with writing.begin() as session:
        study = add_triaged_study(session, {"Pneumothorax": 0.91}, now=now())
        uid = study.study_instance_uid
    add_pictures(writing, page_settings, uid)
    flat = np.full((1024, 900), 1500, np.uint16)  # of one form: only what it is tells the two images apart
    file = write_dicom(chest_radiograph(flat), page_settings.instances_dir / uid / "second.dcm")
    with writing.begin() as session:
        study = session.get_one(Study, uid)
        first = session.query(Instance).filter_by(study_instance_uid=uid).one()
        second = add_instance(session, study, path=f"{uid}/{file.name}", sha256=sha256_of(file))
        assert study.current_run_id is not None
        scored = {"finding": "Pneumothorax", "probability": 0.3, "threshold": 0.6, "flagged": False}
        session.add(Prediction(run_id=study.current_run_id, instance_id=second.id, **scored))
        made = session.query(Result).join(Run, Run.id == Result.run_id).filter(Run.study_instance_uid == uid)
        return Pair(uid, first.id, second.id, made.filter(Result.kind == "secondary_capture").one().id)


@pytest.fixture
def opened(page: Page, page_settings: Settings, pair: Pair) -> Iterator[Page]:
    with served(page_settings) as url:
        page.goto(f"{url}/studies/{pair.uid}")
        expect(page.locator("#stage")).to_have_attribute("data-image", str(pair.first))
        yield page


def seen(page: Page) -> Any:
    return page.evaluate(COLOURED)


def choose(page: Page, words: str) -> None:
    page.locator(".choice label", has_text=words).first.click()


def choose_image(page: Page, place: int) -> None:
    page.locator("fieldset", has_text="Image").first.locator("label").nth(place).click()


def test_a_map_that_comes_after_another_image_was_chosen_is_thrown_away(opened: Page, pair: Pair) -> None:
    held: list[Route] = []
    opened.route("**/maps/**", lambda route: held.append(route))
    choose(opened, "Pneumothorax")
    while not held:
        opened.wait_for_timeout(20)
    choose_image(opened, 1)
    expect(opened.locator("#stage")).to_have_attribute("data-image", str(pair.second))
    held[0].continue_()
    opened.wait_for_timeout(500)
    assert seen(opened)["coloured"] == 0
    expect(opened.locator("#stage")).to_have_attribute("data-map", "")


def test_nothing_of_the_first_image_is_seen_while_the_second_is_on_its_way(opened: Page, pair: Pair) -> None:
    choose(opened, "Pneumothorax")
    expect(opened.locator("#stage")).to_have_attribute("data-map", str(pair.map))
    held: list[Route] = []
    opened.route(f"**/instances/{pair.second}.png", lambda route: held.append(route))
    choose_image(opened, 1)
    expect(opened.locator("#stage-note")).to_have_text("Loading the radiograph")
    assert seen(opened)["lit"] == 0, "the first image stands under the name of the second"
    held[0].continue_()
    expect(opened.locator("#stage")).to_have_attribute("data-image", str(pair.second))
    expect(opened.get_by_label("none")).to_be_checked()


def test_choosing_a_map_leads_to_its_image(opened: Page, pair: Pair) -> None:
    choose_image(opened, 1)
    expect(opened.locator("#stage")).to_have_attribute("data-image", str(pair.second))
    choose(opened, "Pneumothorax")
    expect(opened.locator("#stage")).to_have_attribute("data-image", str(pair.first))
    expect(opened.locator("#stage")).to_have_attribute("data-map", str(pair.map))
    assert seen(opened)["coloured"] > 100
    expect(opened.locator("#stage-map")).to_have_text("Heat map: Pneumothorax 91 %")


def test_zoom_windows_and_sizes_leave_the_map_in_its_place(opened: Page, pair: Pair) -> None:
    choose(opened, "Pneumothorax")
    expect(opened.locator("#stage")).to_have_attribute("data-map", str(pair.map))
    before = seen(opened)["box"]
    for width, height in ((900, 700), (390, 844), (844, 390), (1440, 900)):
        opened.set_viewport_size({"width": width, "height": height})
        opened.wait_for_timeout(200)
        assert np.allclose(seen(opened)["box"], before, atol=0.03), (width, height)
    opened.locator("#zoom-out").click()
    assert np.allclose(seen(opened)["box"], before, atol=0.03)


def test_only_the_image_that_a_map_was_made_of_gets_it(page_settings: Settings, pair: Pair) -> None:
    with served(page_settings) as url, Client(base_url=url, timeout=20) as client:
        own = client.get(f"/studies/{pair.uid}/maps/{pair.first}/{pair.map}.png")
        other = client.get(f"/studies/{pair.uid}/maps/{pair.second}/{pair.map}.png")
    assert (own.status_code, own.headers["content-type"]) == (200, "image/png")
    assert (other.status_code, other.headers["content-type"]) == (404, "image/svg+xml")


def test_a_map_whose_file_names_another_image_is_not_laid_over_this_one(
    page_settings: Settings, pair: Pair, writing: SessionFactory
) -> None:
    """The rows may be wrong about it (two images of one score); the picture itself says what it was drawn from."""
    with writing.begin() as session:
        for prediction in session.query(Prediction).filter_by(finding="Pneumothorax"):
            prediction.probability = 0.95 if prediction.instance_id == pair.second else 0.91
    with served(page_settings) as url, Client(base_url=url, timeout=20) as client:
        answer = client.get(f"/studies/{pair.uid}/maps/{pair.second}/{pair.map}.png")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "image/svg+xml")


def test_a_map_of_an_image_that_was_replaced_is_no_choice_but_can_be_seen_as_sent(
    page: Page, page_settings: Settings, pair: Pair, writing: SessionFactory
) -> None:
    with writing.begin() as session:
        session.get_one(Instance, pair.first).current = False
    with served(page_settings) as url:
        page.goto(f"{url}/studies/{pair.uid}")
        expect(page.locator("#stage")).to_have_attribute("data-image", str(pair.second))
        expect(page.locator("#map-choice label")).to_have_count(1)
        expect(page.locator(".viewer").get_by_role("link", name="Pneumothorax")).to_be_visible()


def test_a_page_that_says_a_mark_was_not_taken_shows_the_pictures_all_the_same(
    chromium: Browser, page_settings: Settings, pair: Pair
) -> None:
    page = chromium.new_page()  # the console says that it was refused
    with served(page_settings) as url:
        page.goto(f"{url}/studies/{pair.uid}")
        page.evaluate("document.querySelector('.act input[name=shown]').value = 'ROUTINE'")
        page.evaluate("document.getElementById('read-button').click()")
        expect(page.get_by_role("alert").filter(has_text="Not marked read")).to_be_visible()
        expect(page.locator("#stage")).to_have_attribute("data-image", str(pair.first))
    page.close()


@pytest.mark.parametrize("body", ["<html><body><h1>502 Bad Gateway</h1><hr></body></html>", ""])
def test_an_error_of_a_proxy_in_the_place_of_a_picture_is_told_in_words(
    chromium: Browser, page_settings: Settings, pair: Pair, body: str
) -> None:
    """It showed what a browser says of HTML that is no XML."""
    page = chromium.new_page()  # the console says that it was refused
    page.route("**/instances/**", lambda route: route.fulfill(status=502, content_type="text/html", body=body))
    with served(page_settings) as url:
        page.goto(f"{url}/studies/{pair.uid}")
        expect(page.locator("#stage-note")).to_have_text("The picture cannot be had (502).")
    page.close()


def test_why_the_server_has_no_picture_is_told_in_its_own_words(
    chromium: Browser, page_settings: Settings, pair: Pair
) -> None:
    page = chromium.new_page()  # the console says that it was refused
    (page_settings.instances_dir / pair.uid / "image.dcm").write_bytes(b"another file")
    with served(page_settings) as url:
        page.goto(f"{url}/studies/{pair.uid}")
        expect(page.locator("#stage-note")).to_contain_text("damaged")
    page.close()
