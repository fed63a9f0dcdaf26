"""A held study goes on by itself once its images agree whose they are, and only then; a message must say enough."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from benches import SILENT_ARCHIVE, Bench
from factories import chest_radiograph
from held_studies import lifted, reject, sweep, tell
from hl7_messages import merge, patient, update
from pydicom.dataset import Dataset
from rejection_notes import archive_note

from dicom_io.data_sets.rejection_title import RejectionTitle
from worker.care.release import release_study
from worker.care.retraction import retract_study
from worker.care.study_objects import Headed, with_headers
from worker.care.whose_study import WhoseStudy
from worker.runs.triage import triage

pytestmark = pytest.mark.either_database


@pytest.fixture
def bench(bench_with: Callable[..., Bench]) -> Bench:
    return bench_with(destinations=[SILENT_ARCHIVE], hl7_listener={}, quiet_time_seconds=0.0)


def images(*names: str, **keywords: Any) -> list[Dataset]:
    """Return images of one study, one of each name."""
    first = chest_radiograph(PatientName=names[0], **keywords)
    of_study = {"StudyInstanceUID": first.StudyInstanceUID, **keywords}
    return [first, *(chest_radiograph(PatientName=name, **of_study) for name in names[1:])]


def renamed(image: Dataset, name: str, **keywords: Any) -> Dataset:
    again = deepcopy(image)
    again.PatientName = name
    again.update(chest_like(keywords))
    return again


def chest_like(keywords: dict[str, Any]) -> Dataset:
    tags = Dataset()
    for keyword, value in keywords.items():
        setattr(tags, keyword, value)
    return tags


def names_in_results(bench: Bench, uid: str) -> set[str]:
    return {str(result.PatientName) for result in bench.datasets(bench.runs(uid)[-1])}


def test_a_new_version_that_agrees_with_the_others_lets_the_study_go_on_once(bench: Bench) -> None:
    one, other = images("Doe^John", "Roe^Jane")
    uid = bench.receive(one, other)
    assert sweep(bench) == []
    assert bench.study(uid).state == "held"
    assert "until its images agree whose they are, or a person decides" in str(bench.study(uid).reason)
    bench.receive(renamed(other, "Doe^John"))
    assert sweep(bench) == [uid]
    assert bench.study(uid).state == "triaged"
    assert names_in_results(bench, uid) == {"Doe^John"}
    (event,) = lifted(bench, uid)
    assert (event.from_state, event.to_state) == ("held", "receiving")
    assert "Doe" not in f"{event.reason} {event.details}"
    assert sweep(bench) == []
    assert len(bench.runs(uid)) == 1


def test_results_go_out_under_the_name_that_the_images_left_agree_on(bench: Bench) -> None:
    one, other = images("Doe^John", "Roe^Jane", PatientBirthDate="19600101")
    uid = bench.receive(one, other)
    bench.receive(renamed(one, "Roe^Jane", PatientBirthDate="19700202"))
    assert sweep(bench) == []
    assert bench.study(uid).state == "held", "the birth dates differ still"
    bench.receive(renamed(other, "Roe^Jane", PatientBirthDate="19700202"))
    sweep(bench)
    study = bench.study(uid)
    assert (study.state, study.patient_name, study.patient_birth_date) == ("triaged", "Roe^Jane", "19700202")


@pytest.mark.parametrize("by_note", [True, False], ids=["note", "person"])
def test_a_rejected_image_takes_its_name_along(bench: Bench, by_note: bool) -> None:
    one, other = images("Doe^John", "Roe^Jane")
    uid = bench.receive(one, other)
    if by_note:
        bench.receive(archive_note([one], "113038"))
    else:
        reject(bench, one)
    sweep(bench)
    study = bench.study(uid)
    assert (study.state, study.patient_name) == ("triaged", "Roe^Jane"), "the row had the name of the one rejected"
    assert names_in_results(bench, uid) == {"Roe^Jane"}


def test_a_study_with_three_names_waits_until_one_is_left(bench: Bench) -> None:
    one, other, third = images("Doe^John", "Roe^Jane", "Poe^Jim")
    uid = bench.receive(one, other, third)
    bench.receive(renamed(other, "Doe^John"))
    assert sweep(bench) == []
    bench.receive(renamed(third, "Doe^John"))
    assert sweep(bench) == [uid]


def test_an_image_that_comes_under_another_name_meanwhile_keeps_the_study_held(bench: Bench) -> None:
    one, other = images("Doe^John", "Roe^Jane")
    uid = bench.receive(one, other)
    bench.receive(renamed(other, "Doe^John"), chest_radiograph(PatientName="Roe^Jane", StudyInstanceUID=uid))
    assert sweep(bench) == []
    assert bench.study(uid).state == "held"


@pytest.mark.parametrize(
    "content",
    [
        update(patient(name="Doe^John")),
        update(patient(name="Roe^Jane")),
        update(patient(name="Smith^Ann")),
        update(patient(name="Doe^John~Doe^Johnny^^^^^A")),
        update(patient(name="Doe^John~?^^^^^^A")),
        update(patient(name="Doe^John~Roe^Jane^^^^^P")),
        merge(patient("SURVIVOR", name="Doe^John"), "PHANTOM-1"),
    ],
    ids=["one", "other", "third", "another alias", "an alias without letters", "a spouse", "merge"],
)
def test_a_message_that_names_one_of_two_settles_nothing(bench: Bench, content: bytes) -> None:
    uid = bench.receive(*images("Doe^John", "Roe^Jane"))
    tell(bench, content)
    assert sweep(bench) == []
    assert bench.study(uid).state == "held"
    assert lifted(bench, uid) == []


@pytest.mark.parametrize(
    "content",
    [
        update(patient(name="Doe^John~Unknown^E1^^^^^A")),
        update(patient(name="Doe^John") + "|Unknown^E1"),
        merge(patient(name="Doe^John"), "PHANTOM-1^^^^PI||||||UNKNOWN^E1"),
        merge(patient("SURVIVOR", name="Doe^John"), "PHANTOM-1^^^^PI||||||Unknown^E1"),
    ],
    ids=["another name in PID-5", "alias in PID-9", "prior name in MRG-7", "merged into another identifier"],
)
def test_a_message_that_gives_both_names_to_one_patient_settles_it(bench: Bench, content: bytes) -> None:
    uid = bench.receive(*images("Unknown^E1", "Doe^John"))
    tell(bench, content)
    assert uid in sweep(bench)
    assert bench.study(uid).state == "triaged"
    assert names_in_results(bench, uid) == {"Doe^John"}
    tell(bench, content)
    assert sweep(bench) == []
    assert (len(lifted(bench, uid)), len(bench.runs(uid))) == (1, 1)


@pytest.mark.parametrize("born", ["19600101", "19610101"])
def test_a_message_settles_which_of_two_birth_dates_of_one_name_is_right(bench: Bench, born: str) -> None:
    one, other = images("Doe^John", "DOE^JOHN")
    one.PatientBirthDate, other.PatientBirthDate = "19600101", "19610101"
    uid = bench.receive(one, other)
    tell(bench, update(patient(name="Doe^John", birth_date=born)))
    assert sweep(bench) == [uid]
    assert bench.study(uid).patient_birth_date == born
    assert {result.PatientBirthDate for result in bench.datasets(bench.runs(uid)[-1])} == {born}


def test_two_patients_that_one_short_name_could_stand_for_stay_two(bench: Bench) -> None:
    uid = bench.receive(*images("Doe^John", "Doe^Jane"))
    tell(bench, update(patient(name="Doe")))
    assert sweep(bench) == []
    assert bench.study(uid).state == "held"


def test_another_patient_id_is_left_to_a_person_whatever_the_images_say_now(bench: Bench) -> None:
    (image,) = images("Doe^John")
    uid = bench.triage(image).study_instance_uid
    bench.receive(renamed(image, "Doe^John", PatientID="OTHER"))
    bench.receive(renamed(image, "Doe^John", PatientID="OTHER", StudyDescription="again"))
    assert sweep(bench) == []
    assert bench.study(uid).state == "held"


def test_an_image_of_two_studies_is_left_to_a_person(bench: Bench) -> None:
    one, other = images("Doe^John", "Doe^John")
    elsewhere = deepcopy(one)
    elsewhere.StudyInstanceUID = chest_radiograph().StudyInstanceUID
    uid = bench.receive(one, other)
    bench.receive(elsewhere)
    bench.receive(renamed(other, "DOE^JOHN"))
    assert sweep(bench) == []
    assert bench.study(uid).state == "held"


def test_a_retracted_study_stays_as_it_is(bench: Bench) -> None:
    one, other = images("Doe^John", "Roe^Jane")
    uid = bench.receive(one, other)
    with bench.sessions.begin() as session:
        retract_study(
            session, uid, title=RejectionTitle.PATIENT_SAFETY, reason="wrong", by="Ada Admin", settings=bench.settings
        )
    bench.receive(renamed(other, "Doe^John"))
    assert sweep(bench) == []


def test_an_image_that_cannot_be_read_back_leaves_the_study_to_a_person(bench: Bench) -> None:
    one, other = images("Doe^John", "Roe^Jane")
    uid = bench.receive(one, other)
    bench.receive(renamed(other, "Doe^John"))
    first = bench.instances(uid)[0]
    bench.workplace.instances.open_path(first.path).unlink()
    assert sweep(bench) == []
    assert bench.study(uid).state == "held"


def test_results_that_left_before_the_doubt_are_made_again(bench: Bench) -> None:
    one, other = images("Doe^John", "Doe^John")
    uid = bench.triage(one, other).study_instance_uid
    assert bench.triage(renamed(other, "Roe^Jane")).state == "held"
    bench.receive(renamed(one, "Roe^Jane"))
    assert sweep(bench) == [uid]
    assert (bench.study(uid).state, bench.study(uid).patient_name) == ("triaged", "Roe^Jane")
    assert names_in_results(bench, uid) == {"Roe^Jane"}


def test_what_a_person_left_out_puts_nothing_in_doubt_again(bench: Bench) -> None:
    one, other = images("Doe^John", "Roe^Jane")
    uid = bench.receive(one, other)
    with bench.sessions.begin() as session:
        whose = WhoseStudy(patient_name="Roe^Jane")
        release_study(session, bench.workplace.instances, uid, whose, "admin", settings=bench.settings)
    triage(uid, bench.workplace)
    late = chest_radiograph(PatientName="Poe^Jim", StudyInstanceUID=uid)
    bench.receive(late)
    assert bench.study(uid).state == "held"
    reject(bench, late)
    assert sweep(bench) == [uid]
    assert (bench.study(uid).state, bench.study(uid).patient_name) == ("triaged", "Roe^Jane")
    assert bench.runs(uid)[-1].outcome == "unchanged"


def test_an_image_that_comes_while_the_others_are_read_is_looked_at_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = images("Doe^John", "Roe^Jane")
    uid = bench.receive(one, other)
    bench.receive(renamed(other, "Doe^John"))
    late = [chest_radiograph(PatientName="Poe^Jim", StudyInstanceUID=uid)]

    def read_slowly(*arguments: Any) -> list[Headed]:
        found = with_headers(*arguments)
        if late:
            bench.receive(late.pop())
        return found

    monkeypatch.setattr("worker.care.settled.with_headers", read_slowly)
    assert sweep(bench) == []
    assert late == []
    assert bench.study(uid).state == "held"
