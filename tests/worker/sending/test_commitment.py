"""Storage commitment between the worker's delivery and a PACS that answers on the association of the request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from benches import Bench
from bundles import write_test_bundle
from committing import Archive, running_archive
from factories import chest_radiograph
from peers import running_pacs
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage, SecondaryCaptureImageStorage
from sqlalchemy import select, update

from dicom_io.services.storage_commitment import CommitmentAnswer
from worker.processes.lost_rings import deliveries_to_ring
from worker.rows.database import SessionFactory, database_now
from worker.rows.delivery_tables import Delivery, StorageCommitment
from worker.rows.run_tables import Run
from worker.rows.states import RunState
from worker.rows.study_tables import Study
from worker.sending.commitment import answer_wait
from worker.sending.commitment_answer import note_answer
from worker.sending.delivery import deliver
from worker.settings.config import Settings
from worker.views.study_summaries import delivery_summaries

pytestmark = pytest.mark.either_database

MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path) -> MakeBench:
    write_test_bundle(tmp_path / "bundle")

    def make(port: int, commitment: bool = True, wait: float = 2.0, **fields: object) -> Bench:
        destination = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port}
        asked = {"storage_commitment": commitment, "commitment_wait_seconds": wait}
        settings = {"destinations": [destination | asked], "delivery_first_retry_seconds": 30.0} | fields
        return Bench(make_settings(bundles={"default": tmp_path / "bundle"}, **settings), sessions)

    return make


@pytest.fixture
def archive() -> Iterator[Archive]:
    with running_archive() as started:
        yield started


def delivered(bench: Bench) -> Study:
    study = bench.triage(chest_radiograph())
    deliver(study.study_instance_uid, bench.office)
    return study


def rows(bench: Bench, study: Study) -> list[Delivery]:
    return bench.deliveries(bench.runs(study.study_instance_uid)[-1])


def states(bench: Bench, study: Study) -> list[str]:
    return [row.state for row in rows(bench, study)]


def summary(bench: Bench, study: Study) -> str:
    run_id = bench.runs(study.study_instance_uid)[-1].id
    with bench.sessions() as session:
        return delivery_summaries(session, [run_id])[run_id].state


def make_due(bench: Bench) -> None:
    """Let the waiting time of every retry, and for every answer, be over."""
    bench.make_due()
    with bench.sessions.begin() as session:
        asked = update(Delivery).where(Delivery.commitment_due_at.is_not(None))
        session.execute(asked.values(commitment_due_at=database_now(session) - timedelta(seconds=1)))


def test_what_the_archive_commits_to_is_delivered(make_bench: MakeBench, archive: Archive) -> None:
    bench = make_bench(archive.pacs.port)
    study = delivered(bench)
    assert states(bench, study) == ["committed"] * 3
    assert all(row.committed_at and row.commitment_due_at is None for row in rows(bench, study))
    (request,) = archive.requests
    asked = {(item.ReferencedSOPInstanceUID, item.ReferencedSOPClassUID) for item in request.ReferencedSOPSequence}
    assert asked == {(arrival.sop_instance_uid, arrival.sop_class_uid) for arrival in archive.pacs.stored}
    archive.wait()
    assert archive.event_statuses == [0x0000]
    kinds = bench.event_kinds(study.study_instance_uid)
    assert (kinds.count("stored"), kinds.count("delivered")) == (3, 3)
    assert summary(bench, study) == "delivered"


def test_stored_alone_is_not_delivered_where_commitment_is_asked_for(make_bench: MakeBench, archive: Archive) -> None:
    archive.answers = False
    bench = make_bench(archive.pacs.port, wait=0.1)
    study = delivered(bench)
    assert states(bench, study) == ["sent"] * 3
    assert summary(bench, study) == "stored"
    assert "delivered" not in bench.event_kinds(study.study_instance_uid)


def test_without_the_option_nobody_is_asked(make_bench: MakeBench, archive: Archive) -> None:
    bench = make_bench(archive.pacs.port, commitment=False)
    study = delivered(bench)
    assert (states(bench, study), archive.requests) == (["sent"] * 3, [])
    assert summary(bench, study) == "delivered"


@pytest.mark.parametrize("reason", [0x0112, 0x0110, 0x0213, 0xC001])
def test_an_object_the_archive_lost_is_sent_again_until_it_is_committed(
    make_bench: MakeBench, archive: Archive, reason: int
) -> None:
    lost: set[str] = set()
    archive.reason = lambda uid: reason if uid in lost else None
    bench = make_bench(archive.pacs.port)
    study = bench.triage(chest_radiograph())
    (run,) = bench.runs(study.study_instance_uid)
    picture = next(result for result in bench.results(run) if result.finding).sop_instance_uid
    lost.add(picture)
    deliver(study.study_instance_uid, bench.office)
    assert sorted(states(bench, study)) == ["committed", "committed", "pending"]
    (waiting,) = [row for row in rows(bench, study) if row.state == "pending"]
    assert waiting.last_status == reason
    assert waiting.next_attempt_at is not None, "sent again at once, without a pause"
    assert "commitment_failed" in bench.event_kinds(study.study_instance_uid)
    lost.clear()
    make_due(bench)
    deliver(study.study_instance_uid, bench.office)
    assert states(bench, study) == ["committed"] * 3
    arrived = [arrival.sop_instance_uid for arrival in archive.pacs.stored]
    assert (len(arrived), arrived.count(picture)) == (4, 2)
    again = archive.requests[-1].ReferencedSOPSequence
    assert [item.ReferencedSOPInstanceUID for item in again] == [picture]
    assert len(set(archive.transaction_uids)) == 2


def state_by_class(bench: Bench, study: Study) -> dict[str, str]:
    (run,) = bench.runs(study.study_instance_uid)
    state_of = {row.result_id: row.state for row in bench.deliveries(run)}
    return {result.sop_class_uid: state_of[result.id] for result in bench.results(run)}


@pytest.mark.parametrize("reason", [0x0119, 0x0122])
def test_a_report_whose_class_is_never_committed_is_sent_in_an_older_one(
    make_bench: MakeBench, archive: Archive, reason: int
) -> None:
    def only_older(sop_instance_uid: str) -> int | None:
        known = {arrival.sop_instance_uid: arrival.sop_class_uid for arrival in archive.pacs.stored}
        return reason if known[sop_instance_uid] == Comprehensive3DSRStorage else None

    archive.reason = only_older
    bench = make_bench(archive.pacs.port)
    study = delivered(bench)
    assert state_by_class(bench, study) == {
        Comprehensive3DSRStorage: "superseded",
        ComprehensiveSRStorage: "committed",
        SecondaryCaptureImageStorage: "committed",
    }
    assert summary(bench, study) == "delivered"


def test_what_the_archive_takes_and_never_keeps_is_refused_after_the_third_time(
    make_bench: MakeBench, archive: Archive
) -> None:
    """A report in every class: each may be the one it keeps."""
    archive.reason = lambda uid: 0x0112
    bench = make_bench(archive.pacs.port)
    study = delivered(bench)
    for _ in range(8):
        make_due(bench)
        deliver(study.study_instance_uid, bench.office)
    assert sorted(states(bench, study)) == ["refused"] * 3 + ["superseded"] * 2
    arrived = Counter(arrival.sop_instance_uid for arrival in archive.pacs.stored)
    assert set(arrived.values()) == {3}
    assert summary(bench, study) == "failed"


def test_a_silent_archive_is_asked_again_and_after_three_times_is_sent_the_objects_again(
    make_bench: MakeBench, archive: Archive
) -> None:
    archive.answers = False
    bench = make_bench(archive.pacs.port, wait=0.0)
    study = delivered(bench)
    deliver(study.study_instance_uid, bench.office)
    assert len(archive.requests) == 1, "asked again before its time"
    for _ in range(2):
        make_due(bench)
        deliver(study.study_instance_uid, bench.office)
    assert len(set(archive.transaction_uids)) == 3
    assert len(archive.pacs.stored) == 3
    assert bench.event_kinds(study.study_instance_uid).count("commitment_unanswered") == 6
    make_due(bench)
    deliver(study.study_instance_uid, bench.office)
    assert set(states(bench, study)) == {"pending"}
    make_due(bench)
    deliver(study.study_instance_uid, bench.office)
    assert len(archive.pacs.stored) == 6
    assert len(archive.requests) == 4


def test_a_late_answer_to_an_earlier_request_counts_unless_the_object_was_sent_again_since(
    make_bench: MakeBench, archive: Archive
) -> None:
    archive.answers = False
    bench = make_bench(archive.pacs.port, wait=0.0)
    study = delivered(bench)
    make_due(bench)
    deliver(study.study_instance_uid, bench.office)
    first, second = archive.requests
    objects = [str(item.ReferencedSOPInstanceUID) for item in first.ReferencedSOPSequence]
    assert heard(bench, CommitmentAnswer(first.TransactionUID, frozenset(objects[:2]), {}))
    assert sorted(states(bench, study)) == ["committed", "committed", "sent"]
    assert heard(bench, CommitmentAnswer(first.TransactionUID, frozenset(objects[:2]), {})), "heard twice"
    with bench.sessions.begin() as session:
        later = database_now(session) + timedelta(seconds=1)
        session.execute(update(Delivery).where(Delivery.state == "sent").values(sent_at=later))
    assert heard(bench, CommitmentAnswer(second.TransactionUID, frozenset(objects), {}))
    assert sorted(states(bench, study)) == ["committed", "committed", "sent"]


def test_an_answer_counts_for_the_objects_it_was_asked_about_at_its_own_destination(
    make_bench: MakeBench, archive: Archive
) -> None:
    archive.answers = False
    bench = make_bench(archive.pacs.port, wait=0.0)
    study, other = delivered(bench), delivered(bench)
    everything = frozenset(arrival.sop_instance_uid for arrival in archive.pacs.stored)
    first = archive.transaction_uids[0]
    with bench.sessions.begin() as session:
        asked = session.scalars(select(StorageCommitment).where(StorageCommitment.transaction_uid == first)).one()
        asked.objects = dict(list(asked.objects.items())[1:])
        due = select(Delivery).where(Delivery.commitment_transaction_uid == first)
        for row in session.scalars(due).all():
            session.add(
                Delivery(result_id=row.result_id, destination="second", state="sent", sent_at=row.sent_at, attempts=1)
            )
    assert heard(bench, CommitmentAnswer(first, everything, {}))
    by_place = Counter((row.destination, row.state) for row in rows(bench, study))
    assert by_place == {("pacs", "committed"): 2, ("pacs", "sent"): 1, ("second", "sent"): 3}
    assert states(bench, other) == ["sent"] * 3
    known = dict.fromkeys(everything, 0x0131)
    make_due(bench)
    assert heard(bench, CommitmentAnswer(archive.transaction_uids[1], frozenset(), known))
    assert states(bench, other) == ["sent"] * 3, "another transaction helps, and not the object once more"
    with bench.sessions() as session:
        assert all(
            row.commitment_due_at and row.commitment_due_at > database_now(session) for row in rows(bench, other)
        )


def test_asking_about_one_study_leaves_what_is_to_be_asked_about_others(
    make_bench: MakeBench, archive: Archive
) -> None:
    archive.answers = False
    bench = make_bench(archive.pacs.port, wait=0.0)
    study, other = delivered(bench), delivered(bench)
    make_due(bench)
    due = [row.commitment_due_at for row in rows(bench, other)]
    archive.request_status = 0x0110
    deliver(study.study_instance_uid, bench.office)
    assert {row.commitment_requests for row in rows(bench, study)} == {2}
    make_due_of(bench, study)
    deliver(study.study_instance_uid, make_bench(archive.pacs.port, commitment=False).office)
    assert {row.commitment_due_at for row in rows(bench, study)} == {None}
    assert [row.commitment_due_at for row in rows(bench, other)] == due


def make_due_of(bench: Bench, study: Study) -> None:
    ids = [row.id for row in rows(bench, study)]
    with bench.sessions.begin() as session:
        past = database_now(session) - timedelta(seconds=1)
        session.execute(update(Delivery).where(Delivery.id.in_(ids)).values(commitment_due_at=past))


def heard(bench: Bench, answer: CommitmentAnswer) -> bool:
    with bench.sessions.begin() as session:
        return note_answer(session, answer, bench.settings, "bench")


def test_an_answer_to_nothing_changes_nothing(make_bench: MakeBench, archive: Archive) -> None:
    archive.answers = False
    bench = make_bench(archive.pacs.port, wait=0.0)
    study = delivered(bench)
    objects = frozenset(arrival.sop_instance_uid for arrival in archive.pacs.stored)
    assert not heard(bench, CommitmentAnswer("2.25.1", objects, {}))
    assert heard(bench, CommitmentAnswer(archive.transaction_uids[0], frozenset({"2.25.2"}), {"2.25.3": 0x0112}))
    assert states(bench, study) == ["sent"] * 3


def test_what_a_later_run_replaced_is_not_sent_again_when_the_archive_lost_it(
    make_bench: MakeBench, archive: Archive
) -> None:
    archive.answers = False
    bench = make_bench(archive.pacs.port, wait=0.0)
    study = delivered(bench)
    with bench.sessions.begin() as session:
        session.execute(update(Run).values(state=RunState.SUPERSEDED))
    (request,) = archive.requests
    lost = {str(item.ReferencedSOPInstanceUID): 0x0112 for item in request.ReferencedSOPSequence}
    assert heard(bench, CommitmentAnswer(request.TransactionUID, frozenset(), lost))
    assert states(bench, study) == ["superseded"] * 3


def test_an_archive_without_the_service_is_asked_again_later_and_the_study_says_so(make_bench: MakeBench) -> None:
    with running_pacs() as plain:
        bench = make_bench(plain.port)
        study = delivered(bench)
        assert states(bench, study) == ["sent"] * 3
        for _ in range(4):
            make_due(bench)
            deliver(study.study_instance_uid, bench.office)
        assert len(plain.stored) == 3, "storing again cannot help"
    assert bench.event_kinds(study.study_instance_uid).count("commitment_delayed") == 1
    with bench.sessions() as session:
        comments = set(session.scalars(select(StorageCommitment.comment)))
    assert comments == {"the peer does not offer storage commitment"}
    assert summary(bench, study) == "stored"


def test_a_refused_request_is_made_again(make_bench: MakeBench, archive: Archive) -> None:
    archive.request_status = 0x0110
    bench = make_bench(archive.pacs.port)
    study = delivered(bench)
    assert states(bench, study) == ["sent"] * 3
    archive.request_status = 0x0000
    make_due(bench)
    deliver(study.study_instance_uid, bench.office)
    assert states(bench, study) == ["committed"] * 3


def test_nobody_is_asked_any_more_where_the_option_was_taken_away(make_bench: MakeBench, archive: Archive) -> None:
    archive.answers = False
    study = delivered(make_bench(archive.pacs.port, wait=0.0))
    bench = make_bench(archive.pacs.port, commitment=False)
    make_due(bench)
    deliver(study.study_instance_uid, bench.office)
    assert len(archive.requests) == 1
    assert {row.commitment_due_at for row in rows(bench, study)} == {None}


def test_the_sweeper_rings_for_what_is_to_be_asked_again(make_bench: MakeBench, archive: Archive) -> None:
    archive.answers = False
    bench = make_bench(archive.pacs.port, wait=0.0)
    study = delivered(bench)
    for due in (False, True):
        with bench.sessions.begin() as session:
            rung = deliveries_to_ring(session, bench.settings)
        assert rung == ([study.study_instance_uid] if due else [])
        make_due(bench)


def test_answers_are_waited_for_longer_each_time_up_to_a_day(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(commitment_answer_seconds=300)
    waits = [answer_wait(requests, settings).total_seconds() for requests in (1, 2, 3, 20, 400)]
    assert waits == [300, 600, 1200, 86400, 86400]
