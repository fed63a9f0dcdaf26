"""No report is made of images that name different patients under one Patient ID; a person says whose they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benches import Bench
from bundles import write_test_bundle
from factories import chest_radiograph
from pydicom.dataset import Dataset

from worker.arrival.completion import queue_if_due
from worker.arrival.correction import correct_identity
from worker.care.release import Released, release_study
from worker.care.whose_study import ReleaseRefused, WhoseStudy
from worker.rows.database import SessionFactory, database_now
from worker.rows.leases import locked_study
from worker.rows.states import Disposition
from worker.runs.triage import triage
from worker.settings.config import Settings

pytestmark = pytest.mark.either_database


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind of database is enough: what is special to PostgreSQL has tests of its own."""
    return sqlite_url


@pytest.fixture
def bench(make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path) -> Bench:
    write_test_bundle(tmp_path / "bundle")
    archive = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 1}
    return Bench(make_settings(bundles={"default": tmp_path / "bundle"}, destinations=[archive]), sessions)


def two_images(one_name: str, other_name: str, **keywords: Any) -> tuple[Dataset, Dataset]:
    one = chest_radiograph(PatientName=one_name, **keywords)
    of_study = {"StudyInstanceUID": one.StudyInstanceUID, "SeriesInstanceUID": one.SeriesInstanceUID}
    return one, chest_radiograph(PatientName=other_name, **of_study | keywords)


def names_in_results(bench: Bench, uid: str) -> set[str]:
    return {str(result.PatientName) for result in bench.datasets(bench.runs(uid)[-1])}


def names_in_results_of_next_run(bench: Bench, uid: str) -> set[str]:
    with bench.sessions.begin() as session:
        assert queue_if_due(session, uid, bench.settings, database_now(session), actor="sweeper")
    assert triage(uid, bench.workplace)
    return names_in_results(bench, uid)


def correct(bench: Bench, uid: str, **demographics: str) -> None:
    """Do what an HL7 message does that states these columns."""
    with bench.sessions.begin() as session:
        study = locked_study(session, uid)
        assert study is not None
        correct_identity(
            session, study, patient_id=study.patient_id, issuer_of_patient_id="", demographics=demographics,
            cause="ADT^A08", actor="hl7",
        )  # fmt: skip


def release(bench: Bench, uid: str, **whose: Any) -> Released:
    with bench.sessions.begin() as session:
        store = bench.workplace.instances
        return release_study(session, store, uid, WhoseStudy(**whose), "admin", settings=bench.settings)


def test_a_new_version_that_renames_one_of_two_images_holds_the_study(bench: Bench) -> None:
    one, other = two_images("Doe^John", "Doe^John")
    uid = bench.triage(one, other).study_instance_uid
    one.PatientName = "Roe^Jane"
    study = bench.triage(one)
    assert (study.state, study.reason_code) == ("held", "identity_conflict")
    assert "different names" in (study.reason or "")
    assert bench.results(bench.runs(uid)[-1]) == []
    assert "Doe" not in (study.reason or "")
    assert "Roe" not in (study.reason or "")


def test_a_new_version_of_every_image_corrects_the_name(bench: Bench) -> None:
    one, other = two_images("Unknown^E1", "Unknown^E1", PatientBirthDate="19000102")
    uid = bench.triage(one, other).study_instance_uid
    for image in (one, other):
        image.PatientName, image.PatientBirthDate = "Doe^John", "19600101"
    study = bench.triage(one, other)
    assert (study.state, study.patient_name) == ("triaged", "Doe^John")
    assert names_in_results(bench, uid) == {"Doe^John"}


def test_two_names_that_only_a_third_could_stand_for_hold_the_study(bench: Bench) -> None:
    one, other = two_images("Doe", "Doe^John")
    third = chest_radiograph(PatientName="Doe^Jane", StudyInstanceUID=one.StudyInstanceUID)
    assert bench.triage(one, other, third).state == "held"


def test_spellings_of_one_name_are_analysed_together(bench: Bench) -> None:
    study = bench.triage(*two_images("DOE^JOHN", "Doe^John^F"))
    assert study.state == "triaged"
    assert [each.disposition for each in bench.instances(study.study_instance_uid)] == [Disposition.ANALYSED] * 2


def test_a_name_that_was_corrected_in_between_holds_nothing(bench: Bench) -> None:
    one, other = two_images("Unknown^E1", "Doe^John")
    third = chest_radiograph(PatientName="Unknown^E1", StudyInstanceUID=one.StudyInstanceUID)
    uid = bench.triage(one).study_instance_uid
    correct(bench, uid, patient_name="Doe^John")
    assert bench.triage(other, third).state == "triaged"
    assert names_in_results(bench, uid) == {"Doe^John"}


def test_a_corrected_name_is_given_to_no_image_of_a_third_name(bench: Bench) -> None:
    uid = bench.triage(chest_radiograph(PatientName="Unknown^E1")).study_instance_uid
    correct(bench, uid, patient_name="Doe^John")
    assert bench.triage(chest_radiograph(PatientName="Roe^Jane", StudyInstanceUID=uid)).state == "held"


def test_a_corrected_birth_date_is_given_to_no_image_of_another_name(bench: Bench) -> None:
    uid = bench.triage(chest_radiograph(PatientName="Doe^John")).study_instance_uid
    correct(bench, uid, patient_birth_date="19610101")
    assert bench.triage(chest_radiograph(PatientName="Roe^Jane", StudyInstanceUID=uid)).state == "held"


def test_a_name_given_to_a_nameless_image_is_given_to_no_image_of_another_name(bench: Bench) -> None:
    uid = bench.triage(chest_radiograph(PatientName="")).study_instance_uid
    correct(bench, uid, patient_name="Doe^John")
    assert names_in_results_of_next_run(bench, uid) == {"Doe^John"}
    assert bench.triage(chest_radiograph(PatientName="Roe^Jane", StudyInstanceUID=uid)).state == "held"


@pytest.mark.parametrize("name", ["Smith^Ann", "Roe^Jane", "Doe^John"])
def test_a_correction_of_a_held_study_makes_no_two_names_one(bench: Bench, name: str) -> None:
    uid = bench.receive(*two_images("Doe^John", "Roe^Jane"))
    correct(bench, uid, patient_name=name)
    with pytest.raises(ReleaseRefused, match="--patient-name: 'Doe\\^John', 'Roe\\^Jane'"):
        release(bench, uid)


def test_a_study_of_two_names_is_released_as_one_of_them(bench: Bench) -> None:
    uid = bench.receive(*two_images("Doe^John", "Roe^Jane"))
    with pytest.raises(ReleaseRefused, match="--patient-name: 'Doe\\^John', 'Roe\\^Jane'"):
        release(bench, uid)
    assert release(bench, uid, patient_name="Roe^Jane").left_out == 1
    assert triage(uid, bench.workplace)
    assert bench.study(uid).patient_name == "Roe^Jane"
    assert names_in_results(bench, uid) == {"Roe^Jane"}
    assert [each.disposition for each in bench.instances(uid)] == [Disposition.NOT_ANALYSED, Disposition.ANALYSED]


def test_a_study_of_two_birth_dates_is_released_as_one_of_them(bench: Bench) -> None:
    one, other = two_images("Doe^John", "DOE^JOHN")
    other.PatientBirthDate = "19990909"
    uid = bench.receive(one, other)
    with pytest.raises(ReleaseRefused, match="--birth-date: '19600101', '19990909'"):
        release(bench, uid)
    assert release(bench, uid, patient_birth_date="19600101").left_out == 1
    assert bench.study(uid).patient_birth_date == "19600101"


@pytest.mark.parametrize("name", ["Doe^John", "Roe^Jane"])
def test_a_person_can_say_that_both_names_are_one_patients(bench: Bench, name: str) -> None:
    one, other = two_images("Doe^John", "Roe^Jane")
    other.PatientBirthDate, other.PatientAge = "19990909", "027Y"
    uid = bench.receive(one, other)
    born = "19600101" if name == "Doe^John" else "19990909"
    released = release(bench, uid, patient_name=name, one_patient=True)
    assert released.left_out == 0
    assert triage(uid, bench.workplace)
    study = bench.study(uid)
    assert (study.state, study.patient_name, study.patient_birth_date) == ("triaged", name, born)
    results = bench.datasets(bench.runs(uid)[-1])
    assert {(str(result.PatientName), result.PatientBirthDate) for result in results} == {(name, born)}
    assert [each.disposition for each in bench.instances(uid)] == [Disposition.ANALYSED] * 2
    late = chest_radiograph(PatientName="Roe^Jane", StudyInstanceUID=uid)
    assert bench.triage(late).state == "triaged"


def test_one_patient_needs_the_name_to_go_by(bench: Bench) -> None:
    uid = bench.receive(*two_images("Doe^John", "Roe^Jane"))
    with pytest.raises(ReleaseRefused, match="--patient-name"):
        release(bench, uid, one_patient=True)
    assert bench.study(uid).state == "held"
