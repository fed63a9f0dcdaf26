"""Two bundles on the same studies: counted by hand, ranked as scikit-learn does, shown on page and terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
from httpx import Client
from pages import served
from sklearn.metrics import roc_auc_score
from sqlalchemy.orm import Session
from study_rows import NOW, THRESHOLD, add_triaged_study
from typer.testing import CliRunner

from worker.care.promotion import promote
from worker.cli import app
from worker.figures.auroc import FEWEST_PATIENTS, ranked_both
from worker.figures.comparison import Comparison, compare_with_shadow
from worker.rows.database import SessionFactory
from worker.rows.run_tables import Prediction, Run
from worker.rows.states import RunState
from worker.rows.study_tables import Review, Study
from worker.settings.config import Settings

SINCE = NOW - timedelta(days=1)


def add_shadow(
    session: Session, study: Study, says: dict[str, float], *, version: str = "next", **fields: object
) -> Run:
    """Add what another bundle says of the study's only image."""
    current = session.get_one(Run, study.current_run_id)
    flagged = {finding for finding, probability in says.items() if probability >= THRESHOLD}
    values = {
        "study_instance_uid": study.study_instance_uid,
        "run_number": 2,
        "bundle": "candidate",
        "trigger": "shadow",
        "queue": "shadow",
        "shadow": True,
        "state": RunState.DONE,
        "outcome": "triaged",
        "model_version": version,
        "priority": "STAT" if "Pneumothorax" in flagged else "URGENT" if flagged else "ROUTINE",
        "queued_at": NOW,
        "finished_at": NOW,
        "timings_seconds": {},
    }
    run = Run(**(values | fields))
    session.add(run)
    session.flush()
    instance = current.predictions[0].instance_id
    session.add_all(
        Prediction(
            run_id=run.id,
            instance_id=instance,
            finding=finding,
            probability=probability,
            threshold=THRESHOLD,
            flagged=finding in flagged,
        )
        for finding, probability in says.items()
    )
    return run


def review(session: Session, study: Study, finding: str, verdict: str) -> None:
    session.add(
        Review(
            study_instance_uid=study.study_instance_uid,
            run_id=study.current_run_id,
            finding=finding,
            verdict=verdict,
            reviewer="anna",
            created_at=NOW,
        )
    )


def compared(sessions: SessionFactory) -> Comparison:
    with sessions() as session:
        found = compare_with_shadow(session, SINCE)
    assert found is not None
    return found


def test_agreement_is_counted_on_the_same_studies_only(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        for here, there in ((0.9, 0.9), (0.9, 0.2), (0.9, 0.1), (0.1, 0.7), (0.1, 0.1)):
            study = add_triaged_study(session, {"Pneumothorax": here, "Mass": 0.1})
            add_shadow(session, study, {"Pneumothorax": there, "Effusion": 0.1})
        add_triaged_study(session, {"Pneumothorax": 0.9})  # never seen in the shadow
        old = add_triaged_study(session, {"Pneumothorax": 0.9})
        session.get_one(Run, old.current_run_id).model_version = "older"
        add_shadow(session, old, {"Pneumothorax": 0.1}, finished_at=NOW - timedelta(hours=1)).run_number = 2
        failed = add_triaged_study(session, {"Pneumothorax": 0.9})
        add_shadow(session, failed, {}, state=RunState.FAILED, outcome=None, priority=None)
        latest = add_triaged_study(session, {"Pneumothorax": 0.1})
        add_shadow(session, latest, {"Pneumothorax": 0.1})
    found = compared(sessions)
    assert (found.studies, found.unanswered, found.waiting) == (6, 1, 0)
    (item,) = found.findings  # neither Mass nor Effusion is known to both
    assert (item.finding, item.both, item.only_active, item.only_shadow, item.neither) == ("Pneumothorax", 1, 2, 1, 2)
    assert (item.agreement.count, item.agreement.total) == (3, 6)
    assert item.ranked is None
    assert (found.active_flagged.count, found.shadow_flagged.count) == (3, 2)
    assert found.priorities["STAT", "ROUTINE"] == 2
    assert found.shadow_version == "next"


def test_areas_are_measured_against_the_reviews(sessions: SessionFactory) -> None:
    random = np.random.default_rng(7)
    said, truth = [], []
    with sessions.begin() as session:
        for number in range(40):
            present = number % 4 == 0
            here, there = np.round(np.clip(random.normal(0.45 + 0.15 * present, 0.2, 2), 0, 1), 2)
            study = add_triaged_study(session, {"Mass": float(here)}, patient_id=f"P{number // 2}")
            add_shadow(session, study, {"Mass": float(there)})
            review(session, study, "Mass", "agree" if (here >= THRESHOLD) == present else "disagree")
            said.append((here, there))
            truth.append(present)
    ranked = compared(sessions).findings[0].ranked
    assert ranked is not None
    here, there = zip(*said, strict=True)
    assert (ranked.studies, ranked.positive) == (40, 10)
    assert ranked.first.value == pytest.approx(roc_auc_score(truth, here))
    assert ranked.second.value == pytest.approx(roc_auc_score(truth, there))
    assert ranked.difference.value == pytest.approx(ranked.second.value - ranked.first.value)
    assert ranked.first.low < ranked.first.value < ranked.first.high


def test_intervals_come_from_patients_and_not_from_how_often_each_was_imaged() -> None:
    random = np.random.default_rng(3)
    truth = np.arange(60) % 3 == 0
    first, second = random.normal(truth, 1.0), random.normal(2 * truth, 1.0)
    once = ranked_both(first, second, truth, range(60))
    often = ranked_both(*(np.repeat(each, 10) for each in (first, second, truth, np.arange(60))))
    assert once is not None
    assert often is not None
    assert often.studies == 600
    for one, other in ((once.first, often.first), (once.difference, often.difference)):
        assert (one.low, one.high) == pytest.approx((other.low, other.high)), "600 studies of 60 patients tell no more"
    same = ranked_both(first, first, truth, range(60))
    assert same is not None
    assert (same.difference.low, same.difference.value, same.difference.high) == (0, 0, 0)
    assert once.difference.low > 0, "the second is really better"


def test_few_patients_have_no_interval_and_one_side_alone_no_area() -> None:
    few = FEWEST_PATIENTS - 1
    truth = [True] * few + [False] * 50
    found = ranked_both(range(len(truth)), range(len(truth)), truth, range(len(truth)))
    assert found is not None
    assert (found.first.value, found.first.low) == (0.0, None)
    assert ranked_both([0.1, 0.2], [0.1, 0.2], [True, True], "AB") is None


def test_page_and_command_say_the_same_and_what_is_active(
    make_settings: Callable[..., Settings], sqlite_url: str, writing: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(database_url=sqlite_url)
    now = NOW.now(NOW.tzinfo)
    monkeypatch.setenv("CXR_DATABASE_URL", sqlite_url)
    with served(settings) as url, Client(base_url=url, timeout=30) as client:
        empty = client.get("/operations/shadow").text
        assert "No study was analysed in the shadow in this time" in empty
        assert CliRunner().invoke(app, ["compare"]).exit_code == 1
        with writing.begin() as session:
            for number in range(12):
                study = add_triaged_study(session, {"Pneumothorax": 0.9}, now=now)
                add_shadow(session, study, {"Pneumothorax": 0.05 * number}, finished_at=now)
                review(session, study, "Pneumothorax", "agree" if number % 2 else "disagree")
            promote(
                session,
                settings.model_copy(update={"bundles": {**settings.bundles, "next": settings.bundles["default"]}}),
                "next",
                model_version="1.2",
                instead_of="default",
                reason="<b>better</b>",
                by="anna",
            )
        html = client.get("/operations/shadow").text
    said = json.loads(CliRunner().invoke(app, ["compare", "--json"]).stdout)
    (finding,) = said["findings"]
    area = f"{finding['ranked']['second']['value']:.3f}"
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    assert "12 studies that both analysed" in text
    assert area in text
    assert "In the place of default next 1.2 , since" in text
    assert "&lt;b&gt;better" in html
    terminal = CliRunner().invoke(app, ["compare"], env={"COLUMNS": "200"}).stdout
    assert area in terminal
    assert "12 studies that both analysed" in re.sub(r"\s+", " ", terminal)
