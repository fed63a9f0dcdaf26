"""The page on real processes: from `storescu` to the list that is open, to the read mark, in a real Chromium."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import write_test_bundle
from factories import chest_radiograph, write_dicom
from orthanc import need
from playwright.sync_api import Browser, Page, expect
from pydicom.dataset import Dataset
from services import free_port, wait_for_port
from sites import QUICK, Site

from worker.rows.migrate import upgrade
from worker.rows.states import StudyState
from worker.settings.config import load_settings
from worklist.accounts import Role, write_password_file

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore::DeprecationWarning:playwright")]
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Listener, sweeper, workers and page, with a login."""
    folder = tmp_path_factory.mktemp("site")
    write_password_file(folder / "passwords", PASSWORD, "dr.lee", Role.RADIOLOGIST)
    write_password_file(folder / "passwords", PASSWORD, "boss", Role.ADMINISTRATOR)
    settings = load_settings(
        data_dir=folder / "data",
        listen_port=free_port(),
        worklist_port=free_port(),
        worklist_password_hash_file=folder / "passwords",
        bundles={"default": write_test_bundle(folder / "bundle").folder},
        allow_demonstration_bundle=True,
        **QUICK,
    )
    settings.data_dir.mkdir()
    upgrade(settings.effective_database_url)
    running = Site(settings, folder / "log.txt")
    try:
        running.start_listening(("up",))
        wait_for_port(settings.worklist_port, 60)
        yield running
    finally:
        running.stop()


def address(site: Site) -> str:
    return f"http://127.0.0.1:{site.settings.worklist_port}"


def storescu(site: Site, dataset: Dataset, folder: Path) -> None:
    """Send one object as a modality does, with dcmtk."""
    file = write_dicom(dataset, folder / f"{dataset.SOPInstanceUID}.dcm")
    program = need("storescu", "dcmtk")
    port = str(site.settings.listen_port)
    subprocess.run([program, "-aec", "CXRAI", "127.0.0.1", port, str(file)], check=True, timeout=60)


def log_in(page: Page, site: Site, name: str) -> None:
    page.goto(address(site))
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#worklist")).to_be_visible()


def test_a_study_climbs_onto_an_open_list_and_is_read_by_keys_alone(page: Page, site: Site, tmp_path: Path) -> None:
    log_in(page, site, "dr.lee")
    expect(page.get_by_text("No studies yet")).to_be_visible()
    page.evaluate("window.neverReloaded = true")
    dataset = chest_radiograph(PatientName="ARRIVED^ANNA", AccessionNumber="ACC-77")
    storescu(site, dataset, tmp_path)
    row = page.locator("tr", has_text="ARRIVED, ANNA")
    expect(row.locator(".badge")).to_have_text("STAT", timeout=60_000)
    assert page.evaluate("window.neverReloaded")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="ARRIVED, ANNA")).to_be_visible()
    stage = page.locator("#stage")
    expect(stage).to_have_attribute("data-scale", "1.00")
    page.locator("#map-choice label").nth(1).click()
    expect(stage).not_to_have_attribute("data-map", "")
    page.locator("#map-choice label").first.click()
    expect(stage).to_have_attribute("data-map", "")
    page.keyboard.press("r")
    expect(page.get_by_role("button", name="Mark unread")).to_be_visible()
    study = site.study(str(dataset.StudyInstanceUID))
    assert study is not None
    assert study.read_by == "dr.lee"
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.goto(f"{address(site)}/studies/{dataset.StudyInstanceUID}")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()


def test_an_administrator_requeues_what_a_radiologist_cannot(page: Page, site: Site, tmp_path: Path) -> None:
    dataset = chest_radiograph(PatientName="AGAIN^ADA")
    storescu(site, dataset, tmp_path)
    uid = str(dataset.StudyInstanceUID)
    site.wait_for_state(uid, StudyState.TRIAGED)
    log_in(page, site, "dr.lee")
    expect(page.get_by_role("link", name="Operations")).to_have_count(0)
    assert page.request.get(f"{address(site)}/operations").status == 403
    page.get_by_role("button", name="Log out").click()
    log_in(page, site, "boss")
    page.goto(f"{address(site)}/operations/requeue?study={uid}")
    page.locator("main form button").first.click()
    expect(page).to_have_url(f"{address(site)}/operations?requeued=1&refused=0")
    assert [run.trigger for run in site.runs(uid)] == ["auto", "manual"]


def test_hostile_dicom_text_is_shown_and_does_nothing(page: Page, site: Site, tmp_path: Path) -> None:
    attack = "<script>window.owned=1</script><img src=x onerror=window.owned=1>"
    dataset = chest_radiograph(
        PatientName=f"{attack[:40]}^\u202egnp.exe",
        PatientID='" onfocus="window.owned=1',
        StudyDescription=attack * 60,
        AccessionNumber="{{7*7}}${7*7}",
        SpecificCharacterSet="ISO_IR 192",
    )
    storescu(site, dataset, tmp_path)
    uid = str(dataset.StudyInstanceUID)
    site.wait_for_state(uid, StudyState.TRIAGED, StudyState.HELD, StudyState.NOT_ANALYSED)
    log_in(page, site, "dr.lee")
    expect(page.locator("tr", has_text="onfocus=").first).to_be_visible()
    page.goto(f"{address(site)}/?q=gnp")
    page.goto(f"{address(site)}/studies/{uid}")
    expect(page.locator("#who")).to_be_visible()
    expect(page.get_by_text("{{7*7}}${7*7}").first).to_be_visible()
    assert page.evaluate("window.owned === undefined && !document.querySelector('main script, main img[onerror]')")
    narrow = page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert narrow, "four thousand characters do not push the page aside"


def test_the_policy_of_the_page_stops_what_is_written_into_it(site: Site, chromium: Browser) -> None:
    page = chromium.new_page()  # the console says what was stopped, which is an error elsewhere
    log_in(page, site, "dr.lee")
    page.evaluate(
        "() => { const bad = document.createElement('div');"
        " bad.innerHTML = '<b onclick=\"window.owned=1\">x</b>'; document.body.append(bad);"
        " window.blocked = new Promise(done => document.addEventListener('securitypolicyviolation',"
        " event => done(event.violatedDirective), { once: true })); bad.firstChild.click(); }"
    )
    assert page.evaluate("window.blocked").startswith("script-src")
    assert page.evaluate("window.owned === undefined")
    page.close()
