"""What becomes of received instances: rows, versions, identities and due times, on SQLite and PostgreSQL."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from arrivals import received
from factories import chest_radiograph
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage, generate_uid
from sqlalchemy import Engine, func, select, text
from sqlalchemy.engine import make_url

from dicom_io.foundation.product import MANUFACTURER_MODEL_NAME
from dicom_io.foundation.reasons import ReasonCode
from dicom_io.storing.instance_store import InstanceStore, StorageFull
from dicom_io.storing.receiving import STATUS_SUCCESS, ReceiverUnavailable, RefusedInstance
from worker.arrival.completion import queue_if_due
from worker.arrival.intake import Intake
from worker.rows.database import SessionFactory, database_now, open_engine, session_factory
from worker.rows.leases import claim_run
from worker.rows.outcome import RunVerdict, finish_run
from worker.rows.run_tables import Result, Run
from worker.rows.site_tables import Event
from worker.rows.states import Priority, RunState, StudyState
from worker.rows.study_tables import Instance, Study
from worker.settings.config import Settings
from worker.settings.peers import Source


class Bell:
    """Remembers who was rung for."""

    def __init__(self) -> None:
        self.rung: list[tuple[str, str]] = []

    def __call__(self, study_instance_uid: str, queue: str) -> None:
        self.rung.append((study_instance_uid, queue))


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def intake(sessions: SessionFactory, settings: Settings, bell: Bell) -> Intake:
    return Intake(settings, sessions, InstanceStore(settings.instances_dir), bell)


def take(intake: Intake, *datasets: Dataset) -> None:
    for dataset in datasets:
        assert intake.receive(received(dataset)).status == STATUS_SUCCESS


def study_of(sessions: SessionFactory, dataset: Dataset) -> Study:
    with sessions() as session:
        return session.get_one(Study, str(dataset.StudyInstanceUID))


def instances_of(sessions: SessionFactory, dataset: Dataset) -> list[Instance]:
    uid = str(dataset.StudyInstanceUID)
    with sessions() as session:
        rows = select(Instance).where(Instance.study_instance_uid == uid).order_by(Instance.id)
        return list(session.scalars(rows).all())


def a_pdf(**keywords: Any) -> Dataset:
    return chest_radiograph(SOPClassUID=EncapsulatedPDFStorage, Modality="DOC", PixelData=None, **keywords)


def sibling(dataset: Dataset, **keywords: Any) -> Dataset:
    """Return another image of the same study."""
    return chest_radiograph(**{"StudyInstanceUID": dataset.StudyInstanceUID} | keywords)


def triage(sessions: SessionFactory, settings: Settings, dataset: Dataset) -> int:
    """Claim and finish the study's queued run and return its id."""
    uid = str(dataset.StudyInstanceUID)
    with sessions.begin() as session:
        claim = claim_run(session, uid, "w", settings)
        assert claim is not None
        for instance in session.scalars(select(Instance).where(Instance.study_instance_uid == uid)):
            instance.disposition = "analysed"
        finish_run(session, claim, RunVerdict(StudyState.TRIAGED, Priority.ROUTINE, 0.1, "x"))
    return claim.run_id


def test_an_instance_is_on_disk_and_in_rows_as_received(
    intake: Intake, sessions: SessionFactory, settings: Settings
) -> None:
    dataset = chest_radiograph(IssuerOfPatientID="CLINIC", RequestedProcedurePriority="HIGH")
    arrived = received(dataset)
    before = datetime.now(UTC)
    assert intake.receive(arrived).status == STATUS_SUCCESS
    (instance,) = instances_of(sessions, dataset)
    stored = InstanceStore(settings.instances_dir).open_path(instance.path)
    assert stored.read_bytes() == b"".join(arrived.chunks)
    assert (instance.disposition, instance.version, instance.current) == ("candidate", 1, True)
    assert instance.bytes == stored.stat().st_size
    study = study_of(sessions, dataset)
    assert (study.patient_id, study.issuer_of_patient_id, study.patient_name) == ("PHANTOM-1", "CLINIC", "Phantom^Test")
    assert (study.order_priority, study.calling_ae_title, study.patient_id_missing) == ("HIGH", "MODALITY", False)
    assert study.due_at is not None
    assert timedelta(0) < study.due_at - before < timedelta(seconds=settings.quiet_time_seconds + 30)
    assert study.state == StudyState.RECEIVING


def test_the_same_bytes_again_change_nothing(intake: Intake, sessions: SessionFactory) -> None:
    dataset = chest_radiograph()
    take(intake, dataset)
    before = study_of(sessions, dataset)
    take(intake, dataset, dataset)
    after = study_of(sessions, dataset)
    assert len(instances_of(sessions, dataset)) == 1
    assert (after.due_at, after.last_received_at) == (before.due_at, before.last_received_at)
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Event)) == 1


def test_a_lost_file_is_healed_by_the_same_bytes_also_where_an_earlier_version_kept_it_elsewhere(
    intake: Intake, sessions: SessionFactory, settings: Settings
) -> None:
    dataset = chest_radiograph()
    take(intake, dataset)
    with sessions.begin() as session:
        image = session.scalars(select(Instance)).one()
        image.path = f"{dataset.StudyInstanceUID}/{dataset.SOPInstanceUID}/{image.sha256[:16]}.dcm"
    take(intake, dataset)
    (image,) = instances_of(sessions, dataset)
    assert hashlib.sha256((settings.instances_dir / image.path).read_bytes()).hexdigest() == image.sha256


def test_other_bytes_under_the_same_uid_become_a_version_that_is_analysed(
    intake: Intake, sessions: SessionFactory, settings: Settings, bell: Bell
) -> None:
    dataset = chest_radiograph()
    uid = str(dataset.StudyInstanceUID)
    take(intake, dataset)
    intake.association_closed({uid}, aborted=False)
    triage(sessions, settings, dataset)
    dataset.PatientName = "Phantom^Corrected"
    take(intake, dataset)
    old, new = instances_of(sessions, dataset)
    assert [(each.version, each.current) for each in (old, new)] == [(1, False), (2, True)]
    assert (old.disposition, new.disposition) == ("analysed", "candidate")
    assert old.path != new.path
    study = study_of(sessions, dataset)
    assert (study.patient_name, study.state) == ("Phantom^Corrected", StudyState.TRIAGED)
    intake.association_closed({uid}, aborted=False)
    with sessions() as session:
        assert session.scalars(select(Run.trigger).order_by(Run.id)).all() == ["auto", "late_image"]
        audited = session.scalars(select(Event).where(Event.kind == "new_version")).one()
        assert audited.details["replaced_sha256"] == old.sha256
    assert bell.rung == [(uid, "routine")] * 2


def test_an_empty_patient_id_is_carried_and_marked(intake: Intake, sessions: SessionFactory) -> None:
    dataset = chest_radiograph(PatientID="")
    take(intake, dataset, sibling(dataset, PatientID=""))
    study = study_of(sessions, dataset)
    assert (study.patient_id, study.patient_id_missing, study.state) == ("", True, StudyState.RECEIVING)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"PatientID": "A"}, {"PatientID": "B"}),
        ({"PatientID": "A"}, {"PatientID": ""}),
        ({"PatientID": ""}, {"PatientID": "A"}),
        (
            {"PatientID": "A", "IssuerOfPatientID": "X"},
            {"PatientID": "A", "IssuerOfPatientID": "Y"},
        ),
        ({"PatientName": "Doe^John"}, {"PatientName": "Roe^Jane"}),
        ({"PatientName": "Doe^John"}, {"PatientName": "Doe^Jane"}),
        ({"PatientID": "", "PatientName": "Doe^John"}, {"PatientID": "", "PatientName": "Roe^Jane"}),
        ({"PatientBirthDate": "19600101"}, {"PatientBirthDate": "19610101"}),
    ],
)
def test_two_patients_in_one_study_hold_it(
    intake: Intake, sessions: SessionFactory, bell: Bell, first: dict[str, str], second: dict[str, str]
) -> None:
    dataset = chest_radiograph(**first)
    take(intake, dataset, sibling(dataset, **second))
    intake.association_closed({str(dataset.StudyInstanceUID)}, aborted=False)
    study = study_of(sessions, dataset)
    assert (study.state, study.reason_code, study.due_at) == (StudyState.HELD, "identity_conflict", None)
    assert len(instances_of(sessions, dataset)) == 2
    assert bell.rung == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"PatientName": "DOE^JOHN"}, {"PatientName": "Doe^John^^^"}),
        ({"PatientName": "Doe^John"}, {"PatientName": "Doe^John^Fitzgerald^Dr."}),
        ({"PatientName": "Doe^John"}, {"PatientName": ""}),
        ({"PatientName": ""}, {"PatientName": "Doe^John"}),
        (
            {"PatientName": "M\u00fcller^J\u00f6rg", "SpecificCharacterSet": "ISO_IR 100"},
            {"PatientName": "MUELLER^JOERG", "SpecificCharacterSet": None},
        ),
        ({"PatientName": "Yamada^Tarou"}, {"PatientName": "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce"}),
        ({"PatientBirthDate": "19600101"}, {"PatientBirthDate": ""}),
        ({"PatientBirthDate": "19600101"}, {"PatientBirthDate": "1960.01.01"}),
        ({"PatientBirthDate": "19600101"}, {"PatientBirthDate": "1960"}),
        ({"PatientBirthDate": "19600101"}, {"PatientBirthDate": "18500101"}),
        ({"PatientSex": "M"}, {"PatientSex": "F"}),
    ],
)
def test_one_patient_written_in_two_ways_is_no_conflict(
    intake: Intake, sessions: SessionFactory, first: dict[str, Any], second: dict[str, Any]
) -> None:
    dataset = chest_radiograph(**first)
    take(intake, dataset, sibling(dataset, **second))
    assert study_of(sessions, dataset).state == StudyState.RECEIVING


def test_images_that_state_two_sexes_are_in_the_audit_trail_without_the_patient(
    intake: Intake, sessions: SessionFactory
) -> None:
    dataset = chest_radiograph(PatientSex="M", PatientID="SECRET-1")
    other = sibling(dataset, PatientSex="F", PatientID="SECRET-1")
    take(intake, dataset, sibling(dataset, PatientSex="O", PatientID="SECRET-1"), other)
    with sessions() as session:
        (event,) = session.scalars(select(Event).where(Event.kind == "sex_differs")).all()
    assert event.study_instance_uid == str(dataset.StudyInstanceUID)
    assert event.details == {"sop_instance_uid": str(other.SOPInstanceUID)}
    assert "SECRET" not in event.reason


def test_the_reason_of_a_held_study_names_no_patient(intake: Intake, sessions: SessionFactory) -> None:
    dataset = chest_radiograph(PatientID="SECRET-1")
    take(intake, dataset, sibling(dataset, PatientID="SECRET-2"))
    assert "SECRET" not in (study_of(sessions, dataset).reason or "")


def test_a_missing_issuer_beside_a_known_one_is_no_conflict(intake: Intake, sessions: SessionFactory) -> None:
    dataset = chest_radiograph()
    take(intake, dataset, sibling(dataset, IssuerOfPatientID="CLINIC"), sibling(dataset))
    study = study_of(sessions, dataset)
    assert (study.state, study.issuer_of_patient_id) == (StudyState.RECEIVING, "CLINIC")


def test_an_image_known_in_another_study_holds_both(intake: Intake, sessions: SessionFactory) -> None:
    first = chest_radiograph()
    second = chest_radiograph(SOPInstanceUID=first.SOPInstanceUID)
    take(intake, first, second)
    for one, other in ((first, second), (second, first)):
        study = study_of(sessions, one)
        assert (study.state, study.reason_code) == (StudyState.HELD, "identity_conflict")
        assert str(other.StudyInstanceUID) in (study.reason or "")


def test_one_image_sent_under_two_studies_at_once_is_always_noticed(intake: Intake, sessions: SessionFactory) -> None:
    pairs = []
    for _ in range(5):
        first = chest_radiograph()
        pairs.append((first, chest_radiograph(SOPInstanceUID=first.SOPInstanceUID)))
    arrivals = [received(dataset) for pair in pairs for dataset in pair]
    together = threading.Barrier(len(arrivals))

    def receive(index: int) -> None:
        together.wait(20)
        intake.receive(arrivals[index])

    with ThreadPoolExecutor(len(arrivals)) as pool:
        list(pool.map(receive, range(len(arrivals))))
    states = {study_of(sessions, dataset).state for pair in pairs for dataset in pair}
    assert states == {StudyState.HELD}


def test_holding_a_study_takes_its_run_from_the_worker(
    intake: Intake, sessions: SessionFactory, settings: Settings
) -> None:
    dataset = chest_radiograph(PatientID="A")
    uid = str(dataset.StudyInstanceUID)
    take(intake, dataset)
    intake.association_closed({uid}, aborted=False)
    with sessions.begin() as session:
        claim = claim_run(session, uid, "w", settings)
    assert claim is not None
    take(intake, sibling(dataset, PatientID="B"))
    with sessions() as session:
        run = session.get_one(Run, claim.run_id)
        assert (run.state, run.reason_code) == (RunState.SUPERSEDED, "identity_conflict")
        assert run.fencing_token > claim.fencing_token


def test_our_own_results_are_known_by_equipment(intake: Intake, sessions: SessionFactory, bell: Bell) -> None:
    dataset = chest_radiograph(ManufacturerModelName=MANUFACTURER_MODEL_NAME, DeviceSerialNumber="0001")
    take(intake, dataset)
    intake.association_closed({str(dataset.StudyInstanceUID)}, aborted=False)
    assert [(each.disposition, each.reason_code) for each in instances_of(sessions, dataset)] == [
        ("ignored", "own_result")
    ]
    assert bell.rung == []


def test_our_own_results_are_known_by_their_uid_whatever_a_pacs_changed(
    intake: Intake, sessions: SessionFactory, settings: Settings
) -> None:
    dataset = chest_radiograph()
    take(intake, dataset)
    intake.association_closed({str(dataset.StudyInstanceUID)}, aborted=False)
    run_id = triage(sessions, settings, dataset)
    result_uid = generate_uid()
    with sessions.begin() as session:
        session.add(
            Result(
                run_id=run_id,
                kind="structured_report",
                sop_class_uid="1",
                sop_instance_uid=result_uid,
                series_instance_uid="1",
                path="",
                bytes=1,
                sha256="",
                created_at=datetime.now(UTC),
            )
        )
    take(intake, sibling(dataset, SOPInstanceUID=result_uid, PatientID="COERCED", Manufacturer="PACS"))
    assert instances_of(sessions, dataset)[-1].reason_code == "own_result"
    study = study_of(sessions, dataset)
    assert (study.state, study.due_at) == (StudyState.TRIAGED, None)


def test_an_ignored_object_makes_an_answered_study_not_due_again(
    intake: Intake, sessions: SessionFactory, settings: Settings
) -> None:
    dataset = chest_radiograph()
    take(intake, dataset)
    intake.association_closed({str(dataset.StudyInstanceUID)}, aborted=False)
    triage(sessions, settings, dataset)
    take(intake, a_pdf(StudyInstanceUID=dataset.StudyInstanceUID))
    study = study_of(sessions, dataset)
    assert (study.state, study.due_at) == (StudyState.TRIAGED, None)


def test_the_end_of_an_association_queues_and_rings_at_once(
    intake: Intake, sessions: SessionFactory, bell: Bell
) -> None:
    dataset = chest_radiograph()
    uid = str(dataset.StudyInstanceUID)
    take(intake, dataset)
    intake.association_closed({uid}, aborted=False)
    assert bell.rung == [(uid, "routine")]
    study = study_of(sessions, dataset)
    assert (study.state, study.due_at) == (StudyState.QUEUED, None)


def test_an_aborted_association_leaves_the_decision_to_the_quiet_time(
    intake: Intake, sessions: SessionFactory, bell: Bell
) -> None:
    dataset = chest_radiograph()
    take(intake, dataset)
    before = study_of(sessions, dataset).due_at
    intake.association_closed({str(dataset.StudyInstanceUID)}, aborted=True)
    assert bell.rung == []
    assert study_of(sessions, dataset).due_at == before


@pytest.mark.parametrize("priority", ["STAT", "HIGH"])
def test_an_urgent_order_goes_to_the_urgent_queue(intake: Intake, bell: Bell, priority: str) -> None:
    dataset = chest_radiograph(RequestedProcedurePriority=priority)
    take(intake, dataset)
    intake.association_closed({str(dataset.StudyInstanceUID)}, aborted=False)
    assert [queue for _, queue in bell.rung] == ["stat"]


def test_an_urgent_source_goes_to_the_urgent_queue_and_names_its_bundle(
    sessions: SessionFactory, make_settings: Callable[..., Settings], bell: Bell, tmp_path: Path
) -> None:
    settings = make_settings(
        sources=(Source(ae_title="MODALITY", urgent=True, bundle="er"),),
        bundles={"default": tmp_path, "er": tmp_path},
    )
    intake = Intake(settings, sessions, InstanceStore(settings.instances_dir), bell)
    dataset = chest_radiograph()
    take(intake, dataset)
    intake.association_closed({str(dataset.StudyInstanceUID)}, aborted=False)
    assert [queue for _, queue in bell.rung] == ["stat"]
    with sessions() as session:
        assert session.scalars(select(Run.bundle)).all() == ["er"]


def test_many_associations_at_once_lose_nothing(intake: Intake, sessions: SessionFactory) -> None:
    first = chest_radiograph()
    datasets = [first, *(sibling(first) for _ in range(7)), *(chest_radiograph() for _ in range(8))]
    arrivals = [received(dataset) for dataset in [*datasets, *datasets]]  # each twice, at once
    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(intake.receive, arrivals))
    assert {outcome.status for outcome in outcomes} == {STATUS_SUCCESS}
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Instance)) == 16
        assert session.scalar(select(func.count()).select_from(Study)) == 9
    assert len({instance.path for instance in instances_of(sessions, first)}) == 8


def test_less_free_disk_than_configured_refuses_and_leaves_no_row(
    sessions: SessionFactory, settings: Settings, bell: Bell
) -> None:
    intake = Intake(settings, sessions, InstanceStore(settings.instances_dir, minimum_free_bytes=1 << 60), bell)
    with pytest.raises(StorageFull):
        intake.receive(received(chest_radiograph()))
    with sessions() as session:
        assert session.scalars(select(Study)).all() == []
    assert intake.accepting()  # answered with 0xA700 first; rejected only when it lasts


def test_associations_are_rejected_only_while_a_full_disk_lasts(
    sessions: SessionFactory, settings: Settings, bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = InstanceStore(settings.instances_dir, minimum_free_bytes=1 << 60)
    intake = Intake(settings, sessions, store, bell)
    with pytest.raises(StorageFull):
        intake.receive(received(chest_radiograph()))
    monkeypatch.setattr("worker.arrival.intake.REJECT_AFTER_SECONDS", 0.0)
    assert not intake.accepting()
    store.minimum_free_bytes = 0
    assert intake.accepting()


def test_a_read_only_database_is_a_reason_to_send_again(postgresql_url: str, settings: Settings, bell: Bell) -> None:
    engine = open_engine(postgresql_url)
    intake = Intake(settings, session_factory(engine), InstanceStore(settings.instances_dir), bell)
    name = make_url(postgresql_url).database
    try:
        with engine.begin() as connection:
            connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
        engine.dispose()
        with pytest.raises(ReceiverUnavailable, match="OperationalError"):
            intake.receive(received(chest_radiograph()))
        intake.association_closed({"1.2.3"}, aborted=False)  # the sweeper looks after the study later
    finally:
        engine.dispose()


def test_a_database_that_is_gone_is_a_reason_to_send_again(settings: Settings, bell: Bell, tmp_path: Path) -> None:
    engine = open_engine(f"postgresql+psycopg://cxr@/cxr?host={tmp_path}")
    intake = Intake(settings, session_factory(engine), InstanceStore(settings.instances_dir), bell)
    with pytest.raises(ReceiverUnavailable, match="OperationalError"):
        intake.receive(received(chest_radiograph()))
    intake.association_closed({"1.2.3"}, aborted=False)  # only costs the head start
    engine.dispose()


def test_a_repeated_send_after_a_crash_between_file_and_row_adopts_the_file(
    intake: Intake, sessions: SessionFactory, settings: Settings
) -> None:
    dataset = chest_radiograph()
    arrived = received(dataset)
    left = InstanceStore(settings.instances_dir).write(
        arrived.study_instance_uid, arrived.sop_instance_uid, arrived.chunks
    )
    take(intake, dataset)
    assert [instance.path for instance in instances_of(sessions, dataset)] == [left.path]


def test_a_refused_object_is_quarantined_and_noted(
    intake: Intake, sessions: SessionFactory, settings: Settings
) -> None:
    intake.refuse(RefusedInstance(ReasonCode.TRUNCATED, "ends inside an element", "MODALITY", "10.0.0.1", (b"abc",)))
    with sessions() as session:
        event = session.scalars(select(Event)).one()
    assert (event.kind, event.details["reason_code"]) == ("refused", "truncated")
    kept = settings.instances_dir / "quarantine" / event.details["file"]
    assert kept.read_bytes() == b"abc"


def test_text_that_postgresql_cannot_hold_is_no_reason_to_refuse(intake: Intake, sessions: SessionFactory) -> None:
    dataset = chest_radiograph(StudyDescription="Chest\0 PA")
    take(intake, dataset)
    assert study_of(sessions, dataset).study_description == "Chest PA"


def test_a_database_row_is_never_seen_before_its_file(intake: Intake, engine: Engine, settings: Settings) -> None:
    reading = session_factory(engine, read_only=True)
    store = InstanceStore(settings.instances_dir)
    over = threading.Event()
    missing: list[str] = []

    def look() -> None:
        while not over.is_set():
            with reading() as session:
                paths = session.scalars(select(Instance.path)).all()
            missing.extend(path for path in paths if not (store.root / path).is_file())

    watcher = threading.Thread(target=look)
    watcher.start()
    take(intake, *(chest_radiograph() for _ in range(10)))
    over.set()
    watcher.join()
    assert missing == []


def test_a_study_is_not_queued_before_its_quiet_time(
    intake: Intake, sessions: SessionFactory, settings: Settings
) -> None:
    dataset = chest_radiograph()
    take(intake, dataset)
    uid = str(dataset.StudyInstanceUID)
    with sessions.begin() as session:
        now = database_now(session)
        assert queue_if_due(session, uid, settings, now, actor="test") is None
        later = now + timedelta(seconds=settings.quiet_time_seconds)
        assert queue_if_due(session, uid, settings, later, actor="test") is not None
