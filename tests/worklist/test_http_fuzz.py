"""Mutated requests against a real worklist page: no server error, no hang, no growth, nobody named who must not be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from bundles import write_test_bundle
from factories import chest_radiograph, sha256_of, write_dicom
from http_fuzzing import HttpReport, fuzz, fuzz_api
from http_mutations import Visitor, page_routes
from listener_watch import cost_of
from pages import csrf_of
from patient_traces import BIRTH_DATES, IDENTITY, MARK
from services import free_port
from sites import Site, wait_until
from sqlalchemy.orm import Session
from study_rows import add_instance, add_study, add_triaged_study

from worker.rows.database import SessionFactory, open_engine, session_factory
from worker.rows.states import StudyState
from worker.rows.study_tables import Instance, Study
from worker.settings.config import Settings
from worklist.accounts import write_password_file
from worklist.corrections import Deed

PASSWORD = "correct horse battery"
MARKS = tuple(word.encode() for word in (MARK, *BIRTH_DATES))
WARM_UP = 80
MOST_GROWTH_BYTES = 64 << 20
UNEXPECTED = re.compile(r"Traceback|Exception in|ERROR|CRITICAL")
STUDIES = 30


@dataclass(frozen=True)
class Page:
    """The running page, who has logged in, and what there is to ask for."""

    site: Site
    address: tuple[str, int]
    visitor: Visitor
    known: Mapping[str, Sequence[str]]


def fill(session: Session, folder: Path) -> None:
    """Add marked studies in several states, with images that can be shown."""
    columns = {
        "patient_name": IDENTITY["PatientName"], "patient_birth_date": BIRTH_DATES[0],
        "referring_physician_name": IDENTITY["ReferringPhysicianName"], "study_id": IDENTITY["StudyID"],
    }  # fmt: skip
    states = (StudyState.FAILED, StudyState.HELD, StudyState.NOT_ANALYSED, StudyState.QUEUED)
    now = datetime.now(UTC)
    for number in range(STUDIES):
        marked = columns | {"patient_id": f"ZQXMARK-{number}", "accession_number": f"ZQXMARK-ACC-{number}"}
        if number % 3:
            study = add_triaged_study(session, {"Pneumothorax": 0.9, "Mass": 0.7}, now=now, **marked)
        else:
            state = states[number // 3 % len(states)]
            study = add_study(session, state=state, reason_code="poison", reason="A reason.", now=now, **marked)
            add_instance(session, study)
        stored = write_dicom(chest_radiograph(**IDENTITY), folder / f"{study.study_instance_uid}.dcm")
        for instance in session.query(Instance).filter_by(study_instance_uid=study.study_instance_uid):
            instance.path, instance.sha256 = stored.name, sha256_of(stored)


@pytest.fixture
def page(make_settings: Callable[..., Settings], database_url: str, tmp_path: Path) -> Iterator[Page]:
    write_password_file(tmp_path / "password", PASSWORD)
    settings = make_settings(
        database_url=database_url, worklist_port=free_port(), worklist_password_hash_file=tmp_path / "password",
        bundles={"default": write_test_bundle(tmp_path / "bundle").folder},
    )  # fmt: skip
    engine = open_engine(database_url)
    sessions = session_factory(engine)
    with sessions.begin() as session:
        fill(session, settings.instances_dir)
    site = Site(settings, tmp_path / "log.txt")
    process = site.start((), module="worklist")
    url = f"http://127.0.0.1:{settings.worklist_port}"
    try:
        wait_until(lambda: answers(url) or process.poll() is not None, "the page answers")
        yield Page(site, ("127.0.0.1", settings.worklist_port), logged_in(url), known(sessions))
    finally:
        engine.dispose()
        site.stop()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def logged_in(url: str) -> Visitor:
    with httpx.Client(base_url=url, timeout=30) as browser:
        token = csrf_of(browser.get("/login").text)
        assert browser.post("/login", data={"csrf": token, "password": PASSWORD}).status_code == 303
        return Visitor(browser.cookies["cxr_session"], csrf_of(browser.get("/").text))


def known(sessions: SessionFactory) -> dict[str, list[str]]:
    with sessions() as session:
        uids = [study.study_instance_uid for study in session.query(Study)]
        instances = [str(instance.id) for instance in session.query(Instance)]
    return {
        "study_instance_uid": uids, "instance_id": instances, "result_id": [str(n) for n in range(1, 30)],
        "deed": list(Deed), "name": ["default", "radiograph", "Mass"], "token": ["x"],
        "*": [*uids[:5], "default", "administrator", "Mass", "triaged", "poison"],
    }  # fmt: skip


def unharmed(page: Page, attack: Callable[[], HttpReport]) -> tuple[HttpReport, str]:
    """Let something be sent to the page; require that nothing came of it, return the numbers."""
    process = page.site.processes[-1]
    before = cost_of(process)
    report = attack()
    after = cost_of(process)
    numbers = (
        f"{report.sent} requests to {len(report.by_path)} routes in {report.seconds:.0f} s; resident"
        f" {before.resident_bytes >> 20} -> {after.resident_bytes >> 20} MiB, threads {before.threads} ->"
        f" {after.threads}, descriptors {before.descriptors} -> {after.descriptors}; longest answer"
        f" {report.longest_seconds:.1f} s; statuses {dict(sorted(report.statuses.items()))}"
    )
    assert process.poll() is None, page.site.log()[-4000:]
    assert report.findings == [], f"{report.findings[:20]} {numbers}"
    assert after.resident_bytes < before.resident_bytes + MOST_GROWTH_BYTES, numbers
    log = page.site.log()
    assert [line for line in log.split("\n") if UNEXPECTED.search(line)] == []
    assert not any(mark in log.lower().encode() for mark in MARKS)
    return report, numbers


def attacked(page: Page, seed: int, count: int) -> tuple[HttpReport, str]:
    """Fuzz all routes but the one that ends the visitor's session for good, after some warming up."""
    routes = [route for route in page_routes() if route != ("POST", "/logout")]
    fuzz(page.address, seed + 1, max(WARM_UP, count // 4), routes, page.known, page.visitor, MARKS)
    return unharmed(page, lambda: fuzz(page.address, seed, count, routes, page.known, page.visitor, MARKS))


def api_attacked(page: Page, seed: int, examples: int) -> tuple[HttpReport, str]:
    """Fuzz the API by its own description, after some warming up."""
    url = f"http://{page.address[0]}:{page.address[1]}"
    fuzz_api(url, seed + 1, 1, page.visitor, MARKS)
    return unharmed(page, lambda: fuzz_api(url, seed, examples, page.visitor, MARKS))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_some_mutated_requests_do_no_harm(page: Page) -> None:
    report, numbers = attacked(page, seed=1, count=180)
    assert {200, 303, 401, 403, 404, 422} <= set(report.statuses), numbers
    report, numbers = api_attacked(page, seed=1, examples=2)
    assert {200, 401, 422} <= set(report.statuses), numbers


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_many_mutated_requests_do_no_harm(page: Page, capsys: pytest.CaptureFixture[str]) -> None:
    kind = page.site.settings.effective_database_url.partition(":")[0]
    for attack, count in ((attacked, 9_000), (api_attacked, 100)):
        _, numbers = attack(page, 20_261_126, count)
        with capsys.disabled():
            print(f"\n{kind}, {attack.__name__}, {numbers}")
