"""Patients of unknown age and studies of long ago: what is analysed, marked and left alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from benches import Bench
from bundles import write_test_bundle
from factories import chest_radiograph
from rich.console import Console
from sqlalchemy import select
from typer.testing import CliRunner

from worker.arrival.selection_rules import selection_rules, site_date
from worker.cli import app
from worker.rows.database import SessionFactory, database_now
from worker.rows.site_tables import Event
from worker.runs.triage import triage
from worker.settings.config import Settings, load_settings
from worker.views.rendering import study_report
from worker.views.studies import Group, StudyFilter, list_studies
from worker.views.study_detail import study_detail

pytestmark = pytest.mark.either_database

OLD = {"StudyDate": "20200101"}
MARK = "age unknown, taken for an adult"
MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path) -> MakeBench:
    write_test_bundle(tmp_path / "bundle")

    def make(**fields: object) -> Bench:
        chosen = {"bundles": {"default": tmp_path / "bundle"}, "accept_unknown_sources": True} | fields
        return Bench(make_settings(**chosen), sessions)

    return make


@pytest.mark.parametrize(
    ("keywords", "marked"),
    [
        ({}, False),
        ({"PatientAge": None}, False),  # the birth date tells
        ({"PatientAge": None, "PatientBirthDate": None}, True),
        ({"PatientAge": "60", "PatientBirthDate": "unknown"}, True),
    ],
)
def test_a_patient_of_unknown_age_is_analysed_and_marked(
    make_bench: MakeBench, keywords: dict[str, object], marked: bool
) -> None:
    bench = make_bench()
    study = bench.triage(chest_radiograph(**keywords))
    assert (study.state, study.priority) == ("triaged", "STAT")
    assert study.priority_reason is not None
    assert (MARK in study.priority_reason) is marked
    with bench.sessions() as session:
        detail = study_detail(session, study.study_instance_uid, database_now(session), timedelta(hours=1))
    assert detail is not None
    console = Console(width=300, record=True, file=StringIO())
    console.print(study_report(detail))
    assert (MARK in console.export_text()) is marked
    report = bench.datasets(bench.runs(study.study_instance_uid)[0])[0]
    assert (MARK in report.to_json()) is marked


def test_an_old_study_is_left_alone_where_the_site_does_not_ask_for_it(make_bench: MakeBench) -> None:
    bench = make_bench(analyse_historical=False, upper_wait_minutes=0.001)
    old, new = bench.receive(chest_radiograph(**OLD)), bench.receive(chest_radiograph())
    study = bench.study(old)
    assert (study.state, study.reason_code, study.priority) == ("not_analysed", "historical", None)
    assert bench.runs(old) == []
    with bench.sessions() as session:
        later = database_now(session) + timedelta(hours=1)
        lines = list_studies(session, later, timedelta(minutes=1), StudyFilter())
    assert [(line.study_instance_uid, line.group, line.overdue) for line in lines] == [
        (new, Group.OVERDUE, True),
        (old, Group.HISTORICAL, False),
    ]


def test_a_person_may_ask_for_an_old_study_and_it_is_still_not_flagged(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(analyse_historical=False)
    uid = bench.receive(chest_radiograph(**OLD))
    requeue(bench, uid, monkeypatch, CXR_ANALYSE_HISTORICAL="false")
    study = bench.study(uid)
    assert (study.state, study.historical, study.flagged_at, study.priority) == ("triaged", True, None, "ROUTINE")
    assert study.priority_reason is not None and study.priority_reason.startswith("Historical study")


def requeue(bench: Bench, uid: str, monkeypatch: pytest.MonkeyPatch, **environment: str) -> None:
    """Run the real command on the bench's database, then the run it queued."""
    url = str(bench.sessions.kw["bind"].url.render_as_string(hide_password=False))
    places = {"CXR_DATABASE_URL": url, "CXR_DATA_DIR": str(bench.settings.data_dir)}
    for name, value in (places | environment).items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(app, ["requeue", uid])
    assert done.exit_code == 0, done.output
    triage(uid, bench.workplace)


def test_a_requeue_judges_by_the_present_rules(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    silent = dict.fromkeys(["BodyPartExamined", "ViewPosition", "PatientOrientation", "StudyDescription"])
    bench = make_bench()
    uid = bench.receive(chest_radiograph(ProtocolName="THX PA", **silent))
    assert bench.study(uid).reason_code == "needs_review"
    rules = '[[site_rules]]\nname = "thorax"\nmeans = "frontal_chest"\nkeyword = "ProtocolName"\nequals = "THX PA"\n'
    config = tmp_path / "site.toml"
    config.write_text(f"minimum_free_bytes = 0\naccept_unknown_sources = true\n{rules}", encoding="utf-8")
    with_rule = Bench(
        bench.settings.model_copy(update={"site_rules": load_settings(config).site_rules}), bench.sessions
    )
    requeue(with_rule, uid, monkeypatch, CXR_CONFIG=str(config))
    assert bench.study(uid).state == "triaged"
    with bench.sessions() as session:
        (event,) = session.scalars(select(Event).where(Event.kind == "rejudged"))
        assert event.details["instances"][0]["before"] == ["not_analysed", "needs_review"]


def test_a_day_is_that_of_the_site(make_settings: Callable[..., Settings]) -> None:
    evening = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)  # the day before, still, in Honolulu
    assert site_date(make_settings(time_zone="Pacific/Honolulu"), evening) == date(2026, 3, 1)
    assert site_date(make_settings(time_zone="Pacific/Auckland"), evening) == date(2026, 3, 2)
    assert selection_rules(make_settings(), "ANYBODY").oldest_days is None
    assert selection_rules(make_settings(analyse_historical=False), "ANYBODY").oldest_days == 7
