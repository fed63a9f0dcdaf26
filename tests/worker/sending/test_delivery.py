from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from benches import Bench
from bundles import write_test_bundle
from factories import chest_radiograph
from peers import StandInPacs, running_pacs
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
)
from pynetdicom import events
from receivers import running_receiver
from sqlalchemy import select, update

from dicom_io.results.report_class import report_in_class
from dicom_io.storing.instance_store import InstanceStore, StorageFull, StoredDamaged
from worker.care.requeue import requeue_quietly
from worker.processes.lost_rings import deliveries_to_ring
from worker.rows.database import SessionFactory, database_now
from worker.rows.delivery_tables import Delivery, DestinationOutage
from worker.rows.run_tables import Result
from worker.rows.site_tables import Event
from worker.rows.states import Priority, StudyState
from worker.rows.study_tables import Study
from worker.runs.triage import triage
from worker.sending.delivery import deliver
from worker.sending.older_report import reissue_in_class
from worker.sending.outage import may_try, note_away
from worker.sending.outbox import due_destinations, retry_delay, take_due
from worker.sending.post_office import PostOffice
from worker.settings.config import Settings

pytestmark = pytest.mark.either_database

MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path) -> MakeBench:
    write_test_bundle(tmp_path / "bundle")

    def make(*pacs: StandInPacs, **fields: object) -> Bench:
        destinations = [
            {"name": peer.ae_title.lower(), "ae_title": peer.ae_title, "host": "127.0.0.1", "port": peer.port}
            for peer in pacs
        ]
        return Bench(
            make_settings(
                bundles={"default": tmp_path / "bundle"},
                **{"destinations": destinations, "delivery_first_retry_seconds": 30.0} | fields,
            ),
            sessions,
        )

    return make


def delivered(bench: Bench) -> Study:
    study = bench.triage(chest_radiograph())
    deliver(study.study_instance_uid, bench.office)
    return study


def states(bench: Bench, study: Study) -> list[str]:
    return [delivery.state for delivery in bench.deliveries(bench.runs(study.study_instance_uid)[-1])]


def test_report_and_pictures_arrive_in_one_association_and_their_rows_say_sent(
    make_bench: MakeBench, pacs: StandInPacs
) -> None:
    bench = make_bench(pacs)
    study = delivered(bench)
    assert pacs.associations == 1
    assert sorted(arrival.sop_class_uid for arrival in pacs.stored) == sorted(
        [Comprehensive3DSRStorage, SecondaryCaptureImageStorage, SecondaryCaptureImageStorage]
    )
    assert {arrival.dataset.StudyInstanceUID for arrival in pacs.stored} == {study.study_instance_uid}
    (run,) = bench.runs(study.study_instance_uid)
    for delivery in bench.deliveries(run):
        assert (delivery.state, delivery.last_status, delivery.attempts) == ("sent", 0, 1)
        assert delivery.sent_at is not None
        assert delivery.lease_until is None
    assert bench.event_kinds(study.study_instance_uid).count("delivered") == 3


def test_what_is_sent_is_the_kept_file_byte_for_byte(make_bench: MakeBench, pacs: StandInPacs) -> None:
    bench = make_bench(pacs)
    study = delivered(bench)
    sent = {arrival.sop_instance_uid: arrival.dataset for arrival in pacs.stored}
    kept = {dataset.SOPInstanceUID: dataset for dataset in bench.datasets(bench.runs(study.study_instance_uid)[0])}
    assert sent == kept


def test_ringing_twice_sends_once(make_bench: MakeBench, pacs: StandInPacs) -> None:
    bench = make_bench(pacs)
    study = delivered(bench)
    deliver(study.study_instance_uid, bench.office)
    assert len(pacs.arrivals) == 3


def test_every_destination_gets_its_own_copy_and_a_dead_one_hurts_no_other(
    make_bench: MakeBench, pacs: StandInPacs
) -> None:
    with running_pacs("ARCHIVE") as dead:
        bench = make_bench(dead, pacs)
    study = delivered(bench)
    assert len(pacs.stored) == 3
    by_destination = {
        (delivery.destination, delivery.state) for delivery in bench.deliveries(bench.runs(study.study_instance_uid)[0])
    }
    assert by_destination == {("archive", "pending"), ("pacs", "sent")}


def test_a_destination_may_do_without_pictures(make_bench: MakeBench, pacs: StandInPacs) -> None:
    destination = pacs.destination
    delivered(make_bench(destinations=[destination | {"pictures": "none"}]))
    assert [arrival.sop_class_uid for arrival in pacs.stored] == [Comprehensive3DSRStorage]


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007])
def test_a_warning_is_not_a_failure(make_bench: MakeBench, pacs: StandInPacs, status: int) -> None:
    pacs.status = lambda sop_class_uid, sop_instance_uid: status
    bench = make_bench(pacs)
    study = delivered(bench)
    deliveries = bench.deliveries(bench.runs(study.study_instance_uid)[0])
    assert {(delivery.state, delivery.last_status) for delivery in deliveries} == {("sent", status)}


@pytest.mark.parametrize("status", [0xA700, 0xA7FF, 0x0110])
def test_a_full_archive_is_tried_again_later(make_bench: MakeBench, pacs: StandInPacs, status: int) -> None:
    pacs.status = lambda sop_class_uid, sop_instance_uid: status
    bench = make_bench(pacs)
    study = delivered(bench)
    with bench.sessions() as session:
        now = database_now(session)
    for delivery in bench.deliveries(bench.runs(study.study_instance_uid)[0]):
        assert (delivery.state, delivery.last_status, delivery.attempts) == ("pending", status, 1)
        assert delivery.next_attempt_at is not None
        assert timedelta(seconds=20) < delivery.next_attempt_at - now <= timedelta(seconds=30)
    arrived = len(pacs.arrivals)
    deliver(study.study_instance_uid, bench.office)
    assert len(pacs.arrivals) == arrived, "tried again before its time"
    pacs.status = lambda sop_class_uid, sop_instance_uid: 0x0000
    bench.make_due()
    deliver(study.study_instance_uid, bench.office)
    assert states(bench, study) == ["sent"] * 3


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0xC123, 0x0122])
def test_a_refused_picture_is_visible_and_not_sent_again(make_bench: MakeBench, pacs: StandInPacs, status: int) -> None:
    picture = SecondaryCaptureImageStorage
    pacs.status = lambda sop_class_uid, sop_instance_uid: status if sop_class_uid == picture else 0x0000
    bench = make_bench(pacs)
    study = delivered(bench)
    bench.make_due()
    deliver(study.study_instance_uid, bench.office)
    assert states(bench, study) == ["sent", "refused", "refused"]
    assert len(pacs.arrivals) == 3
    refused = bench.deliveries(bench.runs(study.study_instance_uid)[0])[1]
    assert refused.last_status == status
    assert "delivery_refused" in bench.event_kinds(study.study_instance_uid)


@pytest.mark.parametrize(
    ("accepted", "stored"),
    [
        ([ComprehensiveSRStorage, EnhancedSRStorage], ComprehensiveSRStorage),
        ([EnhancedSRStorage], EnhancedSRStorage),
    ],
)
def test_an_older_archive_gets_the_same_tree_in_an_older_class(
    make_bench: MakeBench, accepted: list[str], stored: str
) -> None:
    with running_pacs(sop_classes=[SecondaryCaptureImageStorage, *accepted]) as old:
        bench = make_bench(old)
        study, other = delivered(bench), delivered(bench)
    reports = [arrival.dataset for arrival in old.stored if arrival.sop_class_uid != SecondaryCaptureImageStorage]
    assert [each.StudyInstanceUID for each in reports] == [study.study_instance_uid, other.study_instance_uid]
    report = reports[0]
    assert report.SOPClassUID == stored
    (run,) = bench.runs(study.study_instance_uid)
    original = bench.datasets(run)[0]
    assert report.ContentSequence == original.ContentSequence
    assert report.SOPInstanceUID != original.SOPInstanceUID
    by_class = {
        result.sop_class_uid: delivery.state
        for result in bench.results(run)
        for delivery in bench.deliveries(run)
        if delivery.result_id == result.id and result.finding is None
    }
    assert by_class[stored] == "sent"
    assert {state for sop_class, state in by_class.items() if sop_class != stored} == {"superseded"}


def test_a_report_that_slips_in_an_older_class_is_never_stored(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slipping(report: Dataset, sop_class_uid: str) -> Dataset:
        made = report_in_class(report, sop_class_uid)
        made.AccessionNumber = "SOMEBODY-ELSES"
        return made

    monkeypatch.setattr("worker.sending.older_report.report_in_class", slipping)
    with running_pacs(sop_classes=[ComprehensiveSRStorage, SecondaryCaptureImageStorage]) as pacs:
        bench = make_bench(pacs)
        study = delivered(bench)
        assert ComprehensiveSRStorage not in {arrival.sop_class_uid for arrival in pacs.arrivals}
    assert sorted(states(bench, study)) == ["failed", "sent", "sent"]
    (failed,) = [row for row in bench.deliveries(bench.runs(study.study_instance_uid)[0]) if row.state == "failed"]
    assert "AccessionNumber" in str(failed.last_comment)
    assert "SOMEBODY" not in str(failed.last_comment)


def test_a_report_for_which_there_is_no_room_in_an_older_class_waits_and_the_pictures_are_noted(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_pacs(sop_classes=[ComprehensiveSRStorage, SecondaryCaptureImageStorage]) as pacs:
        bench = make_bench(pacs)
        study = bench.triage(chest_radiograph())
        with monkeypatch.context() as full:
            full.setattr(InstanceStore, "require_free_space", no_room)
            deliver(study.study_instance_uid, bench.office)
        assert sorted(states(bench, study)) == ["pending", "sent", "sent"]
        (waiting,) = [
            row for row in bench.deliveries(bench.runs(study.study_instance_uid)[0]) if row.state == "pending"
        ]
        assert "the store of results takes nothing" in str(waiting.last_comment)
        assert (waiting.lease_until, waiting.offered) == (None, False)
        bench.make_due()
        deliver(study.study_instance_uid, bench.office)
    assert sorted(states(bench, study)) == ["sent", "sent", "sent", "superseded"]
    assert len(pacs.stored) == 3, "no picture went out twice"


def test_of_a_damaged_report_none_is_made_in_an_older_class(make_bench: MakeBench, pacs: StandInPacs) -> None:
    bench = make_bench(pacs)
    study = bench.triage(chest_radiograph())
    report = bench.results(bench.runs(study.study_instance_uid)[0])[0]
    path = bench.office.results.open_path(report.path)
    content = path.read_bytes()
    said = b"Effusion"
    assert said in content
    path.write_bytes(content.replace(said, b"Illusion"))
    with bench.sessions.begin() as session:
        parcel = next(item for item in take_due(session, study.study_instance_uid, "pacs", bench.settings))
        with pytest.raises(StoredDamaged):
            reissue_in_class(session, parcel, ComprehensiveSRStorage, bench.office.results)


def no_room(store: InstanceStore) -> None:
    raise StorageFull("no room", store.root)


def test_an_archive_without_any_report_class_ends_refused(make_bench: MakeBench) -> None:
    with running_pacs(sop_classes=[SecondaryCaptureImageStorage]) as pictures_only:
        bench = make_bench(pictures_only)
        study = delivered(bench)
    assert sorted(states(bench, study)) == ["refused", "sent", "sent", "superseded", "superseded"]


def test_a_dead_archive_drops_nothing_and_waits_longer_each_time(make_bench: MakeBench, pacs: StandInPacs) -> None:
    pacs.stop()
    bench = make_bench(pacs)
    study = delivered(bench)
    for _ in range(3):
        bench.make_due()
        deliver(study.study_instance_uid, bench.office)
    rows = bench.deliveries(bench.runs(study.study_instance_uid)[0])
    assert {(row.state, row.attempts, row.last_status) for row in rows} == {("pending", 4, None)}
    assert bench.event_kinds(study.study_instance_uid).count("delivery_delayed") == 3, (
        "one event per result, not per try"
    )
    pacs.start()
    bench.make_due()
    deliver(study.study_instance_uid, bench.office)
    assert states(bench, study) == ["sent"] * 3


def test_an_object_over_which_the_archive_aborts_keeps_no_other_from_it(make_bench: MakeBench) -> None:
    """The report goes first; the pictures behind it were withheld with it, each time anew."""

    class AbortingPacs(StandInPacs):
        def _store(self, event: events.Event) -> int:
            if event.request.AffectedSOPClassUID == Comprehensive3DSRStorage:
                event.assoc.abort()
            return super()._store(event)

    pacs = AbortingPacs()
    pacs.start()
    try:
        bench = make_bench(pacs, delivery_first_retry_seconds=0.2)
        study = delivered(bench)
        until = time.monotonic() + 8.0
        while sorted(states(bench, study)) != ["pending", "sent", "sent"] and time.monotonic() < until:
            deliver(study.study_instance_uid, bench.office)
            time.sleep(0.05)
        assert sorted(states(bench, study)) == ["pending", "sent", "sent"]
    finally:
        pacs.stop()


def test_after_an_outage_the_most_urgent_study_goes_first_then_the_oldest(
    make_bench: MakeBench, pacs: StandInPacs
) -> None:
    bench = make_bench(pacs)
    uids = [bench.triage(chest_radiograph()).study_instance_uid for _ in range(4)]
    levels = dict(zip(uids, (Priority.ROUTINE, Priority.URGENT, Priority.STAT, Priority.STAT), strict=True))
    with bench.sessions.begin() as session:
        for uid, level in levels.items():
            session.get_one(Study, uid).priority = level
        session.execute(update(Delivery).values(rung_at=None))
        assert deliveries_to_ring(session, bench.settings) == [uids[2], uids[3], uids[1], uids[0]]


def rung_for(bench: Bench) -> list[str]:
    with bench.sessions.begin() as session:
        return deliveries_to_ring(session, bench.settings)


def attempts(bench: Bench, uids: list[str]) -> list[int]:
    return [max(row.attempts for row in bench.deliveries(bench.runs(uid)[0])) for uid in uids]


def test_while_an_archive_is_away_one_study_tries_it_and_the_others_go_as_soon_as_it_answers(
    make_bench: MakeBench, pacs: StandInPacs
) -> None:
    pacs.stop()
    bench = make_bench(pacs)
    uids = [bench.triage(chest_radiograph()).study_instance_uid for _ in range(4)]
    with bench.sessions.begin() as session:
        session.execute(update(Study).values(priority=Priority.ROUTINE))
        session.get_one(Study, uids[2]).priority = Priority.STAT
    for uid in uids:
        deliver(uid, bench.office)
    assert attempts(bench, uids) == [1, 0, 0, 0], "the first one finds out for all"
    assert rung_for(bench) == []
    for number in (1, 2):
        bench.make_due()
        assert rung_for(bench) == [uids[2]], "the most urgent, nobody else"
        for uid in (uids[2], *uids):
            deliver(uid, bench.office)
        assert attempts(bench, uids) == [1, 0, number, 0]
    pacs.start()
    bench.make_due()
    deliver(uids[2], bench.office)
    assert len(pacs.stored) == 3
    assert set(rung_for(bench)) == {uids[0], uids[1], uids[3]}, "at once, whenever they were rung for last"
    for uid in uids:
        deliver(uid, bench.office)
    assert len(pacs.stored) == 12
    with bench.sessions() as session:
        kinds = session.scalars(select(Event.kind).where(Event.kind.startswith("destination")).order_by(Event.id)).all()
        assert session.scalars(select(DestinationOutage)).all() == []
    assert kinds == ["destination_away", "destination_back"]


def test_nobody_else_tries_an_archive_that_is_away_while_somebody_does(
    make_bench: MakeBench, pacs: StandInPacs
) -> None:
    pacs.stop()
    bench = make_bench(pacs, acse_timeout_seconds=30.0)
    delivered(bench)

    def next_attempt_in() -> timedelta:
        with bench.sessions() as session:
            return session.scalars(select(DestinationOutage)).one().next_attempt_at - database_now(session)

    assert timedelta(seconds=5) < next_attempt_in() <= timedelta(seconds=15)
    bench.make_due()
    with bench.sessions.begin() as session:
        assert may_try(session, "pacs", bench.settings)
        assert not may_try(session, "pacs", bench.settings)
    assert next_attempt_in() > timedelta(seconds=30), "as long as an attempt may take"
    with bench.sessions.begin() as session:
        note_away(session, "pacs", "bench:1", bench.settings)
    assert timedelta(seconds=5) < next_attempt_in() <= timedelta(seconds=15), "it has ended"


def test_an_archive_that_is_full_is_not_away_and_each_study_waits_by_itself(
    make_bench: MakeBench, pacs: StandInPacs
) -> None:
    pacs.status = lambda sop_class_uid, sop_instance_uid: 0xA700
    bench = make_bench(pacs)
    uids = [delivered(bench).study_instance_uid for _ in range(2)]
    assert attempts(bench, uids) == [1, 1]


def test_what_waits_for_a_destination_that_is_not_configured_any_more_does_not_wait_for_its_answer(
    make_bench: MakeBench, pacs: StandInPacs
) -> None:
    pacs.stop()
    bench = make_bench(pacs)
    studies = [delivered(bench) for _ in range(2)]
    bench = Bench(bench.settings.model_copy(update={"destinations": ()}), bench.sessions)
    bench.make_due()
    for study in (*studies, studies[0]):
        deliver(study.study_instance_uid, bench.office)
    assert [states(bench, study) for study in studies] == [["failed"] * 3] * 2


def test_waits_double_from_the_first_to_the_longest(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(delivery_first_retry_seconds=1, delivery_longest_retry_seconds=300)
    waits = [retry_delay(attempts, settings).total_seconds() for attempts in (1, 2, 3, 9, 10, 500)]
    assert waits == [1, 2, 4, 256, 300, 300]
    away = [retry_delay(attempts, settings, unreachable=True).total_seconds() for attempts in (1, 4, 5, 500)]
    assert away == [1, 8, 15, 15]


def test_a_held_study_sends_nothing_until_it_is_released(make_bench: MakeBench, pacs: StandInPacs) -> None:
    bench = make_bench(pacs)
    study = bench.triage(chest_radiograph())
    for state, arrived in ((StudyState.HELD, 0), (StudyState.TRIAGED, 3)):
        with bench.sessions.begin() as session:
            session.get_one(Study, study.study_instance_uid).state = state
        deliver(study.study_instance_uid, bench.office)
        assert len(pacs.arrivals) == arrived


def test_a_parcel_in_hand_is_left_to_who_has_it_until_the_lease_lapses(
    make_bench: MakeBench, pacs: StandInPacs
) -> None:
    bench = make_bench(pacs)
    study = bench.triage(chest_radiograph())
    with bench.sessions.begin() as session:
        assert len(take_due(session, study.study_instance_uid, "pacs", bench.settings)) == 3
    deliver(study.study_instance_uid, bench.office)
    assert pacs.arrivals == []
    with bench.sessions.begin() as session:  # its holder was killed and the lease lapsed
        session.execute(update(Delivery).values(lease_until=database_now(session) - timedelta(seconds=1)))
    deliver(study.study_instance_uid, bench.office)
    assert states(bench, study) == ["sent"] * 3
    assert {delivery.attempts for delivery in bench.deliveries(bench.runs(study.study_instance_uid)[0])} == {2}


def test_a_slow_archive_does_not_lose_the_lease(make_bench: MakeBench, pacs: StandInPacs) -> None:
    pacs.delay_seconds = 0.5
    bench = make_bench(pacs, lease_seconds=0.6, lease_renewal_seconds=0.1)
    study = delivered(bench)
    assert states(bench, study) == ["sent"] * 3
    assert len(pacs.arrivals) == 3


DAMAGES = [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-2])]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_missing_or_damaged_file_is_a_visible_failure_and_the_others_go(
    make_bench: MakeBench, pacs: StandInPacs, damage: Callable[[Path], object]
) -> None:
    bench = make_bench(pacs)
    study = bench.triage(chest_radiograph())
    (run,) = bench.runs(study.study_instance_uid)
    damage(bench.office.results.open_path(bench.results(run)[1].path))
    deliver(study.study_instance_uid, bench.office)
    assert states(bench, study) == ["sent", "failed", "sent"]
    assert "delivery_failed" in bench.event_kinds(study.study_instance_uid)


def test_while_the_disk_of_results_is_not_mounted_results_wait(make_bench: MakeBench, pacs: StandInPacs) -> None:
    bench = make_bench(pacs)
    study = bench.triage(chest_radiograph())
    mounted, elsewhere = bench.settings.results_dir, bench.settings.data_dir / "not mounted"
    mounted.rename(elsewhere)
    mounted.mkdir()
    deliver(study.study_instance_uid, bench.office)
    assert states(bench, study) == ["pending"] * 3
    (run,) = bench.runs(study.study_instance_uid)
    assert {row.last_comment for row in bench.deliveries(run)} == {
        "the folder of results is empty, or another user's; mount its disk, or look whose it is"
    }
    mounted.rmdir()
    elsewhere.rename(mounted)
    bench.make_due()
    deliver(study.study_instance_uid, bench.office)
    assert states(bench, study) == ["sent"] * 3


def requeue(bench: Bench, uid: str) -> None:
    with bench.sessions.begin() as session:
        requeue_quietly(session, bench.workplace.instances, bench.settings, uid, "ann")
    triage(uid, bench.workplace)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("lost", "looks_again"), [(0, False), (1, True)], ids=["report", "picture"])
@pytest.mark.parametrize("delivered_first", [False, True])
def test_a_requeue_makes_results_again_whose_files_were_lost_and_they_are_delivered(
    make_bench: MakeBench,
    pacs: StandInPacs,
    damage: Callable[[Path], object],
    lost: int,
    looks_again: bool,
    delivered_first: bool,
) -> None:
    bench = make_bench(pacs)
    study = bench.triage(chest_radiograph())
    uid = study.study_instance_uid
    if delivered_first:
        deliver(uid, bench.office)
    damage(bench.office.results.open_path(bench.results(bench.runs(uid)[0])[lost].path))
    deliver(uid, bench.office)
    requeue(bench, uid)
    deliver(uid, bench.office)
    old, new = bench.runs(uid)
    assert (old.state, new.outcome, states(bench, study)) == ("superseded", "triaged", ["sent"] * 3)
    assert ("classify" in new.timings_seconds) is looks_again, "what was drawn is kept where it is intact"
    assert {row.state for row in bench.deliveries(old)} <= {"sent", "superseded"}
    (report,) = (dataset for dataset in bench.datasets(new) if dataset.Modality == "SR")
    assert "files of the earlier results were lost" in [
        str(element.value).partition(": ")[2] for element in report.iterall() if element.keyword == "TextValue"
    ]
    requeue(bench, uid)
    deliver(uid, bench.office)
    assert bench.runs(uid)[-1].outcome == "unchanged", "once is enough"
    sent = [str(arrival.sop_instance_uid) for arrival in pacs.arrivals]
    assert len(sent) == len(set(sent))


def test_a_copy_that_comes_again_heals_what_could_not_be_delivered_and_reads_no_other_file(
    make_bench: MakeBench, pacs: StandInPacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(pacs)
    image = chest_radiograph()
    study = bench.triage(image)
    uid = study.study_instance_uid
    results = bench.results(bench.runs(uid)[0])
    bench.office.results.open_path(results[1].path).unlink()
    deliver(uid, bench.office)
    assert states(bench, study) == ["sent", "failed", "sent"]
    image.ImageComments = "sent again"
    bench.triage(image)
    deliver(uid, bench.office)
    assert states(bench, study) == ["sent"] * 3

    def read(*_arguments: object) -> Path:
        raise AssertionError("nothing had failed: no result is read")

    monkeypatch.setattr(InstanceStore, "open_intact", read)
    bench.office.results.open_path(bench.results(bench.runs(uid)[-1])[1].path).unlink()
    image.ImageComments = "and again"
    bench.triage(image)
    assert bench.runs(uid)[-1].outcome == "unchanged"


def another_patient(bench: Bench, study: Study) -> None:
    """Make the study somebody else's behind everybody's back."""
    with bench.sessions.begin() as session:
        session.get_one(Study, study.study_instance_uid).patient_id = "SOMEBODY-ELSE"


def files_of_another_study(bench: Bench, study: Study) -> None:
    """Let the rows point at the intact files of another patient's study."""
    other = bench.triage(chest_radiograph(PatientID="SOMEBODY-ELSE"))
    theirs = bench.results(bench.runs(other.study_instance_uid)[0])
    with bench.sessions.begin() as session:
        for result, wrong in zip(bench.results(bench.runs(study.study_instance_uid)[0]), theirs, strict=True):
            row = session.get_one(Result, result.id)
            row.path, row.sha256 = wrong.path, wrong.sha256


@pytest.mark.parametrize("sabotage", [another_patient, files_of_another_study])
def test_what_contradicts_its_study_does_not_leave_whoever_made_it_so(
    make_bench: MakeBench, pacs: StandInPacs, sabotage: Callable[[Bench, Study], None]
) -> None:
    with running_receiver() as ris:
        receiver = {"name": "ris", "host": "127.0.0.1", "port": ris.port}
        bench = make_bench(pacs, hl7_destinations=[receiver])
        study = bench.triage(chest_radiograph())
        sabotage(bench, study)
        deliver(study.study_instance_uid, bench.office)
        assert (pacs.arrivals, ris.messages) == ([], [])
    assert states(bench, study) == ["failed"] * 4
    comments = {row.last_comment for row in bench.deliveries(bench.runs(study.study_instance_uid)[0])}
    assert all("contradicts its study in" in str(comment) for comment in comments)
    assert "SOMEBODY" not in str(comments)


def test_a_destination_that_is_no_longer_configured_ends_visibly(make_bench: MakeBench, pacs: StandInPacs) -> None:
    bench = make_bench(pacs)
    study = bench.triage(chest_radiograph())
    without = bench.settings.model_copy(update={"destinations": ()})
    deliver(study.study_instance_uid, PostOffice(without, bench.sessions, bench.office.results, "bench:2"))
    assert states(bench, study) == ["failed"] * 3
    with bench.sessions.begin() as session:
        assert due_destinations(session, study.study_instance_uid, database_now(session)) == set()
