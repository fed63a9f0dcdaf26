"""The operations and model pages over HTTP: what they say, requeue with confirmation, metrics, and 30,000 studies."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from httpx import Client
from pages import csrf_of, served
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select, update
from study_rows import add_instance, add_study, add_triaged_study, now
from typer.testing import CliRunner

from dicom_io.foundation.product import VERSION
from worker.cli import app
from worker.figures.latency import STAGES, WHOLE
from worker.figures.measures import MEANINGS
from worker.rows.database import SessionFactory
from worker.rows.delivery_tables import Delivery
from worker.rows.run_tables import Result, Run
from worker.rows.site_tables import Event
from worker.rows.states import DeliveryState, RunState, StudyState
from worker.rows.study_tables import Review, Study
from worker.settings.config import Settings
from worklist.accounts import write_password_file
from worklist.sections import STAGE_TEXTS

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def site(make_settings: Callable[..., Settings], sqlite_url: str) -> Iterator[Client]:
    pacs = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    settings = make_settings(database_url=sqlite_url, destinations=[pacs])
    settings.data_dir.mkdir()
    with served(settings) as url, Client(base_url=url, follow_redirects=True, timeout=30) as client:
        yield client


def failed(writing: SessionFactory, reason_code: str = "storage", **fields: str) -> str:
    with writing.begin() as session:
        study = add_study(session, now=now(), state=StudyState.FAILED, reason_code=reason_code, reason="Why.", **fields)
        add_instance(session, study)
        return study.study_instance_uid


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_without_anything_the_pages_say_so(site: Client) -> None:
    html = words(site.get("/operations").text)
    for sentence in ("no listener is running", "No study was analysed in the last day", "Nobody has sent anything"):
        assert sentence in html
    html = words(site.get("/operations/model").text)
    assert html.count("No study was analysed in this time") == 3
    assert "No finding was reviewed in this time" in html


def test_every_stage_has_a_name_in_the_table() -> None:
    assert set(STAGE_TEXTS) == {*STAGES, *WHOLE}


def test_the_foot_of_the_model_page_names_the_programs_version(site: Client, writing: SessionFactory) -> None:
    with writing.begin() as session:
        add_triaged_study(session, {"Pneumothorax": 0.9}, now=now())
    for path in ("/operations", "/operations/model"):
        assert f"CXR Triage Worker {VERSION} " in words(site.get(path).text)


def test_what_wants_a_person_stands_first_and_leads_to_its_place(site: Client, writing: SessionFactory) -> None:
    failed(writing)
    failed(writing)
    with writing.begin() as session:
        add_triaged_study(session, {"Pneumothorax": 0.9}, now=now(), delivery_state=DeliveryState.REFUSED)
        add_triaged_study(
            session, {"Mass": 0.1}, now=now(), minutes_ago=30, delivery_state=DeliveryState.PENDING, read_at=now()
        )
    html = site.get("/operations").text
    found = dict(re.findall(r'<li><a href="#(\w+)">([^<]+)</a>', html))
    assert found["failures"] == "2 studies failed: storage"
    listed = re.findall(r'<li><a href="#deliveries">([^<]+)</a>', html)
    assert listed[0].startswith("1 result waiting for pacs, the first for 30 min")
    assert listed[1] == "2 results not accepted by pacs"
    assert all(f'id="{section}"' in html for section in found)


def test_requeue_asks_first_then_queues_one_run_each_under_the_readers_name(
    site: Client, writing: SessionFactory
) -> None:
    first, second, other = failed(writing), failed(writing), failed(writing, "poison")
    question = site.get("/operations/requeue", params={"reason_code": "storage"})
    assert "Analyse these 2 studies again?" in question.text
    assert other not in question.text
    with writing() as session:
        assert session.scalars(select(Run)).all() == [], "asking changes nothing"
    token = csrf_of(question.text)
    for wrong in ("", "guessed"):
        assert site.post("/operations/requeue", data={"csrf": wrong, "reason_code": "storage"}).status_code == 403
    answer = site.post("/operations/requeue", data={"csrf": token, "reason_code": "storage"})
    assert "2 studies are queued again." in words(answer.text)
    with writing() as session:
        runs = session.scalars(select(Run)).all()
        assert {run.study_instance_uid for run in runs} == {first, second}
        assert {(run.state, run.trigger, run.rung_at) for run in runs} == {(RunState.QUEUED, "manual", None)}
        assert session.get_one(Study, other).state == StudyState.FAILED
        events = session.scalars(select(Event).where(Event.kind == "queued")).all()
        assert {event.actor for event in events} == {"local"}
    again = site.post("/operations/requeue", data={"csrf": token, "study": first})
    assert "0 studies are queued again. 1 cannot be analysed now" in words(again.text)


def test_a_requeue_of_nothing_or_of_an_unknown_study_is_refused(site: Client) -> None:
    assert "Nothing to try again" in site.get("/operations/requeue", params={"reason_code": "storage"}).text
    assert site.get("/operations/requeue", params={"study": "1.2.3"}).status_code == 404
    assert site.get("/operations/requeue").status_code == 422


def test_hostile_text_stays_text_and_the_pages_ask_for_nothing_inline_or_from_elsewhere(
    site: Client, writing: SessionFactory
) -> None:
    failed(writing, reason_code=HOSTILE, accession_number=HOSTILE, calling_ae_title=HOSTILE, station_name=HOSTILE)
    with writing.begin() as session:
        add_triaged_study(session, {"Pneumothorax": 0.9}, now=now(), calling_ae_title=HOSTILE, station_name=HOSTILE)
    for path in ("/operations", "/operations/model", f"/operations/requeue?reason_code={HOSTILE}"):
        html = site.get(path).text
        assert "&lt;script&gt;" in html
        assert not re.search(r"<script(?![^>]*\bsrc=)", html)
        assert not re.search(r"\s(style|on\w+)=", html)
        assert not re.search(r"""(src|href)=["'](https?:)?//""", html)


def test_the_model_page_shows_versions_agreement_budget_and_thresholds_tried(
    site: Client, writing: SessionFactory
) -> None:
    with writing.begin() as session:
        for probability in (0.91, 0.7, 0.2):
            study = add_triaged_study(session, {"Pneumothorax": probability, "Mass": 0.1}, now=now(), flagged_at=now())
        session.add(
            Review(
                study_instance_uid=study.study_instance_uid, run_id=study.current_run_id, finding="Pneumothorax",
                verdict="disagree", reviewer="anna", created_at=now(),
            )
        )  # fmt: skip
    html = words(site.get("/operations/model").text)
    assert "100.0 of every hundred were flagged STAT or URGENT (3 of 3); the budget is 20" in html
    assert "There is no baseline yet" in html
    assert "Pneumothorax 0 of 1 (0 %)" in html
    assert "2 STAT, 0 URGENT, 1 ROUTINE: 66.7 flagged of every hundred" in html
    tried = words(site.get("/operations/model", params={"t.Pneumothorax": "90", "t.Mass": "5,0"}).text)
    assert "1 STAT, 2 URGENT, 0 ROUTINE: 100.0 flagged of every hundred" in tried
    for wrong in ("much", "101", "-1", "nan"):
        assert site.get("/operations/model", params={"t.Mass": wrong}).status_code == 422


def test_prometheus_the_api_and_the_terminal_give_the_same_numbers(
    site: Client, writing: SessionFactory, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed(writing)
    with writing.begin() as session:
        add_triaged_study(session, {"Pneumothorax": 0.9}, now=now(), delivery_state=DeliveryState.REFUSED)
    answer = site.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    refused = [
        sample.value
        for sample in families["cxr_deliveries"].samples
        if sample.labels == {"destination": "pacs", "state": "refused"}
    ]
    assert refused == [2]
    assert families["cxr_deliveries"].documentation == MEANINGS["cxr_deliveries"]
    rows = site.get("/api/v1/metrics").json()["rows"]
    scraped = {
        (sample.name, *sorted(sample.labels.items())) for family in families.values() for sample in family.samples
    }
    assert {(row["name"], *sorted(row["labels"].items())) for row in rows} == scraped
    table = list(csv.DictReader(io.StringIO(site.get("/api/v1/metrics", params={"format": "csv"}).text)))
    assert [row["name"] for row in table] == [row["name"] for row in rows]
    monkeypatch.setenv("CXR_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("CXR_DATA_DIR", "nowhere")
    result = CliRunner().invoke(app, ["status", "--json"])
    assert result.exit_code == 1, "a failed study needs a person"
    described = json.loads(result.stdout)
    assert "1 study failed: storage" in [item["sentence"] for item in described["attention"]]
    assert {item["name"] for item in described["metrics"]} >= {"cxr_queue_waiting", "cxr_studies_without_answer"}
    assert CliRunner().invoke(app, ["status"]).exit_code == 1


def test_every_number_is_documented() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| `(cxr_\w+)` \| (.+) \|$", page, re.M)) == dict(MEANINGS)


def test_the_pages_need_a_login_where_one_is_configured(
    make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    write_password_file(password, "correct horse battery")
    settings = make_settings(database_url=sqlite_url, worklist_host="192.0.2.1", worklist_password_hash_file=password)
    with served(settings) as url, Client(base_url=url, timeout=30) as client:
        for path in ("/operations", "/operations/model", "/operations/shadow", "/operations/requeue?study=1"):
            assert client.get(path).headers["location"].startswith("/login")
        for path in ("/partial/operations", "/metrics", "/api/v1/metrics"):
            assert client.get(path).status_code == 401


def test_a_silent_source_stands_out(site: Client, writing: SessionFactory) -> None:
    with writing.begin() as session:
        for days in range(1, 29):
            for hours in range(1, 9):
                moment = timedelta(days=days, hours=hours) - timedelta(minutes=1)
                add_study(session, now=now(), minutes_ago=moment / timedelta(minutes=1), calling_ae_title="ICU")
    html = site.get("/operations").text
    assert re.search(r"ICU has sent nothing for 1 d \d+ h; [\d]+ studies were to be expected", html)
    assert '<tr class="silent">' in html


def test_every_way_a_delivery_can_stand_is_counted_per_destination(site: Client, writing: SessionFactory) -> None:
    with writing.begin() as session:
        for state in (DeliveryState.SENT, DeliveryState.COMMITTED, DeliveryState.FAILED, DeliveryState.PENDING):
            add_triaged_study(session, {"Mass": 0.1}, now=now(), minutes_ago=10, delivery_state=state)
        asked, warned = (
            add_triaged_study(session, {"Mass": 0.1}, now=now(), delivery_state=DeliveryState.SENT).current_run_id
            for _ in range(2)
        )
        here = {run: Delivery.result_id.in_(select(Result.id).where(Result.run_id == run)) for run in (asked, warned)}
        session.execute(update(Delivery).where(here[asked]).values(commitment_due_at=now()))
        session.execute(update(Delivery).where(here[warned]).values(last_status=0xB000))
    families = {family.name: family for family in text_string_to_metric_families(site.get("/metrics").text)}
    counted = {sample.labels["state"]: sample.value for sample in families["cxr_deliveries"].samples}
    assert counted == {
        "pending": 1, "unreachable": 0, "sent": 2, "uncommitted": 1, "committed": 1, "warning": 1, "refused": 0,
        "failed": 1,
    }  # fmt: skip
    (oldest,) = families["cxr_delivery_oldest_seconds"].samples
    assert 600 <= oldest.value < 700
