"""Images that an archive's rejection note declares invalid: never analysed, and nothing made of them is left behind."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from benches import Bench
from bundles import FLAGGED, write_test_bundle
from committing import running_archive
from factories import chest_radiograph
from one_database import database_url  # noqa: F401 (a fixture; `test_overruled` rejects images on both)
from peers import StandInPacs, running_pacs
from pydicom.dataset import Dataset
from receivers import Hl7Receiver
from rejection_notes import TITLES, archive_note, named
from sqlalchemy import select, text

from dicom_io.services.storage_commitment import CommitmentAnswer
from worker.care.received_notes import apply_note, notes_to_apply
from worker.figures.overview import read_overview
from worker.processes.lost_rings import deliveries_to_ring
from worker.rows.database import SessionFactory, database_now
from worker.rows.delivery_tables import Delivery, StorageCommitment
from worker.rows.leases import claim_run
from worker.rows.run_tables import Result
from worker.rows.site_tables import Event
from worker.rows.study_tables import Instance, ReceivedNote, RejectedInstance
from worker.runs.triage import triage
from worker.sending.commitment_answer import note_answer
from worker.sending.delivery import deliver
from worker.settings.config import Settings

pytestmark = pytest.mark.either_database

OBJECTS = 1 + len(FLAGGED)
MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(bench_with: MakeBench, pacs: StandInPacs) -> MakeBench:
    archive = pacs.destination
    return partial(bench_with, destinations=[archive])


def delivered(bench: Bench, *images: Dataset) -> str:
    uid = bench.triage(*images).study_instance_uid
    deliver(uid, bench.office)
    return uid


def sweep(bench: Bench) -> list[str]:
    """Do what the sweeper does about notes, run what it rings for, and deliver; returns the studies with a run."""
    with bench.sessions.begin() as session:
        due = notes_to_apply(session)
    runs = []
    for instance_id in due:
        with bench.sessions.begin() as session:
            runs += apply_note(session, instance_id, bench.settings)
    for run in runs:
        triage(run.study_instance_uid, bench.workplace)
    with bench.sessions.begin() as session:
        ringing = deliveries_to_ring(session, bench.settings)
    for uid in ringing:
        deliver(uid, bench.office)
    return [run.study_instance_uid for run in runs]


def say_why_not(bench: Bench, uid: str) -> None:
    bench.intake.association_closed({uid}, False)


def notes(pacs: StandInPacs) -> list[Dataset]:
    return [arrival.dataset for arrival in pacs.stored if arrival.dataset.Modality == "KO"]


def leftovers(bench: Bench, uid: str) -> int:
    with bench.sessions() as session:
        query = text("SELECT leftovers FROM triage_worklist WHERE study_instance_uid = :uid")
        return int(session.scalar(query, {"uid": uid}) or 0)


@pytest.mark.parametrize("title", ["113001", "113037", "113038", "113039"])
def test_the_only_image_is_rejected_and_everything_made_of_it_goes(
    make_bench: MakeBench, pacs: StandInPacs, ris: Hl7Receiver, title: str
) -> None:
    bench = make_bench(hl7_destinations=[{"name": "ris", "host": "127.0.0.1", "port": ris.port}])
    image = chest_radiograph()
    uid = delivered(bench, image)
    sent = {arrival.sop_instance_uid for arrival in pacs.stored}
    assert (len(sent), len(ris.messages)) == (OBJECTS, 1)
    bench.receive(archive_note([image], title))
    assert sweep(bench) == []
    say_why_not(bench, uid)
    study = bench.study(uid)
    assert (study.state, study.reason_code, study.priority) == ("not_analysed", "rejected", None)
    assert str(study.reason).endswith(f"({TITLES[title]}, said by MODALITY)")
    assert (study.current_run_id, study.flagged_at) == (None, None)
    (note,) = notes(pacs)
    assert named(note) == sent
    assert note.ConceptNameCodeSequence[0].CodeValue == title
    assert str(ris.messages[-1]["OBR.F25"]) == "X"
    assert leftovers(bench, uid) == 0
    (row,) = [item for item in bench.instances(uid) if item.sop_instance_uid == image.SOPInstanceUID]
    assert (row.disposition, row.reason_code) == ("not_analysed", "rejected")
    assert {"images_rejected", "results_rejected", "rejection_note_applied"} <= set(bench.event_kinds(uid))


def test_a_note_whose_file_is_damaged_rejects_nothing_and_a_person_must_look(make_bench: MakeBench) -> None:
    bench = make_bench()
    image, other = chest_radiograph(), chest_radiograph()
    uid = bench.triage(image).study_instance_uid
    assert bench.triage(other).state == "triaged"
    note = archive_note([image])
    bench.receive(note)
    (row,) = [item for item in bench.instances(uid) if item.sop_instance_uid == note.SOPInstanceUID]
    path = bench.workplace.instances.open_path(row.path)
    # the length of another image's UID, so that the file can still be read
    path.write_bytes(path.read_bytes().replace(str(image.SOPInstanceUID).encode(), str(other.SOPInstanceUID).encode()))
    assert sweep(bench) == []
    assert {bench.study(each).state for each in (uid, str(other.StudyInstanceUID))} == {"triaged"}
    with bench.sessions() as session:
        told = session.scalars(select(ReceivedNote)).one()
    assert told.state == "unmatched"
    assert "gone or damaged" in str(told.reason)


def test_what_is_left_is_analysed_again_and_the_new_report_names_the_rejected_one(
    make_bench: MakeBench, pacs: StandInPacs
) -> None:
    bench = make_bench()
    bad = chest_radiograph()
    good = chest_radiograph(StudyInstanceUID=bad.StudyInstanceUID)
    uid = delivered(bench, bad, good)
    first = {arrival.sop_instance_uid for arrival in pacs.stored}
    (old_report,) = [a.dataset for a in pacs.stored if a.dataset.Modality == "SR"]
    bench.receive(archive_note([bad]))
    assert sweep(bench) == [uid]
    assert bench.study(uid).state == "triaged"
    assert named(notes(pacs)[0]) == first
    again = [a.dataset for a in pacs.stored[len(first) :] if a.dataset.Modality != "KO"]
    (report,) = [dataset for dataset in again if dataset.Modality == "SR"]
    assert named_in_predecessors(report) == {old_report.SOPInstanceUID}
    images = {
        str(item.ReferencedSOPInstanceUID)
        for series in report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert images == {good.SOPInstanceUID}
    assert leftovers(bench, uid) == 0


def named_in_predecessors(report: Dataset) -> set[str]:
    return {
        str(item.ReferencedSOPInstanceUID)
        for study in report.PredecessorDocumentsSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }


def test_an_image_rejected_before_it_comes_is_kept_and_never_analysed(make_bench: MakeBench) -> None:
    bench = make_bench()
    image = chest_radiograph()
    bench.receive(archive_note([image], "113038"))
    sweep(bench)
    uid = bench.receive(image)
    study = bench.study(uid)
    assert (study.state, study.reason_code) == ("not_analysed", "rejected")
    assert bench.runs(uid) == []
    with bench.sessions() as session:
        (row,) = session.scalars(select(RejectedInstance))
        assert (row.sop_instance_uid, row.title_code, row.rejected_by) == (image.SOPInstanceUID, "113038", "MODALITY")


def test_our_own_note_that_comes_back_and_a_note_of_interest_change_nothing(
    make_bench: MakeBench, pacs: StandInPacs
) -> None:
    bench = make_bench()
    bad = chest_radiograph()
    good = chest_radiograph(StudyInstanceUID=bad.StudyInstanceUID)
    uid = delivered(bench, bad, good)
    bench.receive(archive_note([bad]))
    sweep(bench)
    rows, arrived = len(bench.runs(uid)), len(pacs.stored)
    bench.receive(notes(pacs)[0])
    bench.receive(archive_note([good], "113000"))
    assert sweep(bench) == []
    assert (len(bench.runs(uid)), len(pacs.stored)) == (rows, arrived)
    assert bench.study(uid).state == "triaged"
    own = [item for item in bench.instances(uid) if item.sop_instance_uid == notes(pacs)[0].SOPInstanceUID]
    assert [item.reason_code for item in own] == ["own_result"]


def test_the_same_note_twice_rejects_once(make_bench: MakeBench, pacs: StandInPacs) -> None:
    bench = make_bench()
    image = chest_radiograph()
    uid = delivered(bench, image)
    for note in (archive_note([image]), archive_note([image])):
        bench.receive(note)
        sweep(bench)
    assert len(notes(pacs)) == 1
    assert bench.event_kinds(uid).count("images_rejected") == 1


def test_a_run_that_looks_at_the_image_just_then_may_not_end(make_bench: MakeBench, pacs: StandInPacs) -> None:
    bench = make_bench()
    image = chest_radiograph()
    uid = bench.receive(image)

    def rejected_meanwhile(name: str) -> None:
        if name == "after_inference":
            bench.receive(archive_note([image]))
            sweep(bench)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.runs.triage.failpoint", rejected_meanwhile)
        triage(uid, bench.workplace)
    deliver(uid, bench.office)
    assert pacs.stored == []
    say_why_not(bench, uid)
    assert (bench.study(uid).state, bench.study(uid).reason_code) == ("not_analysed", "rejected")
    with bench.sessions.begin() as session:
        assert claim_run(session, uid, "another", bench.settings) is None


def test_results_that_wait_are_stopped_and_need_no_note(make_bench: MakeBench, pacs: StandInPacs) -> None:
    bench = make_bench()
    image = chest_radiograph()
    uid = bench.triage(image).study_instance_uid
    bench.receive(archive_note([image]))
    sweep(bench)
    assert pacs.arrivals == []
    (run,) = bench.runs(uid)
    assert {row.state for row in bench.deliveries(run)} == {"superseded"}
    assert leftovers(bench, uid) == 0


def test_what_perhaps_arrived_gets_a_note_of_its_own(make_bench: MakeBench, pacs: StandInPacs) -> None:
    bench = make_bench()
    image = chest_radiograph()
    uid = delivered(bench, image)
    (run,) = bench.runs(uid)
    doubtful = bench.results(run)[0]
    with bench.sessions.begin() as session:  # as a lost answer leaves it
        row = session.scalars(select(Delivery).where(Delivery.result_id == doubtful.id)).one()
        row.state, row.sent_at, row.last_status = "pending", None, None
    bench.receive(archive_note([image]))
    sweep(bench)
    assert sorted(len(named(note)) for note in notes(pacs)) == [1, OBJECTS - 1]
    assert {doubtful.sop_instance_uid} in [named(note) for note in notes(pacs)]


def test_a_note_that_waits_survives_the_next_run(make_bench: MakeBench, pacs: StandInPacs) -> None:
    """A run that ends stops what older runs still wait to send; never what takes their results back."""
    bench = make_bench()
    bad = chest_radiograph()
    good = chest_radiograph(StudyInstanceUID=bad.StudyInstanceUID)
    uid = delivered(bench, bad, good)
    pacs.status = lambda sop_class_uid, sop_instance_uid: 0xA700
    bench.receive(archive_note([bad]))
    sweep(bench)
    assert leftovers(bench, uid) == OBJECTS
    pacs.status = lambda sop_class_uid, sop_instance_uid: 0x0000
    bench.triage(chest_radiograph(StudyInstanceUID=uid))
    with bench.sessions.begin() as session:
        session.execute(text("UPDATE delivery SET next_attempt_at = NULL WHERE state = 'pending'"))
    deliver(uid, bench.office)
    assert len(notes(pacs)) == 1
    assert leftovers(bench, uid) == 0


def test_an_archive_that_commits_is_not_asked_about_what_it_was_told_to_reject(
    make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path
) -> None:
    write_test_bundle(tmp_path / "bundle")
    with running_archive(answers=False) as archive:
        pacs = archive.pacs
        destination = pacs.destination
        fields = {"storage_commitment": True, "commitment_wait_seconds": 0}
        settings = make_settings(bundles={"default": tmp_path / "bundle"}, destinations=[destination | fields])
        bench = Bench(settings, sessions)
        image = chest_radiograph()
        uid = delivered(bench, image)
        bench.receive(archive_note([image]))
        sweep(bench)
        for question in archive.transaction_uids:  # it has rejected them, and it has lost the note
            answer_all_lost(bench, question)
    (run,) = bench.runs(uid)
    kinds = {row.id: row.kind for row in bench.results(run)}
    states = {(kinds[row.result_id] == "rejection_note", row.state) for row in bench.deliveries(run)}
    assert states == {(False, "rejected"), (True, "pending")}


def answer_all_lost(bench: Bench, transaction_uid: str) -> None:
    with bench.sessions.begin() as session:
        asked = session.scalars(
            select(StorageCommitment).where(StorageCommitment.transaction_uid == transaction_uid)
        ).one()
        failed = dict.fromkeys(asked.objects, 0x0112)
        assert note_answer(session, CommitmentAnswer(transaction_uid, frozenset(), failed), bench.settings, "listener")


def test_results_of_ours_that_an_archive_rejects_are_left_alone_there_and_rejected_elsewhere(
    make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path, pacs: StandInPacs
) -> None:
    write_test_bundle(tmp_path / "bundle")
    with running_pacs("SECOND") as second:
        peers = [("pacs", pacs), ("second", second)]
        destinations = [
            {"name": name, "ae_title": peer.ae_title, "host": "127.0.0.1", "port": peer.port} for name, peer in peers
        ]
        bench = Bench(make_settings(bundles={"default": tmp_path / "bundle"}, destinations=destinations), sessions)
        uid = delivered(bench, chest_radiograph())
        (report,) = [a.dataset for a in pacs.stored if a.dataset.Modality == "SR"]
        bench.receive(archive_note([report]), calling_ae_title="PACS")
        sweep(bench)
        assert notes(pacs) == []
        assert [named(note) for note in notes(second)] == [{report.SOPInstanceUID}]
    study = bench.study(uid)
    assert (study.state, study.priority is not None) == ("triaged", True), "a person retracts, not a note about results"
    assert "rejected_elsewhere" in bench.event_kinds(uid)
    with sessions() as session:
        rows = session.execute(
            select(Delivery.destination, Delivery.state)
            .join(Result)
            .where(Result.sop_instance_uid == report.SOPInstanceUID)
        ).all()
    assert {tuple(row) for row in rows} == {("pacs", "superseded"), ("second", "rejected")}


def test_a_held_study_whose_last_image_is_rejected_is_in_doubt_no_longer(make_bench: MakeBench) -> None:
    bench = make_bench()
    one = chest_radiograph(PatientID="ONE")
    two = chest_radiograph(PatientID="TWO", StudyInstanceUID=one.StudyInstanceUID)
    uid = bench.receive(one, two)
    bench.receive(archive_note([two], "113038"))
    sweep(bench)
    assert bench.study(uid).state == "held"
    bench.receive(archive_note([one], "113038"))
    sweep(bench)
    say_why_not(bench, uid)
    assert (bench.study(uid).state, bench.study(uid).reason_code) == ("not_analysed", "rejected")


def test_a_note_that_cannot_be_read_is_left_to_a_person_and_holds_up_no_other(make_bench: MakeBench) -> None:
    bench = make_bench()
    broken, image = chest_radiograph(), chest_radiograph()
    uid = delivered(bench, image)
    bench.receive(archive_note([broken]))
    with bench.sessions() as session:
        (path,) = session.scalars(select(Instance.path).where(Instance.sop_class_uid.endswith(".88.59")))
    bench.workplace.instances.open_path(path).write_bytes(b"no DICOM at all" * 20)
    bench.receive(archive_note([image]))
    sweep(bench)
    with bench.sessions() as session:
        kinds = list(session.scalars(select(Event.kind).where(Event.kind.startswith("rejection_note_"))))
    assert sorted(kinds) == ["rejection_note_applied", "rejection_note_unmatched"]
    with bench.sessions() as session:
        wanted = read_overview(session, bench.settings, database_now(session)).attention
    assert [broken.StudyInstanceUID in item.sentence for item in wanted if "rejection note" in item.sentence] == [True]
    assert bench.study(uid).priority is None
