"""A study held because its images name two Patient IDs goes on when a merge says that these are one patient's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benches import Bench
from bundles import write_test_bundle
from factories import chest_radiograph
from held_studies import lifted, reject, sweep, tell
from hl7_messages import merge, message, patient, update
from pydicom.dataset import Dataset
from sqlalchemy import select

from dicom_io.data_sets.rejection_title import RejectionTitle
from worker.care.release import release_study
from worker.care.retraction import retract_study
from worker.care.whose_study import WhoseStudy
from worker.rows.database import SessionFactory
from worker.rows.site_tables import InboundMessage
from worker.rows.study_tables import IdentityCorrection
from worker.settings.config import Settings
from worker.settings.hl7_listener import Hl7Listener

pytestmark = pytest.mark.either_database


@pytest.fixture
def bench(make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path) -> Bench:
    write_test_bundle(tmp_path / "bundle")
    fields: dict[str, Any] = {"bundles": {"default": tmp_path / "bundle"}}
    return Bench(make_settings(**fields, hl7_listener={}, quiet_time_seconds=0.0), sessions)


def held(bench: Bench, *patients: dict[str, str]) -> str:
    """Receive one study with an image of each of these patients; return its UID."""
    uid = str(chest_radiograph().StudyInstanceUID)
    for tags in patients:
        bench.receive(chest_radiograph(StudyInstanceUID=uid, **tags))
    assert bench.study(uid).state == "held"
    return uid


def who(patient_id: str, name: str = "Doe^John", born: str = "19600101", **tags: str) -> dict[str, str]:
    return {"PatientID": patient_id, "PatientName": name, "PatientBirthDate": born, **tags}


def named_in_results(bench: Bench, uid: str) -> set[tuple[str, str, str]]:
    return {
        (result.PatientID, str(result.PatientName), result.PatientBirthDate)
        for result in bench.datasets(bench.runs(uid)[-1])
    }


def last_message(bench: Bench) -> InboundMessage:
    with bench.sessions() as session:
        return session.scalars(select(InboundMessage).order_by(InboundMessage.id.desc()).limit(1)).one()


@pytest.mark.parametrize("first", ["ONE", "TWO"], ids=["surviving image first", "prior image first"])
@pytest.mark.parametrize("event", ["A40", "A47"])
def test_a_merge_of_the_two_patient_ids_makes_them_one_patient(bench: Bench, first: str, event: str) -> None:
    uid = held(bench, who(first), who({"ONE": "TWO", "TWO": "ONE"}[first]))
    content = merge(patient("ONE", name="Doe^John"), "TWO^^^^PI").replace(b"A40", event.encode())
    tell(bench, content)
    assert sweep(bench) == [uid]
    assert (bench.study(uid).state, bench.study(uid).patient_id) == ("triaged", "ONE")
    assert named_in_results(bench, uid) == {("ONE", "Doe^John", "19600101")}
    row = last_message(bench)
    assert (row.state, row.reason) == ("applied", "1 of 1 studies of this patient corrected")
    tell(bench, content)
    assert sweep(bench) == []
    assert len(lifted(bench, uid)) == 1
    assert [run.state for run in bench.runs(uid)] == ["superseded", "done"], "the first image came alone"


@pytest.mark.parametrize("first", ["ONE", "TWO"], ids=["surviving image first", "prior image first"])
@pytest.mark.parametrize(
    "prior", ["TMP^^^^PI", "TMP^^^^PI||||||Unknown^E1"], ids=["no prior name", "prior name in MRG-7"]
)
def test_an_emergency_patient_gets_the_name_that_the_message_says(bench: Bench, prior: str, first: str) -> None:
    patients = [who("P-1", "Smith^Ann", "19600101"), who("TMP", "Unknown^E1", "19000101")]
    uid = held(bench, *(patients if first == "ONE" else reversed(patients)))
    tell(bench, merge(patient("P-1", name="Jones^Ann", birth_date="19610202"), prior))
    assert sweep(bench) == [uid]
    assert named_in_results(bench, uid) == {("P-1", "Jones^Ann", "19610202")}, "married, and born another day"
    assert bench.study(uid).patient_name == "Jones^Ann"


def test_both_images_are_in_the_results_and_a_later_one_is_the_same_patients(bench: Bench) -> None:
    uid = held(bench, who("ONE"), who("TWO"))
    tell(bench, merge(patient("ONE", name="Doe^John"), "TWO"))
    sweep(bench)
    assert {instance.disposition for instance in bench.instances(uid)} == {"analysed"}
    assert bench.triage(chest_radiograph(StudyInstanceUID=uid, **who("TWO"))).state == "triaged"
    assert named_in_results(bench, uid) == {("ONE", "Doe^John", "19600101")}


@pytest.mark.parametrize(
    "content",
    [
        merge(patient("ONE", name="Doe^John", birth_date=""), "TWO"),
        merge(patient("ONE", name="Doe^John", birth_date="19600000"), "TWO"),
        merge(patient("ONE", name=""), "TWO"),
        merge(patient("ONE", name="Doe^John"), "TWO^^^^PI||||||Poe^Jim"),
        merge(patient("ONE", name="Doe^John"), "OTHER"),
        merge(patient("OTHER", name="Doe^John"), "TWO"),
        merge(patient("ONE", name="Doe^John"), "TWO^^^^AN"),
        update(patient("ONE", name="Doe^John")),
        message("EVN|A36", patient("ONE", name="Doe^John"), "MRG|TWO^^^^PI", kind="ADT^A36^ADT_A30"),
    ],
    ids=[
        "birth date left open", "a year of birth with zeros", "name left open", "another prior name", "another prior",
        "another survivor", "an account number", "no merge", "an event that is not taken",
    ],
)  # fmt: skip
def test_a_merge_that_does_not_make_all_images_one_patients_settles_nothing(bench: Bench, content: bytes) -> None:
    uid = held(bench, who("ONE"), who("TWO", "Roe^Jane", "19850505"))
    tell(bench, content)
    assert sweep(bench) == []
    assert bench.study(uid).state == "held"
    assert bench.runs(uid) == [] or {run.state for run in bench.runs(uid)} == {"superseded"}


@pytest.mark.parametrize(
    "third",
    [who("THREE"), who("ONE", "Roe^Jane", "19850505"), who("TWO", "Roe^Jane", "19850505"), who("")],
    ids=["a third Patient ID", "another one's under the survivor", "another one's under the prior", "none"],
)
def test_an_image_of_somebody_else_keeps_the_study_held(bench: Bench, third: dict[str, str]) -> None:
    uid = held(bench, who("ONE"), who("TWO"), third)
    tell(bench, merge(patient("ONE", name="Doe^John"), "TWO"))
    assert sweep(bench) == []
    assert bench.study(uid).state == "held"
    reject(bench, chest_like(bench, uid))
    assert sweep(bench) == [uid], "what was said of the other two still holds"
    assert named_in_results(bench, uid) == {("ONE", "Doe^John", "19600101")}


def chest_like(bench: Bench, uid: str) -> Dataset:
    """Return what names the last image of the study."""
    image = Dataset()
    image.StudyInstanceUID, image.SOPInstanceUID = uid, bench.instances(uid)[-1].sop_instance_uid
    return image


def test_three_patient_ids_are_one_after_two_merges(bench: Bench) -> None:
    uid = held(bench, who("ONE"), who("TWO"), who("THREE"))
    tell(bench, merge(patient("TWO", name="Doe^John"), "THREE"))
    assert sweep(bench) == []
    tell(bench, merge(patient("ONE", name="Doe^John"), "TWO"))
    assert sweep(bench) == [uid]
    assert named_in_results(bench, uid) == {("ONE", "Doe^John", "19600101")}


def test_one_number_of_two_issuers_is_merged_for_the_one_that_is_named(bench: Bench) -> None:
    uid = held(bench, who("ONE", IssuerOfPatientID="EAST"), who("ONE", IssuerOfPatientID="WEST"))
    tell(bench, merge(patient("ONE^^^EAST^PI", name="Doe^John"), "ONE^^^NORTH^PI"))
    assert sweep(bench) == []
    tell(bench, merge(patient("ONE^^^EAST^PI", name="Doe^John"), "ONE"))
    assert sweep(bench) == []
    assert last_message(bench).state == "unmatched", "whose ONE it is, the message does not say"
    tell(bench, merge(patient("ONE^^^EAST^PI", name="Doe^John"), "ONE^^^WEST^PI"))
    assert sweep(bench) == [uid]
    assert {result.IssuerOfPatientID for result in bench.datasets(bench.runs(uid)[-1])} == {"EAST"}


@pytest.mark.parametrize("third", [{"IssuerOfPatientID": "WEST"}, {}], ids=["another issuer", "no issuer"])
def test_the_same_number_that_another_issuer_may_have_given_stays_somebody_elses(
    bench: Bench, third: dict[str, str]
) -> None:
    bench = Bench(
        bench.settings.model_copy(update={"hl7_listener": Hl7Listener(patient_id_authority="WEST")}), bench.sessions
    )
    east = {"IssuerOfPatientID": "EAST"}
    uid = held(bench, who("ONE", **east), who("TWO", **east), who("TWO", **third))
    tell(bench, merge(patient("ONE^^^EAST^PI", name="Doe^John"), "TWO^^^EAST^PI"))
    assert sweep(bench) == []
    assert bench.study(uid).state == "held"


def test_a_retracted_study_stays_held_and_a_merge_reaches_no_image_that_cannot_be_read(bench: Bench) -> None:
    uid, other = held(bench, who("ONE"), who("TWO")), held(bench, who("ONE"), who("TWO"))
    with bench.sessions.begin() as session:
        title = RejectionTitle.PATIENT_SAFETY
        retract_study(session, uid, title=title, reason="wrong", by="Ada Admin", settings=bench.settings)
    bench.workplace.instances.open_path(bench.instances(other)[0].path).unlink()
    tell(bench, merge(patient("ONE", name="Doe^John"), "TWO"))
    assert sweep(bench) == []
    assert {bench.study(each).state for each in (uid, other)} == {"held"}


def test_a_person_who_releases_the_study_later_finds_the_merged_images_under_the_surviving_id(bench: Bench) -> None:
    uid = held(bench, who("ONE"), who("TWO"), who("THREE"))
    tell(bench, merge(patient("ONE", name="Doe^John"), "TWO"))
    sweep(bench)
    with bench.sessions.begin() as session:
        store = bench.workplace.instances
        released = release_study(session, store, uid, WhoseStudy("ONE"), "admin", settings=bench.settings)
    assert released.left_out == 1


def test_the_names_that_a_merge_concerns_are_those_of_each_patient_id_alone(bench: Bench) -> None:
    uid = held(bench, who("ONE", "Doe^John"), who("TWO", "Unknown^E1"))
    tell(bench, merge(patient("ONE", name="Doe^John"), "TWO"))
    sweep(bench)
    with bench.sessions() as session:
        rows = session.scalars(select(IdentityCorrection).order_by(IdentityCorrection.id)).all()
    assert [(row.prior_patient_id, row.concerned_names, row.names_verbatim) for row in rows] == [
        ("TWO", ["Doe^John", "Unknown^E1"], True),
        ("ONE", ["Doe^John"], True),
    ]
    bench.receive(chest_radiograph(StudyInstanceUID=uid, **who("TWO", "Roe^Jane")))
    assert bench.study(uid).state == "held", "a third name was said to be nobody's"
