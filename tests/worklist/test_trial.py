"""A picture tried by hand: judged as one that arrives, refused in words, seen by nobody else and stored nowhere."""

from __future__ import annotations

import io
import socket
import struct
import weakref
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benches import shared_networks
from factories import chest_radiograph
from httpx import Client, Response
from pages import csrf_of, served
from PIL import Image
from playwright.sync_api import Page, expect
from sites import wait_until

from model.bundle import load_bundle
from model.classifier import Classifier, NotFiniteError
from model.labels import LABELS
from model.suitability import SuitabilityError
from worker.care.trial import Trial, try_picture
from worker.rows.database import SessionFactory
from worker.rows.study_tables import Instance, Study
from worker.settings.config import DEFAULT_BUNDLE, Settings
from worklist.body_limit import MAXIMUM_PICTURE_BYTES

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:playwright")
GOLDEN, EXPECTED = load_bundle(DEFAULT_BUNDLE).golden[0]


@pytest.fixture
def trial_settings(make_settings: Callable[..., Settings], sqlite_url: str) -> Settings:
    return make_settings(database_url=sqlite_url, allow_demonstration_bundle=True)


@pytest.fixture
def client(trial_settings: Settings) -> Iterator[Client]:
    with (
        shared_networks(),
        served(trial_settings) as url,
        Client(base_url=url, follow_redirects=True, timeout=60) as client,
    ):
        yield client


def attempt(client: Client, content: bytes, **form: Any) -> Response:
    token = csrf_of(client.get("/try").text)
    return client.post("/try", data={"csrf": token} | form, files={"picture": ("x", content)})


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def as_dicom(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    chest_radiograph(pixels.astype(np.uint16) << 4).save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def test_a_png_is_judged_to_the_expected_probabilities_and_nothing_is_stored(
    client: Client, trial_settings: Settings, writing: SessionFactory
) -> None:
    def files() -> set[Path]:
        return {path for path in trial_settings.data_dir.rglob("*") if "cache" not in str(path)}

    before = files()
    answer = attempt(client, GOLDEN.read_bytes())
    assert answer.status_code == 200
    assert str(answer.url).count("/try/") == 1
    for label, probability in zip(LABELS, EXPECTED, strict=True):
        if probability is not None and 0.01 < probability < 0.99:
            assert f"{label.replace('_', ' ').capitalize()} <b>{round(100 * probability)} %" in answer.text
    known = next(label for label, probability in zip(LABELS, EXPECTED, strict=True) if probability is not None)
    map = client.get(f"{answer.url}/{known}.png")
    assert Image.open(io.BytesIO(map.content)).mode == "RGB"
    assert files() == before
    with writing() as session:
        assert session.query(Study).count() == session.query(Instance).count() == 0


def test_jpeg_16_bit_png_and_dicom_are_the_same_picture(client: Client) -> None:
    pixels = np.asarray(Image.open(GOLDEN).convert("L"))
    wide = pixels.astype(np.uint16) * 257
    for content in (encoded(pixels, "JPEG"), encoded(wide), as_dicom(pixels)):
        answer = attempt(client, content)
        assert "Analysed." in answer.text
        shown = np.asarray(Image.open(io.BytesIO(client.get(f"{answer.url}/radiograph.png").content)), dtype=float)
        assert np.corrcoef(shown.ravel(), pixels.ravel())[0, 1] > 0.995


def test_what_is_no_chest_is_not_classified_and_says_so(client: Client) -> None:
    pixels = np.asarray(Image.open(GOLDEN).convert("L"))
    answer = attempt(client, encoded(255 - pixels))
    assert "Not analysed." in answer.text
    assert "not the same as nothing found" in answer.text
    assert "threshold</span>" not in answer.text
    assert client.get(f"{answer.url}/{LABELS[0]}.png").status_code == 404
    assert "blank" in attempt(client, encoded(np.full((300, 300), 90, np.uint8))).text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "Choose a file first"),
        (b"GIF89a" + bytes(400), "not a DICOM, PNG or JPEG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(400), "not a DICOM, PNG or JPEG"),
        (bytes(128) + b"DICM" + bytes(400), "cannot be shown"),
        (encoded(np.zeros((20, 20), np.uint8)), "the network looks at 224 a side"),
        (encoded(np.zeros((600, 280), np.uint8)), "2.1 times as high as wide (280 x 600)"),
        (encoded(np.zeros((9000, 9000), np.uint8)), "more than 64 million px"),
    ],
)
def test_what_cannot_be_tried_is_refused_in_words(client: Client, content: bytes, words: str) -> None:
    answer = attempt(client, content)
    assert answer.status_code == 422
    assert words in answer.text


def test_a_picture_with_a_damaged_colour_profile_is_no_server_error(client: Client) -> None:
    content, profile = encoded(np.eye(300, dtype=np.uint8)), b"iCCP"
    end = content.index(b"IEND") - 4
    chunk = struct.pack(">I", 0) + profile + struct.pack(">I", zlib.crc32(profile))
    answer = attempt(client, content[:end] + chunk + content[end:])
    assert answer.status_code == 422
    assert "not a DICOM, PNG or JPEG file that can be read" in answer.text


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_a_picture_of_which_pillow_warns_is_read(client: Client) -> None:
    """Warnings made into errors for one picture would be errors in all threads of the page meanwhile."""
    stream = io.BytesIO()
    Image.open(GOLDEN).convert("L").convert("P").save(stream, "PNG", transparency=bytes(256))
    assert "Analysed." in attempt(client, stream.getvalue()).text


@pytest.mark.parametrize(("step", "error"), [("classify", NotFiniteError), ("examine", SuitabilityError)])
def test_a_model_that_computes_no_number_says_so(
    client: Client, monkeypatch: pytest.MonkeyPatch, step: str, error: type[Exception]
) -> None:
    def no_number(*_: object) -> None:
        raise error("bundle x 1 computes no finite number for Mass; make the bundle again")

    monkeypatch.setattr(Classifier, step, no_number)
    answer = attempt(client, GOLDEN.read_bytes())
    assert answer.status_code == 422
    assert "computes no finite number for Mass" in answer.text


def test_a_forged_or_endless_upload_is_refused(client: Client) -> None:
    assert attempt(client, GOLDEN.read_bytes(), csrf="guessed").status_code == 403
    with socket.create_connection((client.base_url.host, client.base_url.port)) as caller:
        head = f"POST /try HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MAXIMUM_PICTURE_BYTES + 1}\r\n\r\n"
        caller.sendall(head.encode())
        assert caller.recv(100).startswith(b"HTTP/1.1 413")


def test_nobody_else_sees_a_trial(client: Client) -> None:
    answer = attempt(client, GOLDEN.read_bytes())
    with Client(base_url=client.base_url, timeout=30) as stranger:
        stranger.get("/")
        assert stranger.get(answer.url.path).status_code == 404
        assert stranger.get(f"{answer.url.path}/radiograph.png").status_code == 404


def test_a_trial_is_forgotten_in_time_though_nobody_asks_for_another(
    trial_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worklist.trial_page.KEPT_SECONDS", 3.0)
    pictures: list[weakref.ref[Trial]] = []

    def noted(*arguments: Any) -> Trial:
        trial = try_picture(*arguments)
        pictures.append(weakref.ref(trial))
        return trial

    monkeypatch.setattr("worklist.trial_page.try_picture", noted)
    with (
        shared_networks(),
        served(trial_settings) as url,
        Client(base_url=url, follow_redirects=True, timeout=30) as client,
    ):
        assert "Analysed." in attempt(client, GOLDEN.read_bytes()).text
        (picture,) = pictures
        wait_until(lambda: picture() is None, "the picture to be forgotten", 30)


def test_a_demonstration_model_tries_nothing_unless_allowed(page_settings: Settings) -> None:
    with served(page_settings) as url, Client(base_url=url, follow_redirects=True, timeout=30) as client:
        answer = attempt(client, GOLDEN.read_bytes())
    assert answer.status_code == 422
    assert "is a demonstration" in answer.text


def test_a_person_tries_a_picture_and_chooses_heat_maps(page: Page, trial_settings: Settings) -> None:
    with served(trial_settings) as url:
        page.goto(f"{url}/try")
        page.locator("#picture").set_input_files(GOLDEN)
        page.get_by_role("button", name="Judge it").click()
        picture = page.locator("#tried")
        expect(picture).to_have_js_property("complete", True, timeout=30_000)
        page.locator("#map-choice label").nth(1).click()
        expect(picture).not_to_have_attribute("src", "radiograph.png")
        assert picture.evaluate("element => element.decode().then(() => element.naturalWidth)") > 500
