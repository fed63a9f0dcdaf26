"""A corrected order or patient: results are issued again under it, and the images stay as they came."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from benches import Bench, run_if_due
from factories import chest_radiograph, drawn_chest
from one_database import database_url  # noqa: F401 (a fixture; what is special to PostgreSQL has tests of its own)
from peers import StandInPacs
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless
from receivers import running_receiver
from rejection_notes import named
from sqlalchemy import select, text, update

from worker.arrival.corrected_images import lay_over
from worker.arrival.correction import correct_identity
from worker.care.administration import NotStated
from worker.care.identity_correction import Corrected, CorrectionRefused, Identity, correct_study
from worker.care.resend import NothingToResend, resend_study
from worker.rows.delivery_tables import Delivery
from worker.rows.leases import locked_study
from worker.rows.site_tables import Event
from worker.rows.states import DeliveryState
from worker.rows.study_tables import IdentityCorrection, Study
from worker.runs.triage import triage
from worker.sending.delivery import deliver
from worker.sending.last_look import contradiction
from worker.settings.config import Settings

pytestmark = pytest.mark.either_database


@pytest.fixture
def bench(bench_with: Callable[..., Bench], pacs: StandInPacs) -> Bench:
    archive = pacs.destination
    return bench_with(destinations=[archive])


def delivered(bench: Bench, **keywords: Any) -> str:
    uid = bench.triage(chest_radiograph(**keywords)).study_instance_uid
    deliver(uid, bench.office)
    return uid


def correct(bench: Bench, uid: str, **changed: Any) -> bool:
    with bench.sessions.begin() as session:
        study = locked_study(session, uid)
        assert study is not None
        said = {"patient_id": study.patient_id, "issuer_of_patient_id": "", "demographics": {}, **changed}
        return correct_identity(session, study, cause="archive", actor="test", **said)


def request(accession_number: str) -> Dataset:
    item = Dataset()
    item.AccessionNumber, item.RequestedProcedureID = accession_number, "RP-1"
    return item


def test_a_corrected_accession_number_is_in_every_result_and_in_the_request_the_report_answers(
    bench: Bench, pacs: StandInPacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = [request("A0001"), request("OTHER")]
    uid = delivered(bench, AccessionNumber="A0001", RequestAttributesSequence=orders)
    before = len(pacs.stored)
    monkeypatch.setattr("worker.runs.triage.analyse", lambda *arguments: pytest.fail("looked at the picture again"))
    assert correct(bench, uid, accession_number="A0002")
    assert bench.study(uid).accession_number == "A0002"
    assert run_if_due(bench, uid)
    again = [arrival.dataset for arrival in pacs.stored[before:] if arrival.dataset.Modality != "KO"]
    assert {o.AccessionNumber for o in again} == {"A0002"}
    (report,) = [o for o in again if o.Modality == "SR"]
    assert [item.AccessionNumber for item in report.ReferencedRequestSequence] == ["A0002", "OTHER"]
    assert not correct(bench, uid, accession_number="A0002")
    assert not run_if_due(bench, uid)


def test_an_image_of_another_order_keeps_its_accession_number(bench: Bench) -> None:
    uid = delivered(bench, AccessionNumber="A0001")
    correct(bench, uid, accession_number="A0002")
    run_if_due(bench, uid)
    study = bench.triage(chest_radiograph(StudyInstanceUID=uid, AccessionNumber="A0003"))
    assert (study.state, study.accession_number) == ("triaged", "A0002")
    (report,) = [o for o in bench.datasets(bench.runs(uid)[-1]) if o.Modality == "SR"]
    assert report.AccessionNumber == "A0002"


def test_an_image_that_comes_later_under_the_old_accession_number_is_of_the_corrected_order(bench: Bench) -> None:
    uid = delivered(bench, AccessionNumber="A0001")
    correct(bench, uid, accession_number="A0002")
    study = bench.triage(chest_radiograph(StudyInstanceUID=uid, AccessionNumber="A0001"))
    assert study.accession_number == "A0002"
    datasets = bench.datasets(bench.runs(uid)[-1])
    assert {o.AccessionNumber for o in datasets} == {"A0002"}


def test_patient_and_order_are_corrected_together(bench: Bench) -> None:
    uid = delivered(bench, AccessionNumber="A0001")
    assert correct(bench, uid, patient_id="RIGHT", accession_number="A0002", demographics={"patient_name": "Right^One"})
    run_if_due(bench, uid)
    named_now = {(o.PatientID, o.AccessionNumber, str(o.PatientName)) for o in bench.datasets(bench.runs(uid)[-1])}
    assert named_now == {("RIGHT", "A0002", "Right^One")}


def put_back_into_the_outbox(bench: Bench) -> None:
    """Do what the answer does that an archive does not keep what it was sent."""
    with bench.sessions.begin() as session:
        session.execute(update(Delivery).values(state=DeliveryState.PENDING))


@pytest.mark.parametrize(
    "changed", [{"accession_number": "A0002"}, {"demographics": {"patient_name": "Right^One"}}, {"patient_id": "RIGHT"}]
)
def test_what_an_archive_has_lost_is_not_sent_again_under_the_identity_it_had_before(
    bench: Bench, pacs: StandInPacs, changed: dict[str, Any]
) -> None:
    uid = delivered(bench, AccessionNumber="A0001")
    before = len(pacs.arrivals)
    assert correct(bench, uid, **changed)
    put_back_into_the_outbox(bench)
    deliver(uid, bench.office)
    assert len(pacs.arrivals) == before
    with bench.sessions.begin() as session, pytest.raises(NothingToResend, match="corrected"):
        resend_study(session, uid, [], "Ada Admin", bench.settings)
    assert run_if_due(bench, uid)
    bench.make_due()
    deliver(uid, bench.office)
    results = [arrival.dataset for arrival in pacs.arrivals[before:] if arrival.dataset.Modality != "KO"]
    again = {(o.PatientID, str(o.PatientName), o.AccessionNumber) for o in results}
    study = bench.study(uid)
    assert again == {(study.patient_id, study.patient_name, study.accession_number)}


def named_notes(pacs: StandInPacs) -> list[set[str]]:
    return [named(arrival.dataset) for arrival in pacs.stored if arrival.dataset.Modality == "KO"]


def telling(bench: Bench, make_settings: Callable[..., Settings], port: int) -> Bench:
    """Return a bench with the same bundles, archives and rows that tells an HL7 receiver as well."""
    receiver = {"name": "ris", "host": "127.0.0.1", "port": port}
    settings = make_settings(
        bundles=dict(bench.settings.bundles), destinations=bench.settings.destinations, hl7_destinations=[receiver]
    )
    return Bench(settings, bench.sessions)


@pytest.mark.parametrize(
    ("said", "kept"),
    [("1960.05.04", "19600504"), ("in the spring of 1960", "19590101"), ("19600504", "19600504"), ("", "")],
)
def test_a_birth_date_in_the_old_form_is_taken_and_what_is_no_date_says_nothing(
    bench: Bench, said: str, kept: str
) -> None:
    """Archives answer with what modalities of all times wrote (PS3.5 6.2); PostgreSQL keeps eight characters."""
    uid = delivered(bench, PatientBirthDate="19590101", PatientSex="F")
    correct(bench, uid, patient_id="RIGHT", demographics={"patient_birth_date": said, "patient_sex": "F" * 17})
    assert run_if_due(bench, uid)
    assert (bench.study(uid).patient_birth_date, bench.study(uid).patient_sex) == (kept, "F")
    assert {dataset.PatientBirthDate for dataset in bench.datasets(bench.runs(uid)[-1])} == {kept}


def correct_by_hand(bench: Bench, uid: str, identity: Identity, reason: str = "wrong order chosen") -> Corrected:
    with bench.sessions.begin() as session:
        return correct_study(session, uid, identity, reason=reason, by="Ada Admin", settings=bench.settings)


def test_a_person_corrects_the_patient_and_archives_and_receivers_hear_of_both(
    bench: Bench, pacs: StandInPacs, make_settings: Callable[..., Settings]
) -> None:
    with running_receiver() as ris:
        bench = telling(bench, make_settings, ris.port)
        uid = delivered(bench, PatientID="WRONG", AccessionNumber="A0001")
        sent = {arrival.sop_instance_uid for arrival in pacs.stored}
        corrected = correct_by_hand(bench, uid, Identity(patient_id="RIGHT", patient_name="Right^One"))
        assert corrected.columns == ("patient_id", "patient_name")
        assert (corrected.taken_back.objects, corrected.taken_back.messages) == (len(sent), 1)
        assert "RIGHT" not in corrected.summary
        deliver(uid, bench.office)
        assert named_notes(pacs) == [sent], "before the results are made again"
        assert run_if_due(bench, uid)
        assert named_notes(pacs) == [sent], "told once"
        told = [(str(m["PID.F3.R1.C1"]), str(m["OBR.F25"])) for m in ris.messages]
        assert told == [("WRONG", "P"), ("WRONG", "X"), ("RIGHT", "P")]
    again = [a.dataset for a in pacs.stored if a.sop_instance_uid not in sent and a.dataset.Modality != "KO"]
    assert {(o.PatientID, str(o.PatientName)) for o in again} == {("RIGHT", "Right^One")}
    with bench.sessions() as session:
        event = session.scalars(select(Event).where(Event.kind == "identity_corrected")).one()
    assert event.actor == "Ada Admin"
    assert "wrong order chosen" in str(event.reason)
    assert "RIGHT" not in str(event.reason)


def test_a_correction_goes_on_where_what_was_sent_is_damaged_here(bench: Bench, pacs: StandInPacs) -> None:
    uid = delivered(bench, PatientID="WRONG")
    for result in bench.results(bench.runs(uid)[-1]):
        path = bench.settings.results_dir / result.path
        path.write_bytes(bytes(path.stat().st_size))
    assert correct(bench, uid, patient_id="RIGHT")
    assert run_if_due(bench, uid)
    assert bench.study(uid).state == "triaged"
    assert {dataset.PatientID for dataset in bench.datasets(bench.runs(uid)[-1])} == {"RIGHT"}


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        (Identity(), "nothing to correct"),
        (Identity(patient_id=""), "patient id must be"),
        (Identity(patient_id="A\\B"), "patient id must be"),
        (Identity(patient_birth_date="19600231"), "patient birth date must be"),
        (Identity(patient_sex="female"), "patient sex must be"),
        (Identity(accession_number="1" * 17), "accession number must be"),
        (Identity(patient_name="x" * 65), "patient name must be"),
        (Identity(patient_id="PHANTOM-1"), "says all this already"),
    ],
)
def test_what_dicom_could_not_hold_or_is_no_news_is_refused(bench: Bench, identity: Identity, words: str) -> None:
    uid = bench.receive(chest_radiograph())
    with pytest.raises(CorrectionRefused, match=words):
        correct_by_hand(bench, uid, identity)
    with pytest.raises(NotStated):
        correct_by_hand(bench, uid, Identity(patient_id="RIGHT"), reason=" ")
    assert bench.study(uid).patient_id == "PHANTOM-1"


def test_an_image_of_a_third_patient_is_not_taken_for_the_corrected_one(bench: Bench) -> None:
    uid = delivered(bench, PatientID="WRONG")
    correct(bench, uid, patient_id="RIGHT")
    run_if_due(bench, uid)
    bench.receive(chest_radiograph(StudyInstanceUID=uid, PatientID="THIRD"))
    assert (bench.study(uid).state, bench.study(uid).patient_id) == ("held", "RIGHT")


@pytest.mark.parametrize("answered", [True, False])
def test_an_image_sent_again_with_another_accession_number_leaves_no_old_result_in_force(
    bench: Bench, pacs: StandInPacs, answered: bool
) -> None:
    image = chest_radiograph(AccessionNumber="A0001")
    uid = bench.triage(image).study_instance_uid
    deliver(uid, bench.office)
    if not answered:
        with bench.sessions.begin() as session:  # as lost answers leave it
            session.execute(text("UPDATE delivery SET state = 'pending', sent_at = NULL, last_status = NULL"))
    sent = {arrival.sop_instance_uid for arrival in pacs.stored}
    image.AccessionNumber = "A0002"
    bench.triage(image)
    deliver(uid, bench.office)
    assert named_notes(pacs) == [sent]
    again = [a.dataset for a in pacs.stored if a.sop_instance_uid not in sent and a.dataset.Modality != "KO"]
    assert {o.AccessionNumber for o in again} == {"A0002"}


def test_an_image_sent_again_with_another_sex_or_birth_date_leaves_no_old_result_in_force(
    bench: Bench, pacs: StandInPacs
) -> None:
    image = chest_radiograph(PatientSex="M", PatientBirthDate="19600101")
    for keyword, value in (("PatientSex", "F"), ("PatientBirthDate", "19610101")):
        bench.triage(image)
        deliver(str(image.StudyInstanceUID), bench.office)
        sent = {arrival.sop_instance_uid for arrival in pacs.stored if arrival.dataset.Modality != "KO"}
        setattr(image, keyword, value)
        bench.triage(image)
        deliver(str(image.StudyInstanceUID), bench.office)
        assert set().union(*named_notes(pacs)) == sent


def test_a_late_image_replaces_the_report_and_rejects_nothing(bench: Bench, pacs: StandInPacs) -> None:
    uid = delivered(bench)
    bench.triage(chest_radiograph(StudyInstanceUID=uid))
    deliver(uid, bench.office)
    assert named_notes(pacs) == []


WRONG_PATIENT = {
    "PatientAge": "061Y",
    "PatientBirthDate": "19640101",
    "PatientBirthTime": "0101",
    "PatientSize": "1.60",
    "PatientWeight": "60",
    "PatientComments": "of the wrong patient",
    "EthnicGroup": "of the wrong patient",
    "OtherPatientIDs": "NATIONAL-OF-WRONG",
}


def other_ids(patient_id: str) -> Dataset:
    item = Dataset()
    item.PatientID, item.TypeOfPatientID = patient_id, "TEXT"
    return item


def test_another_patient_keeps_nothing_of_the_wrong_one_and_the_study_keeps_what_is_its_own(bench: Bench) -> None:
    ids = [other_ids("NATIONAL-OF-WRONG")]
    of_study = {"AccessionNumber": "A0001", "StudyDescription": "Chest PA", "StudyID": "7"}
    image = chest_radiograph(OtherPatientIDsSequence=ids, **WRONG_PATIENT, **of_study)
    uid = bench.triage(image).study_instance_uid
    correct_by_hand(bench, uid, Identity("RIGHT", None, "Right^One", "19900505", "F"))
    assert bench.study(uid).patient_age == ""
    bench.receive(chest_radiograph(StudyInstanceUID=uid, **WRONG_PATIENT))
    assert bench.study(uid).patient_age == "", "an image of the same patient that comes later says it of the wrong one"
    assert run_if_due(bench, uid) or triage(uid, bench.workplace)
    for dataset in bench.datasets(bench.runs(uid)[-1]):
        told = (dataset.PatientID, str(dataset.PatientName), dataset.PatientBirthDate, dataset.PatientSex)
        assert told == ("RIGHT", "Right^One", "19900505", "F")
        assert not {"OtherPatientIDsSequence", *WRONG_PATIENT} - {"PatientBirthDate"} & set(dataset.dir())
        for keyword, value in (of_study | {"StudyDate": image.StudyDate}).items():
            assert dataset[keyword].value == value


def test_a_corrected_header_says_nothing_more_of_the_wrong_patient() -> None:
    header = chest_radiograph(OtherPatientIDsSequence=[other_ids("NATIONAL-OF-WRONG")], **WRONG_PATIENT)
    header.IssuerOfPatientID, header.IssuerOfPatientIDQualifiersSequence = "HOSPITAL", [Dataset()]
    header.add_new(0x00100099, "LO", "unknown to the dictionary")
    header.ReferencedPatientSequence = [Dataset()]
    header.PatientIdentityRemoved = "NO"
    lay_over(header, [correction(header.PatientID, "RIGHT", issuer="HOSPITAL", patient_name="Right^One")])
    of_patient = {element.keyword for element in header.group_dataset(0x0010)}
    assert of_patient == {"PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex"}
    assert "ReferencedPatientSequence" not in header
    assert header.PatientIdentityRemoved == "NO", "says what was done to the object"


def test_another_issuer_of_the_same_id_is_another_patient_and_a_first_one_is_not() -> None:
    stated = chest_radiograph(IssuerOfPatientID="OLD", **WRONG_PATIENT)
    lay_over(stated, [correction(stated.PatientID, stated.PatientID, prior_issuer="OLD", issuer="NEW")])
    assert (stated.IssuerOfPatientID, "PatientWeight" in stated) == ("NEW", False)
    silent = chest_radiograph(**WRONG_PATIENT)
    lay_over(silent, [correction(silent.PatientID, silent.PatientID, issuer="NEW")])
    assert (silent.IssuerOfPatientID, silent.PatientAge) == ("NEW", "061Y")


def test_another_birth_date_takes_only_the_age_with_it(bench: Bench) -> None:
    ids = [other_ids("NATIONAL-OF-RIGHT")]
    uid = bench.triage(chest_radiograph(OtherPatientIDsSequence=ids, **WRONG_PATIENT)).study_instance_uid
    correct_by_hand(bench, uid, Identity(patient_birth_date="19900505"))
    assert bench.study(uid).patient_age == ""
    assert run_if_due(bench, uid)
    for dataset in bench.datasets(bench.runs(uid)[-1]):
        assert (dataset.PatientBirthDate, "PatientAge" in dataset) == ("19900505", False)
        assert [item.PatientID for item in dataset.OtherPatientIDsSequence] == ["NATIONAL-OF-RIGHT"]


def test_a_corrected_order_or_name_leaves_everything_else_of_the_patient(bench: Bench) -> None:
    ids = [other_ids("NATIONAL-OF-RIGHT")]
    uid = bench.triage(chest_radiograph(OtherPatientIDsSequence=ids, **WRONG_PATIENT)).study_instance_uid
    correct_by_hand(bench, uid, Identity(patient_name="Right^One", accession_number="A0002"))
    assert bench.study(uid).patient_age == "061Y"
    assert run_if_due(bench, uid)
    for dataset in bench.datasets(bench.runs(uid)[-1]):
        assert (dataset.PatientAge, dataset.PatientBirthTime, dataset.AccessionNumber) == ("061Y", "0101", "A0002")
        assert [item.PatientID for item in dataset.OtherPatientIDsSequence] == ["NATIONAL-OF-RIGHT"]


def correction(before: str, after: str, *, prior_issuer: str = "", issuer: str = "", **said: str) -> IdentityCorrection:
    return IdentityCorrection(
        prior_patient_id=before,
        prior_issuer_of_patient_id=prior_issuer,
        patient_id=after,
        issuer_of_patient_id=issuer,
        **said,
    )


def as_lateral(image: Dataset, **changed: Any) -> Dataset:
    """Return the next version of the image, whose tags say that it is no frontal view."""
    image = deepcopy(image)
    image.ViewPosition, image.PatientOrientation = "LL", ["A", "F"]
    for keyword, value in changed.items():
        setattr(image, keyword, value)
    return image


def as_blank(image: Dataset) -> Dataset:
    image = deepcopy(image)
    image.PixelData = bytes(len(image.PixelData))
    return image


def as_unreadable(image: Dataset) -> Dataset:
    image = deepcopy(image)
    image.PixelData = image.PixelData[:100]
    return image


def as_another_body_part(image: Dataset) -> Dataset:
    image = deepcopy(image)
    image.BodyPartExamined, image.SeriesDescription, image.StudyDescription = "KNEE", "Knee AP", "Knee"
    image.ViewPosition, image.ProtocolName = "AP", "Knee"
    return image


NEXT_VERSIONS = [
    (as_lateral, "not_analysed", "not_frontal"),
    (as_blank, "not_analysed", "blank"),
    (as_unreadable, "not_analysed", "undecodable"),
    (as_another_body_part, "out_of_scope", "not_chest"),
]


def in_the_view(bench: Bench, uid: str) -> tuple[Any, ...]:
    query = text("SELECT state, priority, priority_reason, flagged_at, leftovers FROM triage_worklist")
    with bench.sessions() as session:
        return tuple(session.execute(query).one())


@pytest.mark.parametrize(("next_version", "state", "reason_code"), NEXT_VERSIONS)
def test_a_new_version_that_is_not_analysed_leaves_nothing_of_the_old_one_in_force(
    bench: Bench,
    pacs: StandInPacs,
    make_settings: Callable[..., Settings],
    next_version: Any,
    state: str,
    reason_code: str,
) -> None:
    with running_receiver() as ris:
        bench = telling(bench, make_settings, ris.port)
        image = chest_radiograph()
        uid = bench.triage(image).study_instance_uid
        deliver(uid, bench.office)
        sent = {arrival.sop_instance_uid for arrival in pacs.stored}
        bench.receive(next_version(image))
        assert triage(uid, bench.workplace), "something waits to be sent"
        assert in_the_view(bench, uid)[-1] == len(sent) + 1, "the HL7 receiver is told, too"
        deliver(uid, bench.office)
        assert [str(m["OBR.F25"]) for m in ris.messages] == ["P", "X"]
    study = bench.study(uid)
    assert (study.state, study.reason_code) == (state, reason_code)
    assert named_notes(pacs) == [sent]
    assert in_the_view(bench, uid) == (state, None, None, None, 0)
    assert not run_if_due(bench, uid)


def test_a_new_version_that_is_refused_does_not_lower_what_a_person_has_set(bench: Bench) -> None:
    image = chest_radiograph()
    uid = bench.triage(image).study_instance_uid
    with bench.sessions.begin() as session:
        study = session.get_one(Study, uid)
        study.priority, study.priority_set_by = "URGENT", "Dr. Read"
    bench.triage(as_lateral(image))
    study = bench.study(uid)
    assert (study.state, study.priority, study.priority_set_by) == ("not_analysed", "URGENT", "Dr. Read")


def test_what_waits_is_not_sent_under_the_identity_of_a_version_that_was_replaced(
    bench: Bench, pacs: StandInPacs
) -> None:
    image = chest_radiograph(AccessionNumber="A0001", PatientName="Wrong^One")
    uid = bench.triage(image).study_instance_uid
    bench.receive(as_lateral(image, AccessionNumber="A0002", PatientName="Right^One"))
    deliver(uid, bench.office)
    assert pacs.arrivals == []
    triage(uid, bench.workplace)
    deliver(uid, bench.office)
    assert pacs.arrivals == [], "nothing was sent, so no note is needed"
    assert {row.state for row in bench.deliveries(bench.runs(uid)[0])} == {"superseded"}
    study = bench.study(uid)
    assert (study.patient_name, study.accession_number, study.state) == ("Right^One", "A0002", "not_analysed")


def replaced(bench: Bench, image: Dataset) -> None:
    bench.receive(as_lateral(image))


def of_another_order(bench: Bench, image: Dataset) -> None:
    correct(bench, image.StudyInstanceUID, accession_number="A0002")


def of_another_name(bench: Bench, image: Dataset) -> None:
    correct(bench, image.StudyInstanceUID, demographics={"patient_name": "Right^One"})


def in_doubt(bench: Bench, image: Dataset) -> None:
    bench.receive(chest_radiograph(StudyInstanceUID=image.StudyInstanceUID, PatientID="SOMEBODY-ELSE"))


@pytest.mark.parametrize("changed", [replaced, of_another_order, of_another_name, in_doubt])
def test_what_a_sender_has_in_hand_stays_when_its_study_changes_before_it_leaves(
    bench: Bench, pacs: StandInPacs, monkeypatch: pytest.MonkeyPatch, changed: Callable[[Bench, Dataset], None]
) -> None:
    image = chest_radiograph(AccessionNumber="A0001")
    uid = bench.triage(image).study_instance_uid

    changes = iter([changed])

    def changed_meanwhile(*arguments: Any) -> str:
        for change in changes:
            change(bench, image)
        return contradiction(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("worker.sending.delivery.contradiction", changed_meanwhile)
        deliver(uid, bench.office)
    assert pacs.arrivals == []
    rows = bench.deliveries(bench.runs(uid)[0])
    assert {(row.offered, row.lease_until) for row in rows} == {(False, None)}


def test_what_waits_is_sent_under_the_new_identity_only_once_a_run_has_issued_it(
    bench: Bench, pacs: StandInPacs
) -> None:
    image = chest_radiograph(AccessionNumber="A0001")
    uid = bench.triage(image).study_instance_uid
    image.AccessionNumber = "A0002"
    bench.receive(image)
    deliver(uid, bench.office)
    assert pacs.arrivals == []
    triage(uid, bench.workplace)
    deliver(uid, bench.office)
    assert {arrival.dataset.AccessionNumber for arrival in pacs.stored} == {"A0002"}


def test_what_waits_goes_on_when_the_new_version_is_only_another_coding(bench: Bench, pacs: StandInPacs) -> None:
    image = chest_radiograph()
    uid = bench.triage(image).study_instance_uid
    patient_id = image.PatientID
    image.compress(RLELossless, generate_instance_uid=False)
    image.PatientID = patient_id
    bench.receive(image)
    deliver(uid, bench.office)
    assert pacs.arrivals == []
    triage(uid, bench.workplace)
    deliver(uid, bench.office)
    assert len(pacs.stored) == len(bench.results(bench.runs(uid)[0])) > 0


def test_a_version_that_is_replaced_while_a_run_looks_at_it_leaves_nothing_either(
    bench: Bench, pacs: StandInPacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = chest_radiograph()
    uid = bench.receive(image)

    def replaced_meanwhile(name: str) -> None:
        if name == "after_inference":
            bench.receive(as_lateral(image, AccessionNumber="A0002"))

    with monkeypatch.context() as patch:
        patch.setattr("worker.runs.triage.failpoint", replaced_meanwhile)
        triage(uid, bench.workplace)
    deliver(uid, bench.office)
    assert pacs.arrivals == []
    assert run_if_due(bench, uid)
    assert (bench.study(uid).state, bench.study(uid).reason_code) == ("not_analysed", "not_frontal")
    assert pacs.arrivals == []


def test_a_refused_version_beside_another_image_makes_a_report_of_that_one_alone(
    bench: Bench, pacs: StandInPacs
) -> None:
    image = chest_radiograph()
    other = chest_radiograph(np.roll(drawn_chest(), 7, axis=1), StudyInstanceUID=image.StudyInstanceUID)
    uid = bench.triage(image, other).study_instance_uid
    deliver(uid, bench.office)
    before = len(pacs.stored)
    study = bench.triage(as_lateral(image))
    deliver(uid, bench.office)
    assert study.state == "triaged"
    (report,) = [arrival.dataset for arrival in pacs.stored[before:] if arrival.dataset.Modality == "SR"]
    (series,) = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence] == [other.SOPInstanceUID]


def test_a_study_whose_new_version_is_fit_after_all_is_analysed_again(bench: Bench, pacs: StandInPacs) -> None:
    image = chest_radiograph()
    uid = bench.triage(image).study_instance_uid
    deliver(uid, bench.office)
    first = {arrival.sop_instance_uid for arrival in pacs.stored}
    bench.triage(as_blank(image))
    image.SeriesDescription = "Chest PA, again"
    study = bench.triage(image)
    deliver(uid, bench.office)
    assert (study.state, study.priority, study.flagged_at is not None) == ("triaged", "STAT", True)
    assert named_notes(pacs) == [first]
    again = [a for a in pacs.stored if a.sop_instance_uid not in first and a.dataset.Modality != "KO"]
    assert len(again) == len(first)
