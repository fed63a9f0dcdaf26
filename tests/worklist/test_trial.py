"""A picture tried by hand: judged as one that arrives, refused in words, seen by nobody else and stored nowhere."""

from __future__ import annotations

import io
import re
import socket
import struct
import tempfile
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benches import shared_networks
from factories import chest_radiograph
from httpx import Client, ReadTimeout, Response
from pages import csrf_of, served
from PIL import Image
from playwright.sync_api import Page, Route, expect
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
from worklist.trial_page import MOST_AT_ONCE, KeptTrial, TrialRoom

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


def uploads(pixels: np.ndarray) -> bytes:
    """Return a PNG of more than the megabyte beyond which forms are usually kept in a file."""
    content = encoded(pixels)
    end = content.index(b"IEND") - 4
    words = b"tEXtComment\0" + bytes([65]) * (2 << 20)
    chunk = struct.pack(">I", len(words) - 4) + words + struct.pack(">I", zlib.crc32(words))
    return content[:end] + chunk + content[end:]


def test_a_large_picture_is_written_to_no_file_on_its_way(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))  # a temporary file cannot be made
    content = uploads(np.asarray(Image.open(GOLDEN).convert("L")))
    assert len(content) > 2 << 20
    assert "Input suitability" in attempt(client, content).text


class Held:
    """Lets a test say when pictures are judged, and counts them."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun: list[int] = []
        self.at_once = self.most_at_once = 0

    def __call__(self, *arguments: Any) -> Trial:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.begun.append(len(self.begun))
        assert self.go.wait(30)
        self.at_once -= 1
        return try_picture(*arguments)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    holding = Held()
    monkeypatch.setattr("worklist.trial_page.try_picture", holding)
    yield holding
    holding.go.set()


def test_pictures_that_wait_keep_nobody_from_the_list_and_those_beyond_the_limit_are_told_to_come_again(
    client: Client, held: Held
) -> None:
    token, content = csrf_of(client.get("/try").text), GOLDEN.read_bytes()

    def send(_: int) -> Response:
        return client.post("/try", data={"csrf": token}, files={"picture": ("x", content)})

    with ThreadPoolExecutor(60) as threads:
        answers = [threads.submit(send, number) for number in range(60)]
        wait_until(lambda: sum(answer.done() for answer in answers) == 60 - MOST_AT_ONCE, "those beyond the limit", 30)
        assert {answer.result().status_code for answer in answers if answer.done()} == {503}
        assert all("Try again in a moment" in answer.result().text for answer in answers if answer.done())
        assert client.get("/", timeout=5).status_code == 200
        held.go.set()
        found = [answer.result() for answer in answers if answer.result().status_code != 503]
    assert [answer.status_code for answer in found] == [200] * MOST_AT_ONCE
    assert len({answer.url.path for answer in found}) == MOST_AT_ONCE
    assert held.most_at_once == 1, "the machine belongs to studies"
    assert "Analysed." in attempt(client, content).text, "the places are free again"


def test_a_result_can_be_looked_at_while_another_picture_is_judged(client: Client, held: Held) -> None:
    held.go.set()
    first = attempt(client, GOLDEN.read_bytes())
    held.go.clear()
    with ThreadPoolExecutor(1) as thread:
        second = thread.submit(attempt, client, GOLDEN.read_bytes())
        wait_until(lambda: held.at_once == 1, "the second picture", 30)
        assert client.get(f"{first.url.path}/radiograph.png", timeout=5).status_code == 200
        held.go.set()
        assert second.result().status_code == 200


def half_sent(client: Client) -> socket.socket:
    """Begin an upload of this browser and stop in the middle of it."""
    caller = socket.create_connection((client.base_url.host, client.base_url.port), timeout=30)
    cookie = f"cxr_session={client.cookies['cxr_session']}"
    head = ["POST /try HTTP/1.1", "Host: localhost", f"Cookie: {cookie}", "Content-Length: 5000000",
            "Content-Type: multipart/form-data; boundary=B", "", ""]  # fmt: skip
    caller.sendall("\r\n".join(head).encode() + b"--B\r\nContent-Disposition: form-data; name=csrf\r\n\r\nx\r\n")
    return caller


def test_uploads_that_are_broken_off_or_never_end_free_their_places(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worklist.trial_page.LONGEST_UPLOAD_SECONDS", 2.0)
    client.get("/try")
    broken = [half_sent(client) for _ in range(MOST_AT_ONCE)]
    for caller in broken:
        caller.close()
    wait_until(lambda: "Analysed." in attempt(client, GOLDEN.read_bytes()).text, "a free place", 30)
    endless = [half_sent(client) for _ in range(MOST_AT_ONCE)]
    for caller in endless:
        with caller:
            assert caller.recv(100).startswith(b"HTTP/1.1 408")
    assert "Analysed." in attempt(client, GOLDEN.read_bytes()).text


def test_of_a_picture_whose_sender_hung_up_nothing_is_kept(
    client: Client, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[KeptTrial] = []
    real = TrialRoom._keep
    monkeypatch.setattr(TrialRoom, "_keep", lambda room, trial: (kept.append(trial), real(room, trial))[1])
    token, content = csrf_of(client.get("/try").text), GOLDEN.read_bytes()
    with Client(base_url=client.base_url, cookies=client.cookies, timeout=1) as impatient:
        for _ in range(2):  # one that is judged when its sender leaves, and one that waits
            with pytest.raises(ReadTimeout):
                impatient.post("/try", data={"csrf": token}, files={"picture": ("x", content)})
    assert held.begun == [0]
    held.go.set()
    assert "Analysed." in attempt(client, content).text
    assert (len(kept), held.begun) == (1, [0, 1])


def test_after_a_restart_a_trial_is_gone_and_says_so(trial_settings: Settings) -> None:
    with served(trial_settings) as url, Client(base_url=url, follow_redirects=True, timeout=60) as client:
        address = attempt(client, GOLDEN.read_bytes()).url.path
    with served(trial_settings) as url, Client(base_url=url, cookies=client.cookies, timeout=30) as again:
        answer = again.get(address)
        assert (answer.status_code, "This trial is gone" in answer.text) == (404, True)
        assert again.get(f"{address}/radiograph.png").status_code == 404


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
        expect(picture).not_to_have_attribute("src", re.compile("radiograph.png$"))
        assert picture.evaluate("element => element.decode().then(() => element.naturalWidth)") > 500


def test_the_heat_map_that_is_seen_is_the_one_that_is_chosen(page: Page, trial_settings: Settings) -> None:
    held: list[Route] = []
    with served(trial_settings) as url:
        page.goto(f"{url}/try")
        page.locator("#picture").set_input_files(GOLDEN)
        page.get_by_role("button", name="Judge it").click()
        choices = page.locator("#map-choice label")
        names = [choice.locator("input").get_attribute("value") for choice in choices.all()]
        page.route(f"**/{names[1]}.png", lambda route: held.append(route))
        choices.nth(1).click()
        expect(page.locator("#try-note")).to_have_text("Loading")
        choices.nth(2).click()
        expect(page.locator("#tried")).to_have_attribute("src", re.compile(f"{names[2]}.png$"))
        held[0].continue_()
        page.wait_for_timeout(500)
        expect(page.locator("#tried")).to_have_attribute("src", re.compile(f"{names[2]}.png$"))
        page.route(f"**/{names[3]}.png", lambda route: route.fulfill(status=200, body="gone"))
        choices.nth(3).click()
        expect(page.locator("#try-note")).to_contain_text("It cannot be had")


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(
    page: Page, trial_settings: Settings, tmp_path: Path
) -> None:
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(MAXIMUM_PICTURE_BYTES)
    with served(trial_settings) as url:
        page.goto(f"{url}/try")
        page.locator("#picture").set_input_files(large)
        page.get_by_role("button", name="Judge it").click()
        words = page.locator("#picture").evaluate("element => element.validationMessage")
        assert "This file is too large: 64 MB at most" in words
        page.locator("#picture").set_input_files(GOLDEN)
        page.get_by_role("button", name="Judge it").click()
        expect(page.get_by_role("heading", name="A picture tried by hand")).to_be_visible(timeout=30_000)
