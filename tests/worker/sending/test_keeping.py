"""Deliveries over an association that stays open: what the rows say, whatever the archive does meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benches import Bench
from bundles import write_test_bundle
from factories import chest_radiograph
from peers import WatchedPacs, watched_pacs
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    ComputedRadiographyImageStorage,
    SecondaryCaptureImageStorage,
)
from pynetdicom import evt
from pynetdicom.events import Event
from sites import wait_until

from dicom_io.associations.keeper import AssociationKeeper
from worker.rows.database import SessionFactory
from worker.rows.delivery_tables import Delivery
from worker.sending.delivery import deliver
from worker.settings.config import Settings

pytestmark = pytest.mark.either_database
MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path) -> Iterator[MakeBench]:
    """Maker of a bench whose one destination is this archive, as a delivery worker opens its post office."""
    keeper = AssociationKeeper()

    def make(pacs: WatchedPacs, **destination: Any) -> Bench:
        address = pacs.destination
        bundles = {"default": write_test_bundle(tmp_path / "bundle").folder}
        settings = make_settings(
            bundles=bundles,
            destinations=[address | {"keep_open_seconds": 30.0} | destination],
            delivery_first_retry_seconds=30.0,
        )
        bench = Bench(settings, sessions)
        bench.office = replace(bench.office, keeper=keeper)
        return bench

    yield make
    keeper.release_all()


@pytest.fixture
def pacs() -> Iterator[WatchedPacs]:
    with watched_pacs() as started:
        yield started


def delivered(bench: Bench) -> str:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    deliver(uid, bench.office)
    return uid


def rows(bench: Bench, uid: str) -> list[Delivery]:
    return [row for run in bench.runs(uid) for row in bench.deliveries(run)]


def test_every_kind_of_object_of_two_studies_goes_over_one_association(
    make_bench: MakeBench, pacs: WatchedPacs
) -> None:
    bench = make_bench(pacs, pictures="sc+gsps", summary_capture=True)
    states = {row.state for _ in range(2) for row in rows(bench, delivered(bench))}
    assert (states, pacs.associations) == ({"sent"}, 1)
    assert len({arrival.sop_class_uid for arrival in pacs.stored}) == 3


def test_the_older_class_of_a_refused_report_takes_the_same_association(make_bench: MakeBench) -> None:
    pacs = WatchedPacs(sop_classes=[ComprehensiveSRStorage, SecondaryCaptureImageStorage])
    pacs.start()
    try:
        bench = make_bench(pacs)
        states = sorted(row.state for row in rows(bench, delivered(bench)))
        assert (states, pacs.associations) == (["sent", "sent", "sent", "superseded"], 1)
        assert Comprehensive3DSRStorage not in {arrival.sop_class_uid for arrival in pacs.arrivals}
    finally:
        pacs.stop()


def test_an_archive_that_takes_nothing_at_all_has_refused(make_bench: MakeBench) -> None:
    pacs = WatchedPacs(sop_classes=[ComputedRadiographyImageStorage])
    pacs.start()
    try:
        bench = make_bench(pacs)
        states = sorted(row.state for row in rows(bench, delivered(bench)))
        assert states == ["refused", "refused", "refused", "superseded", "superseded"]
    finally:
        pacs.stop()


def test_rows_of_an_archive_that_died_say_that_it_may_have_what_it_did_not_answer(
    make_bench: MakeBench, pacs: WatchedPacs
) -> None:
    bench = make_bench(pacs)
    delivered(bench)
    (kept,) = pacs.open
    arrived: list[str] = []

    def die(event: Event) -> int:
        arrived.append(str(event.request.AffectedSOPInstanceUID))
        pacs._ae._servers[0].server_close()
        event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        return 0

    kept.bind(evt.EVT_C_STORE, die)
    uid = delivered(bench)
    results = {result.id: result.sop_instance_uid for run in bench.runs(uid) for result in bench.results(run)}
    offered = {results[row.result_id] for row in rows(bench, uid) if row.offered}
    assert offered == set(arrived)
    assert {(row.state, row.unreachable, row.attempts) for row in rows(bench, uid)} == {("pending", True, 1)}


@pytest.mark.parametrize("destination", [{"storage_commitment": True}, {"keep_open_seconds": 0}])
def test_an_archive_that_is_asked_to_commit_or_is_told_so_has_no_second_association(
    make_bench: MakeBench, pacs: WatchedPacs, destination: dict[str, Any]
) -> None:
    bench = make_bench(pacs, **destination)
    delivered(bench)
    wait_until(lambda: not pacs.open, "end of every association", 3)
    assert pacs.most_open == 1
