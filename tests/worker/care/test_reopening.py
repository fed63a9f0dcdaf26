"""What needs a person is seen, also where the study was read before: failures and doubts make it unread again."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
from benches import Bench
from bundles import write_test_bundle
from factories import chest_radiograph
from pydicom.dataset import Dataset
from sqlalchemy import update

from worker.care.administration import mark_read
from worker.figures.overview import read_overview
from worker.rows.database import SessionFactory, database_now
from worker.rows.run_tables import Run
from worker.rows.states import RunState
from worker.runs.triage import triage
from worker.settings.config import Settings

pytestmark = pytest.mark.either_database


@pytest.fixture
def bench(make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path) -> Bench:
    write_test_bundle(tmp_path / "bundle")
    archive = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 1}
    return Bench(make_settings(bundles={"default": tmp_path / "bundle"}, destinations=[archive]), sessions)


def read_by_eye(bench: Bench, uid: str) -> None:
    with bench.sessions.begin() as session:
        mark_read(session, uid, "Dr. Reader")


def attention(bench: Bench) -> list[tuple[str, str]]:
    with bench.sessions() as session:
        overview = read_overview(session, bench.settings, database_now(session))
    return [(item.section, item.sentence) for item in overview.attention]


def lose(bench: Bench, image: Dataset) -> None:
    """Take away the stored file of the image's newest version."""
    rows = [row for row in bench.instances(image.StudyInstanceUID) if row.sop_instance_uid == image.SOPInstanceUID]
    bench.workplace.instances.open_path(rows[-1].path).unlink()


def fail(bench: Bench, uid: str) -> None:
    for _ in range(bench.settings.maximum_attempts):
        triage(uid, bench.workplace)
    assert bench.study(uid).state == "failed"


def poison(bench: Bench, uid: str) -> None:
    """Let the study's last run be one whose workers all died."""
    with bench.sessions.begin() as session:
        gone = {"attempts": bench.settings.maximum_attempts, "lease_until": database_now(session)}
        session.execute(update(Run).where(Run.state == RunState.QUEUED).values(state=RunState.RUNNING, **gone))
    triage(uid, bench.workplace)
    assert bench.study(uid).state == "failed"


@pytest.mark.parametrize(("ends", "reason_code"), [(fail, "file_missing"), (poison, "poison")])
def test_a_read_study_is_unread_again_when_a_later_image_could_not_be_analysed(
    bench: Bench, ends: Callable[[Bench, str], None], reason_code: str
) -> None:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    read_by_eye(bench, uid)
    late = chest_radiograph(StudyInstanceUID=uid)
    bench.receive(late)
    lose(bench, late)
    ends(bench, uid)
    assert (bench.study(uid).read_at, bench.study(uid).read_by) == (None, None)
    assert ("failures", f"1 study failed: {reason_code}") in attention(bench)
    assert "reopened" in bench.event_kinds(uid)


def test_what_was_read_with_all_its_images_stays_read_when_its_analysis_fails(bench: Bench) -> None:
    image = chest_radiograph()
    uid = bench.receive(image)
    lose(bench, image)
    read_by_eye(bench, uid)
    fail(bench, uid)
    assert bench.study(uid).read_by == "Dr. Reader"
    assert "reopened" not in bench.event_kinds(uid)


def test_a_read_study_is_unread_again_when_its_identity_is_in_doubt(bench: Bench) -> None:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    read_by_eye(bench, uid)
    bench.receive(chest_radiograph(StudyInstanceUID=uid, PatientID="SOMEBODY-ELSE"))
    assert (bench.study(uid).state, bench.study(uid).read_at) == ("held", None)
    assert ("failures", "1 study held: identity_conflict") in attention(bench)


WHY = "an image or the patient is another since; try the analysis again"
KEPT_BACK = f"1 failed study keeps its earlier results back: {WHY}"


def test_results_that_a_failed_run_keeps_back_are_told(bench: Bench) -> None:
    image = chest_radiograph()
    uid = bench.triage(image).study_instance_uid
    again = deepcopy(image)
    again.AccessionNumber = "A0002"
    bench.receive(again)
    lose(bench, again)
    assert ("deliveries", KEPT_BACK) not in attention(bench), "a run is about to decide"
    fail(bench, uid)
    assert ("deliveries", KEPT_BACK) in attention(bench)


def test_a_failed_study_whose_earlier_results_may_go_keeps_nothing_back(bench: Bench) -> None:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    late = chest_radiograph(StudyInstanceUID=uid)
    bench.receive(late)
    lose(bench, late)
    fail(bench, uid)
    assert ("deliveries", KEPT_BACK) not in attention(bench)
