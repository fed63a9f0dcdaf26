"""A person settles a held study: one patient's images go on, everybody else's are out, nothing stays from before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from arrivals import received
from factories import chest_radiograph
from pydicom.dataset import Dataset
from sqlalchemy import select
from study_rows import add_result

from dicom_io.data_sets.rejection_title import RejectionTitle
from dicom_io.storing.instance_store import InstanceStore
from dicom_io.storing.receiving import STATUS_SUCCESS
from worker.arrival.intake import Intake
from worker.care.administration import requeue_study
from worker.care.image_rejection import reject_by_hand
from worker.care.release import Released, release_study
from worker.care.whose_study import ReleaseRefused, WhoseStudy
from worker.rows.database import SessionFactory
from worker.rows.delivery_tables import Delivery
from worker.rows.leases import claim_run
from worker.rows.outcome import RunVerdict, finish_run
from worker.rows.run_tables import Prediction, Run
from worker.rows.site_tables import Event
from worker.rows.states import DeliveryState, Priority, RunState, StudyState
from worker.rows.study_tables import Instance, Study
from worker.runs.reading import load_material
from worker.settings.config import Settings

pytestmark = pytest.mark.either_database


@pytest.fixture
def intake(sessions: SessionFactory, settings: Settings) -> Intake:
    return Intake(settings, sessions, InstanceStore(settings.instances_dir), lambda uid, queue: None)


def arrive(intake: Intake, *datasets: Dataset) -> str:
    for dataset in datasets:
        assert intake.receive(received(dataset)).status == STATUS_SUCCESS
    uid = str(datasets[0].StudyInstanceUID)
    intake.association_closed({uid}, aborted=False)
    return uid


def release(
    sessions: SessionFactory, settings: Settings, uid: str, patient_id: str | None = None, issuer: str | None = None
) -> Released:
    with sessions.begin() as session:
        instances = InstanceStore(settings.instances_dir)
        return release_study(session, instances, uid, WhoseStudy(patient_id, issuer), "admin", settings=settings)


def dispositions(sessions: SessionFactory, uid: str) -> dict[str, tuple[str, str | None]]:
    with sessions() as session:
        rows = session.scalars(select(Instance).where(Instance.study_instance_uid == uid))
        return {row.patient_id: (row.disposition, row.reason_code) for row in rows}


def two_patients(intake: Intake) -> str:
    one = chest_radiograph(PatientID="ONE", PatientName="One^First", PatientBirthDate="19500101")
    two = chest_radiograph(
        PatientID="TWO", PatientName="Two^Second", PatientBirthDate="", StudyInstanceUID=one.StudyInstanceUID
    )
    return arrive(intake, one, two)


def released(sessions: SessionFactory, settings: Settings, intake: Intake) -> None:
    release(sessions, settings, two_patients(intake), "TWO")


def requeued(sessions: SessionFactory, settings: Settings, intake: Intake) -> None:
    image = chest_radiograph()
    intake.receive(received(image))  # its association is open, so no run was queued yet
    with sessions.begin() as session:
        requeue_study(session, image.StudyInstanceUID, settings, "admin")


def rid_of_an_image(sessions: SessionFactory, settings: Settings, intake: Intake) -> None:
    one = chest_radiograph()
    for image in (one, chest_radiograph(StudyInstanceUID=one.StudyInstanceUID)):
        intake.receive(received(image))
    with sessions.begin() as session:
        reject_by_hand(
            session, one.StudyInstanceUID, [one.SOPInstanceUID], title=RejectionTitle.QUALITY, reason="moved",
            by="admin", settings=settings,
        )  # fmt: skip


@pytest.mark.parametrize("go_on", [released, requeued, rid_of_an_image])
def test_a_study_that_a_person_lets_go_on_is_analysed_as_its_source_asks(
    go_on: Callable[[SessionFactory, Settings, Intake], None],
    sessions: SessionFactory,
    make_settings: Callable[..., Settings],
    tmp_path: Path,
) -> None:
    source = {"ae_title": "MODALITY", "bundle": "children", "urgent": True}
    bundles = {"default": tmp_path / "default", "children": tmp_path / "children"}
    settings = make_settings(sources=[source], bundles=bundles)
    store = InstanceStore(settings.instances_dir)
    go_on(sessions, settings, Intake(settings, sessions, store, lambda uid, queue: None))
    with sessions() as session:
        assert [(run.bundle, run.queue) for run in session.scalars(select(Run))] == [("children", "stat")]


def test_the_study_goes_on_as_the_chosen_patients_and_the_other_image_is_out(
    intake: Intake, sessions: SessionFactory, settings: Settings
) -> None:
    uid = two_patients(intake)
    released = release(sessions, settings, uid, "TWO")
    assert (released.run_number, released.left_out, released.taken_back.objects) == (1, 1, 0)
    with sessions() as session:
        study = session.get_one(Study, uid)
        assert (study.state, study.reason_code) == (StudyState.QUEUED, None)
        assert (study.patient_id, study.patient_name, study.patient_birth_date) == ("TWO", "Two^Second", "")
        event = session.scalars(select(Event).where(Event.study_instance_uid == uid, Event.kind == "released")).one()
        assert event.actor == "admin"
        assert "TWO" not in f"{event.reason}{event.details}"
    assert dispositions(sessions, uid) == {"ONE": ("not_analysed", "identity_conflict"), "TWO": ("candidate", None)}


@pytest.mark.parametrize(("patient_id", "hint"), [(None, "--patient-id: 'ONE', 'TWO'"), ("THREE", "'THREE'; it has")])
def test_an_open_or_impossible_choice_is_refused_and_the_study_stays_held(
    intake: Intake, sessions: SessionFactory, settings: Settings, patient_id: str | None, hint: str
) -> None:
    uid = two_patients(intake)
    with pytest.raises(ReleaseRefused, match=hint):
        release(sessions, settings, uid, patient_id)
    with sessions() as session:
        assert session.get_one(Study, uid).state == StudyState.HELD
    assert dispositions(sessions, uid) == {"ONE": ("candidate", None), "TWO": ("candidate", None)}


def test_a_study_that_is_not_held_is_refused(intake: Intake, sessions: SessionFactory, settings: Settings) -> None:
    uid = arrive(intake, chest_radiograph())
    with pytest.raises(ReleaseRefused, match="not held"):
        release(sessions, settings, uid)


def test_one_patient_id_of_two_issuers_needs_the_issuer(
    intake: Intake, sessions: SessionFactory, settings: Settings
) -> None:
    one = chest_radiograph(PatientID="A", IssuerOfPatientID="X")
    same = {"PatientID": "A", "StudyInstanceUID": one.StudyInstanceUID}
    uid = arrive(intake, one, chest_radiograph(IssuerOfPatientID="Y", **same), chest_radiograph(**same))
    with pytest.raises(ReleaseRefused, match="--issuer: 'X', 'Y'"):
        release(sessions, settings, uid)
    assert release(sessions, settings, uid, issuer="Y").left_out == 1
    with sessions() as session:
        assert session.get_one(Study, uid).issuer_of_patient_id == "Y"


def test_an_image_of_the_other_patient_that_comes_later_holds_the_study_again_and_can_be_chosen_then(
    intake: Intake, sessions: SessionFactory, settings: Settings
) -> None:
    uid = two_patients(intake)
    release(sessions, settings, uid, "TWO")
    same = {"PatientID": "ONE", "PatientName": "One^First", "PatientBirthDate": "19500101"}
    arrive(intake, chest_radiograph(**same, StudyInstanceUID=uid))
    with sessions() as session:
        assert session.get_one(Study, uid).state == StudyState.HELD
    assert release(sessions, settings, uid, "ONE").left_out == 1
    assert dispositions(sessions, uid) == {"ONE": ("candidate", None), "TWO": ("not_analysed", "identity_conflict")}


def test_answers_about_the_other_patients_image_are_withdrawn(
    intake: Intake, sessions: SessionFactory, settings: Settings
) -> None:
    one = chest_radiograph(PatientID="ONE")
    uid = arrive(intake, one)
    with sessions.begin() as session:
        claim = claim_run(session, uid, "w", settings)
        assert claim is not None
        instance = session.scalars(select(Instance).where(Instance.study_instance_uid == uid)).one()
        session.add(
            Prediction(
                run_id=claim.run_id,
                instance_id=instance.id,
                finding="Mass",
                probability=0.9,
                threshold=0.5,
                flagged=True,
            )
        )
        finish_run(session, claim, RunVerdict(StudyState.TRIAGED, Priority.STAT, 0.9, "Mass 90 %"))
        run = session.get_one(Run, claim.run_id)
        add_result(session, run, None, DeliveryState.SENT)
        add_result(session, run, "Mass", DeliveryState.PENDING)
    (settings.results_dir / "1.2").mkdir(parents=True)  # of another study: the disk is there, these files are not
    arrive(intake, chest_radiograph(PatientID="TWO", StudyInstanceUID=uid))
    released = release(sessions, settings, uid, "TWO")
    assert (released.left_out, released.taken_back.by_hand) == (1, 1)
    assert "removed from the archive by hand" in released.summary
    with sessions() as session:
        study = session.get_one(Study, uid)
        assert (study.current_run_id, study.priority, study.flagged_at, study.patient_id) == (None, None, None, "TWO")
        assert session.get_one(Run, claim.run_id).state == RunState.SUPERSEDED
        assert set(session.scalars(select(Delivery.state))) == {"superseded", "rejected"}


def test_an_image_of_another_patient_that_was_checked_before_is_not_looked_at_again(
    intake: Intake, sessions: SessionFactory, settings: Settings
) -> None:
    uid = two_patients(intake)
    with sessions.begin() as session:
        for instance in session.scalars(select(Instance).where(Instance.study_instance_uid == uid)):
            instance.image_verdict = "frontal"
    release(sessions, settings, uid, "TWO")
    with sessions() as session:
        assert [candidate.patient_id for candidate in load_material(session, uid).candidates] == ["TWO"]
