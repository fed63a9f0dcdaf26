from __future__ import annotations

import html
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from factories import chest_radiograph, write_dicom
from file_limits import files_of_at_most
from http_mutations import page_routes
from httpx import Client
from pages import PASSWORD, csrf_of, served
from services import free_port
from sqlalchemy import Engine, select
from study_rows import add_instance, add_study, add_triaged_study, now, stored_as

from worker.rows import database
from worker.rows.database import SessionFactory
from worker.rows.delivery_tables import Delivery
from worker.rows.events import record
from worker.rows.run_tables import Result, Run
from worker.rows.site_tables import Event
from worker.rows.states import StudyState
from worker.rows.study_tables import Study
from worker.settings.config import Settings
from worklist.accounts import Role, read_accounts, remove_account, write_password_file
from worklist.cli import serve
from worklist.headers import CONTENT_SECURITY_POLICY
from worklist.login import LoginGuard, session_secret


@pytest.fixture
def browser(page_settings: Settings) -> Iterator[Client]:
    with served(page_settings) as url, Client(base_url=url, follow_redirects=True, timeout=30) as client:
        yield client


def triaged(writing: SessionFactory, probabilities: dict[str, float], **fields: Any) -> str:
    with writing.begin() as session:
        return add_triaged_study(session, probabilities, now=now(), **fields).study_instance_uid


def test_an_empty_list_says_how_studies_get_there(browser: Client) -> None:
    html = browser.get("/").text
    assert "No studies yet" in html
    assert "CXRAI" in html


def test_every_page_says_that_it_is_not_for_diagnosis(browser: Client, writing: SessionFactory) -> None:
    uid = triaged(writing, {"Pneumothorax": 0.91})
    for path in ("/", f"/studies/{uid}", "/studies/1.2.3"):
        assert "NOT A MEDICAL DEVICE - NOT FOR DIAGNOSTIC USE" in browser.get(path).text


def test_flagged_study_shows_finding_reason_patient_and_delivery(browser: Client, writing: SessionFactory) -> None:
    triaged(writing, {"Pneumothorax": 0.91}, patient_name="DOE^JANE", patient_age="045Y")
    html = browser.get("/").text
    for text in ("STAT", "Pneumothorax <b>91 %</b>", "DOE, JANE", "45 y", "In the PACS", "Mark read"):
        assert text in html


def test_a_study_shows_its_patients_name_in_every_script_that_came(browser: Client, writing: SessionFactory) -> None:
    """PS3.5 6.2.1, annex H: alphabetic, ideographic and phonetic; two patients may share the first."""
    uid = triaged(writing, {"Mass": 0.2}, patient_name="Yamada^Tarou=山田^太郎=やまだ^たろう")
    html = browser.get(f"/studies/{uid}").text
    for name in ("Yamada, Tarou", "山田, 太郎", "やまだ, たろう"):
        assert html.count(f">{name}</bdi>") == 1
    only = browser.get(f"/studies/{triaged(writing, {'Mass': 0.2}, patient_name='=山田^太郎')}").text
    assert only.count("山田, 太郎</bdi>") == 1


def test_not_analysed_held_and_failed_are_groups_of_their_own(browser: Client, writing: SessionFactory) -> None:
    with writing.begin() as session:
        for state in (StudyState.NOT_ANALYSED, StudyState.HELD, StudyState.FAILED, StudyState.OUT_OF_SCOPE):
            add_study(session, now=now(), state=state, reason_code="x", reason=f"Because {state}.")
    html = browser.get("/").text
    for group in ("not_analysed", "held", "failed"):
        assert f'<section class="group g-{group}"' in html
        assert f"Because {group}." in html
    assert "nothing is sent until its images agree whose they are, or a person decides" in html
    assert '<details class="group g-out_of_scope"' in html
    assert "no finding flagged" not in html


def test_hostile_dicom_text_stays_text(browser: Client, writing: SessionFactory) -> None:
    attack = "<script>alert(1)</script>"
    uid = triaged(
        writing,
        {"Mass": 0.2},
        patient_name=attack,
        patient_id=attack,
        study_description=attack * 100,
        accession_number='" onload="alert(1)',
        calling_ae_title=attack,
    )
    for path in ("/", f"/studies/{uid}"):
        html = browser.get(path).text
        assert "<script>alert" not in html
        assert 'title="" onload=' not in html
        assert "&lt;script&gt;" in html


def test_study_page_shows_all_fourteen_findings_and_says_which_the_model_does_not_know(
    browser: Client, writing: SessionFactory
) -> None:
    uid = triaged(writing, {"Pneumothorax": 0.91, "Mass": 0.004})
    html = browser.get(f"/studies/{uid}").text
    assert html.count('<span class="label">') == 14
    assert html.count("not in this model") == 12
    assert "&lt; 1 %" in html
    assert "2.25." in html
    assert "triaging" in html


def test_the_timeline_names_object_and_destination_of_a_delivery(browser: Client, writing: SessionFactory) -> None:
    with writing.begin() as session:
        study = add_triaged_study(session, {"Pleural_Thickening": 0.9}, now=now())
        uid = study.study_instance_uid
        sent = select(Delivery).join(Result).join(Run).where(Run.study_instance_uid == uid)
        for delivery in session.scalars(sent):
            facts = {"destination": delivery.destination, "delivery_id": delivery.id, "attempts": 1}
            record(session, "delivered", actor="w", study_instance_uid=uid, reason="status 0x0000", details=facts)
    page = browser.get(f"/studies/{uid}").text
    timeline = " ".join(re.sub(r"<[^>]+>", " ", page[page.index("delivered</strong>") :]).split())
    assert "structured report to pacs: status 0x0000" in timeline
    assert "secondary capture of Pleural thickening to pacs: status 0x0000" in timeline


def test_not_analysed_study_page_never_looks_like_nothing_found(browser: Client, writing: SessionFactory) -> None:
    with writing.begin() as session:
        study = add_study(session, now=now(), state=StudyState.NOT_ANALYSED, reason_code="age", reason="Too young.")
        uid = study.study_instance_uid
    html = browser.get(f"/studies/{uid}").text
    assert "the worker says nothing about it" in html
    assert "Too young." in html


def test_radiograph_is_shown_as_png_and_a_missing_one_says_so(
    browser: Client, writing: SessionFactory, page_settings: Settings
) -> None:
    with writing.begin() as session:
        study = add_study(session, now=now())
        file = write_dicom(chest_radiograph(), page_settings.instances_dir / "one.dcm")
        stored = add_instance(session, study, **stored_as(file)).id
        missing = add_instance(session, study, path="gone.dcm").id
        outside = add_instance(session, study, path="../../../../etc/passwd").id
        uid = study.study_instance_uid
    picture = browser.get(f"/studies/{uid}/instances/{stored}.png")
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
    assert picture.content.startswith(b"\x89PNG")
    for instance_id in (missing, outside):
        answer = browser.get(f"/studies/{uid}/instances/{instance_id}.png")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "image/svg+xml")
    assert browser.get(f"/studies/2.25.999999/instances/{stored}.png").status_code == 404


def test_a_damaged_radiograph_or_heat_map_is_not_shown_and_says_so(
    browser: Client, writing: SessionFactory, page_settings: Settings
) -> None:
    """A disk that gives zeros back for lost blocks would show a lung without marks."""
    page_settings.results_dir.mkdir(parents=True)
    image = write_dicom(chest_radiograph(), page_settings.instances_dir / "image.dcm")
    capture = write_dicom(chest_radiograph(), page_settings.results_dir / "capture.dcm")
    with writing.begin() as session:
        study = add_triaged_study(session, {"Mass": 0.9}, now=now())
        uid, instance_id = study.study_instance_uid, study.instances[0].id
        study.instances[0].path, study.instances[0].sha256 = image.name, stored_as(image)["sha256"]
        made = select(Result).join(Run, Run.id == Result.run_id).where(Run.study_instance_uid == uid)
        result = session.scalars(made.where(Result.kind == "secondary_capture")).one()
        result.path, result.sha256 = capture.name, stored_as(capture)["sha256"]
        result_id = result.id
    for file in (image, capture):
        file.write_bytes(file.read_bytes()[:-500] + bytes(500))
    for path in (f"instances/{instance_id}.png", f"results/{result_id}.png", f"maps/{instance_id}/{result_id}.png"):
        answer = browser.get(f"/studies/{uid}/{path}")
        words = " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())
        assert (answer.status_code, "damaged" in words) == (422, True), path


def test_a_missing_heat_map_says_so_without_the_servers_folders(
    browser: Client, writing: SessionFactory, page_settings: Settings
) -> None:
    with writing.begin() as session:
        study = add_triaged_study(session, {"Mass": 0.9}, now=now())
        uid, instance_id = study.study_instance_uid, study.instances[0].id
        made = select(Result.id).join(Run, Run.id == Result.run_id).where(Run.study_instance_uid == uid)
        result_id = session.scalars(made.where(Result.kind == "secondary_capture")).one()
    for path in (f"maps/{instance_id}/{result_id}.png", f"results/{result_id}.png"):
        answer = browser.get(f"/studies/{uid}/{path}")
        words = " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())
        assert (answer.status_code, "missing" in words) == (404, True)
        assert str(page_settings.data_dir) not in words.replace(" ", "")


def test_an_undecodable_image_is_replaced_by_its_reason(
    browser: Client, writing: SessionFactory, page_settings: Settings
) -> None:
    path = write_dicom(chest_radiograph(), page_settings.instances_dir / "cut.dcm")
    path.write_bytes(path.read_bytes()[:-500])
    with writing.begin() as session:
        study = add_study(session, now=now())
        instance_id, uid = add_instance(session, study, **stored_as(path)).id, study.study_instance_uid
    answer = browser.get(f"/studies/{uid}/instances/{instance_id}.png")
    assert answer.status_code == 422
    assert "cannot be shown" in re.sub(r"<[^>]+>", " ", answer.text)


@pytest.mark.parametrize(
    ("state", "attempts", "shown"), [("failed", 3, False), ("running", 2, False), ("done", 2, True)]
)
def test_the_page_does_not_decode_what_ended_the_analysis(
    browser: Client, writing: SessionFactory, page_settings: Settings, state: str, attempts: int, shown: bool
) -> None:
    """A decoder that crashes or never returns would take the page with it, each time somebody looks."""
    file = write_dicom(chest_radiograph(), page_settings.instances_dir / "one.dcm")
    with writing.begin() as session:
        study = add_study(session, now=now())
        instance_id, uid = add_instance(session, study, **stored_as(file)).id, study.study_instance_uid
        poison = "poison" if state == "failed" else None
        first = Run(
            study_instance_uid=uid, run_number=1, state=state, attempts=attempts, reason_code=poison, queued_at=now()
        )
        session.add(first)
        if state != "running":  # by hand, and it waits
            session.add(Run(study_instance_uid=uid, run_number=2, state="queued", attempts=0, queued_at=now()))
    answer = browser.get(f"/studies/{uid}/instances/{instance_id}.png")
    assert answer.status_code == (200 if shown else 422)
    assert ("not decoded here" in re.sub(r"<[^>]+>", " ", answer.text)) is not shown


def test_mark_read_moves_the_study_and_is_audited(browser: Client, writing: SessionFactory) -> None:
    uid = triaged(writing, {"Pneumothorax": 0.91})
    token = csrf_of(browser.get("/").text)
    answer = browser.post(f"/studies/{uid}/read", data={"csrf": token, "back": "list", "shown": "STAT"})
    assert answer.status_code == 200
    assert "Everything is read" in answer.text
    with writing() as session:
        assert session.get_one(Study, uid).read_by == "local"
        assert session.query(Event).filter_by(kind="read", actor="local").count() == 1


def read_form(html: str) -> dict[str, str]:
    """Return the fields of the form that marks the study read."""
    form = re.search(r'action="/studies/[^"]+/read".*?</form>', html, re.DOTALL)
    assert form is not None
    return dict(re.findall(r'name="(\w+)" value="([^"]*)"', form.group()))


@pytest.mark.parametrize("path", ["/", "/studies/{}"])
@pytest.mark.parametrize(
    ("shown", "then", "marked"),
    [
        (None, "STAT", False), (None, "ROUTINE", True), ("ROUTINE", "URGENT", False), ("URGENT", "STAT", False),
        ("STAT", "STAT", True), ("STAT", "URGENT", True), ("URGENT", "ROUTINE", True), ("STAT", None, True),
    ],
)  # fmt: skip
def test_a_page_made_before_a_study_was_flagged_marks_it_read_only_after_it_has_shown_that(
    browser: Client, writing: SessionFactory, path: str, shown: str | None, then: str | None, marked: bool
) -> None:
    uid = triaged(writing, {"Pneumothorax": 0.91})

    def set_level(level: str | None) -> None:
        with writing.begin() as session:
            session.get_one(Study, uid).priority = level

    set_level(shown)
    old = read_form(browser.get(path.format(uid)).text)
    set_level(then)
    answer = browser.post(f"/studies/{uid}/read", data=old)
    with writing() as session:
        assert (session.get_one(Study, uid).read_at is not None) is marked
    if not marked:
        assert answer.status_code == 409
        assert f"it has become {then} since this page was made" in answer.text
        assert browser.post(f"/studies/{uid}/read", data=read_form(answer.text)).status_code == 200
        with writing() as session:
            assert session.get_one(Study, uid).read_at is not None


@pytest.mark.parametrize(
    ("token", "headers"),
    [("", {}), ("guessed", {}), (None, {"Sec-Fetch-Site": "cross-site"}), (None, {"Sec-Fetch-Site": "same-site"})],
)
def test_a_post_from_elsewhere_changes_nothing(
    browser: Client, writing: SessionFactory, token: str | None, headers: dict[str, str]
) -> None:
    uid = triaged(writing, {"Pneumothorax": 0.91})
    own = csrf_of(browser.get("/").text)
    data = {"csrf": own if token is None else token}
    assert browser.post(f"/studies/{uid}/read", data=data, headers=headers).status_code == 403
    with writing() as session:
        assert session.get_one(Study, uid).read_at is None
    for path in (path for method, path in addresses(uid) if method == "POST"):
        assert browser.post(path, data=data, headers=headers).status_code == 403, path
    with Client(base_url=browser.base_url, timeout=30) as stranger:
        assert stranger.post(f"/studies/{uid}/read", data={"csrf": ""}).status_code == 403, "no session, no token"


def test_another_host_name_is_refused_without_login(browser: Client) -> None:
    assert browser.get("/", headers={"Host": "attacker.example"}).status_code == 400


def test_headers_keep_the_page_to_itself(browser: Client) -> None:
    for path in ("/", "/studies/1.2.3", "/healthz", "/static/page.css"):
        headers = browser.get(path).headers
        assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert headers["x-content-type-options"] == "nosniff"
    assert browser.get("/").headers["cache-control"] == "no-store"


def test_the_page_asks_for_nothing_inline_or_from_elsewhere(browser: Client, writing: SessionFactory) -> None:
    uid = triaged(writing, {"Pneumothorax": 0.91})
    for path in ("/", f"/studies/{uid}"):
        html = browser.get(path).text
        assert not re.search(r"<script(?![^>]*\bsrc=)", html)
        assert not re.search(r"\s(style|on\w+)=", html)
        assert not re.search(r"""(src|href)=["'](https?:)?//""", html)


def test_api_lists_and_describes_studies(browser: Client, writing: SessionFactory) -> None:
    uid = triaged(writing, {"Pneumothorax": 0.91})
    triaged(writing, {"Mass": 0.1})
    answer = browser.get("/api/studies", params={"priority": "STAT"}).json()
    assert (answer["total"], answer["studies"][0]["study_instance_uid"]) == (1, uid)
    assert answer["studies"][0]["findings"] == [{"finding": "Pneumothorax", "probability": 0.91, "threshold": 0.6}]
    assert browser.get("/api/studies", params={"priority": "ROUTINE"}).json()["studies"][0]["findings"] == []
    detail = browser.get(f"/api/studies/{uid}").json()
    assert len(detail["runs"][0]["predictions"]) == 14
    assert browser.get("/api/studies/1.2.3").status_code == 404
    assert "There is no such page." in browser.get("/nowhere", headers={"accept": "text/html"}).text
    assert browser.get("/api/studies", params={"state": "nonsense"}).status_code == 422


def test_a_program_never_takes_a_study_without_an_answer_for_one_with_nothing_found(
    browser: Client, writing: SessionFactory
) -> None:
    for state in (StudyState.FAILED, StudyState.HELD, StudyState.NOT_ANALYSED, StudyState.QUEUED):
        triaged(writing, {"Mass": 0.1}, state=state, reason="It broke.")
    lines = browser.get("/api/studies").json()["studies"]
    assert {line["state"]: line["findings"] for line in lines} == dict.fromkeys(
        ("failed", "held", "not_analysed", "queued")
    )
    said = {line["state"]: line["priority"] for line in lines if line["state"] != "queued"}
    assert said == {"failed": None, "held": None, "not_analysed": None}
    for line in lines:
        page = browser.get(f"/studies/{line['study_instance_uid']}").text
        assert "Of an earlier analysis" in page
        assert ("p-ROUTINE" in page) == (line["state"] == "queued")


def test_health_names_nobody_and_fails_without_a_database(
    browser: Client, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    assert browser.get("/healthz").json()["status"] == "ok"
    broken = make_settings(database_url=f"sqlite:///{tmp_path / 'missing' / 'x.db'}")
    with served(broken) as url, Client(base_url=url, timeout=30) as client:
        assert client.get("/healthz").status_code == 503
        page = client.get("/")
        assert page.status_code == 503
        assert "database does not answer" in page.text


def test_a_database_that_keeps_every_connection_busy_is_told_as_one_that_does_not_answer(
    page_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Engine] = []

    def with_one_connection(url: str, **keywords: Any) -> Engine:
        made.append(real(url, pool_size=1, max_overflow=0, pool_timeout=0.1, **keywords))
        return made[0]

    real = database.create_engine
    monkeypatch.setattr(database, "create_engine", with_one_connection)
    with served(page_settings) as url, Client(base_url=url, timeout=30) as client, made[0].connect():
        for address in ("/", "/operations", "/api/v1/studies", "/healthz"):
            assert client.get(address).status_code == 503, address


def test_the_page_checks_the_database_through_the_engine_that_it_reads_with(
    page_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def create_engine(url: str, *arguments: Any, **keywords: Any) -> Any:
        opened.append(url)
        return real(url, *arguments, **keywords)

    class Idle:
        def run(self, sockets: list[Any]) -> None:
            opened.append("served")

    real = database.create_engine
    monkeypatch.setattr(database, "create_engine", create_engine)
    monkeypatch.setattr("worklist.cli.page_server", lambda _application: Idle())
    serve(page_settings.model_copy(update={"worklist_port": free_port()}))
    assert opened == [page_settings.effective_database_url, "served"]


def test_session_key_is_private_and_stays_the_same(tmp_path: Path) -> None:
    first = session_secret(tmp_path)
    assert len(first) >= 64
    assert session_secret(tmp_path) == first
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]


@pytest.fixture
def guarded(make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path) -> Iterator[Client]:
    password_file = tmp_path / "password"
    write_password_file(password_file, PASSWORD)
    settings = make_settings(
        database_url=sqlite_url, worklist_host="192.0.2.1", worklist_password_hash_file=password_file
    )
    with served(settings) as url, Client(base_url=url, follow_redirects=True, timeout=30) as client:
        yield client


def addresses(uid: str) -> list[tuple[str, str]]:
    """Return method and address of everything the page offers, of this study where it is about one."""
    known = {"study_instance_uid": uid, "deed": "override"}
    return [(method, re.sub(r"{(\w+)}", lambda name: known.get(name[1], "1"), path)) for method, path in page_routes()]


OPEN = {("GET", "/healthz"), ("GET", "/login"), ("POST", "/login"), ("POST", "/logout")}


def log_in(client: Client, password: str, next_path: str = "/") -> Any:
    token = csrf_of(client.get("/login").text)
    return client.post("/login", data={"csrf": token, "password": password, "next": next_path}, follow_redirects=False)


def test_off_loopback_nothing_is_shown_without_login(guarded: Client, writing: SessionFactory) -> None:
    uid = triaged(writing, {"Pneumothorax": 0.91}, patient_name="SECRET^NAME")
    page = guarded.get(f"/studies/{uid}")
    assert page.url.path == "/login"
    for path in ("/partial/worklist", "/api/studies", f"/api/studies/{uid}", "/live"):
        assert guarded.get(path).status_code == 401
    for method, path in addresses(uid):
        if (method, path) not in OPEN:
            answer = guarded.request(method, path, follow_redirects=False)
            assert answer.headers.get("location", "").startswith("/login") or answer.status_code == 401, path
    picture = guarded.get(f"/studies/{uid}/instances/1.png")
    assert picture.url.path == "/login"
    for text in (page.text, picture.text):
        assert "SECRET" not in text
    assert guarded.get("/healthz").status_code == 200


def test_the_right_password_opens_the_page_and_logging_out_closes_it(
    guarded: Client, writing: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = triaged(writing, {"Pneumothorax": 0.91})
    answer = log_in(guarded, PASSWORD, f"/studies/{uid}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/studies/{uid}")
    assert "httponly" in answer.headers["set-cookie"].lower()
    page = guarded.get("/")
    token = csrf_of(page.text)
    guarded.post(f"/studies/{uid}/read", data={"csrf": token, "shown": "STAT"})
    with writing() as session:
        assert session.get_one(Study, uid).read_by == "administrator"
    with monkeypatch.context() as later:
        later.setattr("worklist.login.SESSION_SECONDS", -1)
        assert guarded.get("/api/studies").status_code == 401, "a session ends though it was used all the time"
    assert guarded.get("/api/studies").status_code == 200
    guarded.post("/logout", data={"csrf": token})
    assert guarded.get("/api/studies").status_code == 401


def test_a_radiologist_reads_but_does_not_operate_and_is_out_when_taken_out(
    guarded: Client, writing: SessionFactory, tmp_path: Path
) -> None:
    uid = triaged(writing, {"Pneumothorax": 0.91})
    file = tmp_path / "password"
    write_password_file(file, "another long password", "dr.mueller", Role.RADIOLOGIST)
    for name, password in (("dr.mueller", PASSWORD), ("nobody", PASSWORD), ("administrator", "another long password")):
        form = {"csrf": csrf_of(guarded.get("/login").text), "username": name, "password": password}
        assert guarded.post("/login", data=form).status_code == 401
    form = {"csrf": csrf_of(guarded.get("/login").text), "username": "dr.mueller", "password": "another long password"}
    page = guarded.post("/login", data=form)
    assert 'href="/operations"' not in page.text
    token = csrf_of(page.text)
    operating = [(method, path) for method, path in addresses(uid) if "/operations" in path]
    assert len(operating) >= 6
    for method, path in operating:
        data = {"csrf": token, "study": uid} if method == "POST" else None
        assert guarded.request(method, path, data=data).status_code == 403, path
    guarded.post(f"/studies/{uid}/read", data={"csrf": token, "shown": "STAT"})
    with writing() as session:
        assert session.get_one(Study, uid).read_by == "dr.mueller"
    remove_account(file, "dr.mueller")
    assert guarded.get("/api/studies").status_code == 401
    log_in(guarded, PASSWORD)
    assert guarded.get("/operations").status_code == 200
    write_password_file(file, "a third long password")
    assert guarded.get("/api/studies").status_code == 401, "a new password ends the sessions of the old one"


def test_of_passwords_that_are_guessed_at_once_no_more_are_tried_than_one_after_the_other(
    guarded: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: object) -> None:
        time.sleep(0.1)  # as long as the hash takes that tests do without

    monkeypatch.setattr("worklist.entrance.account_of", nobody)
    token = csrf_of(guarded.get("/login").text)

    def guess(number: int) -> int:
        form = {"csrf": token, "username": "administrator", "password": f"wrong password {number}"}
        return guarded.post("/login", data=form).status_code

    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(guess, range(12)))
    assert (answers.count(401), answers.count(429)) == (5, 7)


def test_of_passwords_that_are_set_at_once_none_is_lost(tmp_path: Path) -> None:
    file, names = tmp_path / "password", [f"reader{number}" for number in range(8)]
    write_password_file(file, PASSWORD)
    together = threading.Barrier(len(names))

    def set_password(name: str) -> None:
        together.wait()
        write_password_file(file, PASSWORD, name, Role.RADIOLOGIST)

    with ThreadPoolExecutor(len(names)) as threads:
        list(threads.map(set_password, names))
    assert read_accounts(file).keys() == {"administrator", *names}
    with ThreadPoolExecutor(len(names)) as threads:
        list(threads.map(lambda name: remove_account(file, name), names))
    assert read_accounts(file).keys() == {"administrator"}
    assert {path.name for path in tmp_path.iterdir()} == {"password", ".password.lock"}


@pytest.mark.parametrize("damage", ["gone", "cut", "no hash"])
def test_logging_in_says_that_the_password_file_is_damaged(guarded: Client, tmp_path: Path, damage: str) -> None:
    """A hash that lost its end, as on a disk that was full, is nobody's password; whoever logs in is told why."""
    file = tmp_path / "password"
    if damage == "gone":
        file.unlink()
    else:
        file.write_text(
            file.read_text().rpartition("$")[0] if damage == "cut" else "administrator administrator $argon2\n"
        )
    answer = log_in(guarded, PASSWORD)
    assert answer.status_code == 503
    assert "password file" in answer.text
    assert str(tmp_path) not in answer.text


def test_a_password_file_for_which_there_is_no_room_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "passwords" / "hash"
    file.parent.mkdir()
    write_password_file(file, PASSWORD)
    before = file.read_bytes()
    with files_of_at_most(10), pytest.raises(OSError, match="File too large"):
        write_password_file(file, PASSWORD, "second")
    assert file.read_bytes() == before
    assert sorted(path.name for path in file.parent.iterdir()) == [".hash.lock", "hash"]


def test_a_session_cookie_nobody_signed_is_ignored(guarded: Client) -> None:
    guarded.cookies.set("cxr_session", "eyJyZWFkZXIiOiAiYWRtaW5pc3RyYXRvciJ9.aaaa.bbbb")
    assert guarded.get("/api/studies").status_code == 401


def test_a_login_leads_back_to_what_was_asked_for_with_its_query(guarded: Client) -> None:
    wanted = "/?text=M%C3%BCller+%26+S&priority=STAT&next=%2F%2Fattacker.example"
    asked = guarded.get(wanted, follow_redirects=False)
    form = guarded.get(asked.headers["location"]).text
    (kept,) = re.findall(r'name="next" value="([^"]*)"', form)
    assert log_in(guarded, PASSWORD, html.unescape(kept)).headers["location"] == wanted


def test_a_login_leads_nowhere_else(guarded: Client) -> None:
    for elsewhere in ("https://attacker.example/", "//attacker.example/", "/\\attacker.example"):
        assert log_in(guarded, PASSWORD, elsewhere).headers["location"] == "/"


def test_guessing_is_stopped_after_five_wrong_passwords(guarded: Client) -> None:
    assert [log_in(guarded, "wrong").status_code for _ in range(6)] == [401] * 5 + [429]
    answer = log_in(guarded, PASSWORD)
    assert answer.status_code == 429
    assert "Try again in" in answer.text
    assert 0 < int(answer.headers["retry-after"]) <= 300


def test_who_mistypes_the_password_need_not_type_the_name_again(guarded: Client) -> None:
    form = {"csrf": csrf_of(guarded.get("/login").text), "username": 'dr."lee', "password": "wrong"}
    answer = guarded.post("/login", data=form)
    assert answer.status_code == 401
    assert 'name="username" value="dr.&#34;lee"' in answer.text


def test_failures_are_forgotten_after_the_window_and_counted_over_all_addresses() -> None:
    clock = [0.0]
    guard = LoginGuard(attempts=2, attempts_of_all=3, window_seconds=60, clock=lambda: clock[0])
    guard.failed("a")
    assert guard.wait_seconds("a") == 0
    clock[0] = 10
    guard.failed("a")
    assert guard.wait_seconds("a") == 50
    assert guard.wait_seconds("b") == 0
    guard.failed("b")
    assert guard.wait_seconds("c") == 50
    clock[0] = 61
    assert guard.wait_seconds("a") == 0
    guard.succeeded("a")
    assert guard.wait_seconds("b") == 0
    guard.failed("b")
    guard.succeeded("a")
    assert guard.wait_seconds("b") > 0, "who knows a password clears no other address"
    guard.succeeded("b")
    assert guard.wait_seconds("b") == guard.wait_seconds("c") == 0


def test_the_study_page_links_to_the_viewers_that_are_configured(
    make_settings: Callable[..., Settings], sqlite_url: str, writing: SessionFactory
) -> None:
    uid = triaged(writing, {"Pneumothorax": 0.91})
    viewers = [
        {"name": "OHIF", "url": "https://pacs.example.org/viewer?study={study}&x=1"},
        {"name": "Weasis", "url": "weasis://%24dicom%3Ars%20-r%20%22studyUID%3D{study}%22"},
    ]
    settings = make_settings(database_url=sqlite_url, viewers=viewers)
    with served(settings) as url, Client(base_url=url, timeout=30) as client:
        html = client.get(f"/studies/{uid}").text
    assert f'<a href="https://pacs.example.org/viewer?study={uid}&amp;x=1" target="_blank" rel="noopener' in html
    assert f'<a href="weasis://%24dicom%3Ars%20-r%20%22studyUID%3D{uid}%22" target="_blank" rel="noopener' in html
    assert "Open in OHIF" in html
    assert "Open in Weasis" in html
