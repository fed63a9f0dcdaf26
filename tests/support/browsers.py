"""A real Chromium for tests of pages, and pictures for the studies it looks at."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from factories import chest_radiograph, drawn_chest, sha256_of, write_dicom
from playwright.sync_api import Browser, Page, sync_playwright
from pydicom.dataset import Dataset

from dicom_io.pictures.overlay import Caption, Film, draw_overlay
from worker.rows.database import SessionFactory
from worker.rows.run_tables import Result, Run
from worker.rows.states import ResultKind
from worker.rows.study_tables import Instance
from worker.settings.config import Settings

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        message = "no Chromium on this machine (Debian: apt-get install chromium)"
        if os.environ.get("CXR_REQUIRE_SERVICES") == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A tab that fails the test on a console error or a request to another host."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB")
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: complaints.append(request.url) if "//127.0.0.1:" not in request.url else None)
    tab.set_default_timeout(20_000)
    yield tab
    context.close()
    assert [text for text in complaints if "ERR_CONNECTION_REFUSED" not in text] == []


def serious_findings(page: Page, path: str) -> list[str]:
    """Return what axe-core calls serious or critical on the open page."""
    from axe_playwright_python.sync_playwright import Axe  # here, because every test loads this file

    return [
        f"{path}: {item['id']} {node['html'][:200]} {node['any'][:1]}"
        for item in Axe().run(page).response["violations"]
        if item["impact"] in ("serious", "critical")
        for node in item["nodes"][:3]
    ]


def add_pictures(writing: SessionFactory, settings: Settings, study_instance_uid: str) -> None:
    """Give an analysed study a stored radiograph and a heat map of its first image per Secondary Capture result."""
    stored = drawn_chest(1024, 900)
    image = write_dicom(chest_radiograph(stored), settings.instances_dir / study_instance_uid / "image.dcm")
    with writing() as session:
        instances = session.query(Instance).filter_by(study_instance_uid=study_instance_uid).order_by(Instance.id)
        drawn_from = Dataset()
        drawn_from.ReferencedSOPClassUID = instances[0].sop_class_uid
        drawn_from.ReferencedSOPInstanceUID = instances[0].sop_instance_uid
    saliency = np.zeros((7, 7), np.float32)
    saliency[1:3, 4:6] = [[0.5, 1.0], [0.3, 0.7]]
    caption = Caption("STAT  Pneumothorax 91 %", "test 0.0.1, threshold 60 %", demonstration=True)
    picture = draw_overlay(Film((stored >> 4).astype(np.uint8)), saliency, caption)
    rows, columns = picture.shape[:2]
    capture = chest_radiograph(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.7", PixelData=picture.tobytes() + b"\0" * (picture.size % 2), Rows=rows,
        Columns=columns, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0, BitsAllocated=8,
        BitsStored=8, HighBit=7, PresentationLUTShape=None, SourceImageSequence=[drawn_from],
    )  # fmt: skip
    drawn = write_dicom(capture, settings.results_dir / study_instance_uid / "capture.dcm")
    with writing.begin() as session:
        for instance in session.query(Instance).filter_by(study_instance_uid=study_instance_uid):
            instance.path, instance.sha256 = f"{study_instance_uid}/{image.name}", sha256_of(image)
        results = session.query(Result).join(Run, Result.run_id == Run.id).filter(
            Run.study_instance_uid == study_instance_uid, Result.kind == ResultKind.SECONDARY_CAPTURE
        )  # fmt: skip
        for result in results:
            result.path, result.sha256 = f"{study_instance_uid}/{drawn.name}", sha256_of(drawn)
