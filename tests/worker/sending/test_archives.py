"""A real Orthanc that is away and comes back; dcmtk's storescp that knows only older report classes."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from benches import Bench
from bundles import FLAGGED, write_test_bundle
from factories import chest_radiograph
from orthanc import Orthanc, StartHospital, need
from pydicom.uid import ComprehensiveSRStorage, EnhancedSRStorage, SecondaryCaptureImageStorage
from services import free_port, wait_for_port
from sites import Site, event_kinds, send_study, wait_until
from sqlalchemy import select

from dicom_io.foundation.peer import Peer
from worker.rows.database import open_engine, session_factory
from worker.rows.delivery_tables import Delivery
from worker.rows.run_tables import Result, Run
from worker.sending.delivery import deliver
from worker.settings.config import Settings

pytestmark = pytest.mark.timeout(600)
OBJECTS = 1 + len(FLAGGED)
OPEN = {"accept_unknown_sources": True}
OLDER_ARCHIVE = """
[[TransferSyntaxes]]
[Uncompressed]
TransferSyntax1 = LittleEndianExplicit
TransferSyntax2 = LittleEndianImplicit
[[PresentationContexts]]
[WithComprehensive]
PresentationContext1 = SecondaryCaptureImageStorage\\Uncompressed
PresentationContext2 = ComprehensiveSRStorage\\Uncompressed
PresentationContext3 = EnhancedSRStorage\\Uncompressed
[OnlyEnhanced]
PresentationContext1 = SecondaryCaptureImageStorage\\Uncompressed
PresentationContext2 = EnhancedSRStorage\\Uncompressed
[[Profiles]]
[Comprehensive]
PresentationContexts = WithComprehensive
[Enhanced]
PresentationContexts = OnlyEnhanced
"""


def in_order_of_arrival(orthanc: Orthanc, study_instance_uid: str) -> list[str]:
    """Return the SOP Instance UIDs of our objects in the order in which Orthanc took them."""
    changes = orthanc.call("/changes?limit=1000")["Changes"]
    arrived = [change["ID"] for change in changes if change["ChangeType"] == "NewInstance"]
    ours = sorted(orthanc.results(study_instance_uid), key=arrived.index)
    return [str(orthanc.tag(instance, "SOPInstanceUID")) for instance in ours]


def deliveries(site: Site, study_instance_uid: str) -> list[tuple[Delivery, str]]:
    """Return the outbox rows of the study, oldest first, each with the object's SOP Instance UID."""
    with site.session() as session:
        query = select(Delivery, Result.sop_instance_uid).join(Result).join(Run)
        rows = session.execute(query.where(Run.study_instance_uid == study_instance_uid).order_by(Delivery.id))
        return [(delivery, uid) for delivery, uid in rows]


@pytest.mark.parametrize("seconds", [4, pytest.param(120, marks=pytest.mark.slow)])
def test_while_orthanc_is_away_nothing_is_lost_and_what_waited_arrives_in_order_and_once(
    start_hospital: StartHospital, tmp_path: Path, seconds: float
) -> None:
    orthanc, site = start_hospital("", **OPEN)
    before = send_study(site, tmp_path)
    site.wait_for_delivery(before, "sent")
    orthanc.stop()
    stopped = time.monotonic()
    studies = [send_study(site, tmp_path) for _ in range(3)]
    for uid in studies:
        site.wait_for_state(uid, "triaged")
    time.sleep(max(0.0, seconds - (time.monotonic() - stopped)))
    wait_until(lambda: any(row.attempts > 1 for uid in studies for row, _ in deliveries(site, uid)), "tried again")
    assert all(row.state == "pending" for uid in studies for row, _ in deliveries(site, uid))
    assert sum(any(row.attempts > 2 for row, _ in deliveries(site, uid)) for uid in studies) <= 1, "one tries for all"
    orthanc.start()
    for uid in studies:
        site.wait_for_delivery(uid, "sent")
        assert in_order_of_arrival(orthanc, uid) == [sop_instance_uid for _, sop_instance_uid in deliveries(site, uid)]
        assert event_kinds(site, uid).count("delivery_delayed") in (0, OBJECTS), "one event per result, not per try"
    assert len(orthanc.results(before)) == OBJECTS
    assert orthanc.call("/statistics")["CountInstances"] == 4 * OBJECTS


@contextmanager
def storescp(folder: Path, profile: str) -> Iterator[Peer]:
    """Run dcmtk's storescp as an archive that knows only the classes of the profile."""
    port = free_port()
    configuration = folder / "storescp.cfg"
    configuration.write_text(OLDER_ARCHIVE)
    (folder / "archive").mkdir()
    command = [need("storescp", "dcmtk"), "-xf", str(configuration), profile, "-od", str(folder / "archive"), str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as archive:
        try:
            wait_for_port(port, 20)
            yield Peer("ARCHIVE", "127.0.0.1", port)
        finally:
            archive.terminate()


@pytest.mark.parametrize(
    ("profile", "report_class"), [("Comprehensive", ComprehensiveSRStorage), ("Enhanced", EnhancedSRStorage)]
)
def test_dcmtk_that_refuses_the_newer_report_classes_gets_the_report_in_the_newest_it_knows(
    make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path, profile: str, report_class: str
) -> None:
    engine = open_engine(sqlite_url)
    with storescp(tmp_path, profile) as peer:
        address = {"name": "pacs", "ae_title": peer.ae_title, "host": peer.host, "port": peer.port}
        bundles = {"default": write_test_bundle(tmp_path / "bundle").folder}
        bench = Bench(make_settings(bundles=bundles, destinations=[address]), session_factory(engine))
        study = bench.triage(chest_radiograph())
        deliver(study.study_instance_uid, bench.office)
    kept = [pydicom.dcmread(path, stop_before_pixels=True) for path in (tmp_path / "archive").iterdir()]
    classes = Counter(str(dataset.SOPClassUID) for dataset in kept)
    assert classes == {report_class: 1, SecondaryCaptureImageStorage: len(FLAGGED)}
    states = Counter(row.state for row in bench.deliveries(bench.runs(study.study_instance_uid)[-1]))
    assert states["sent"] == OBJECTS and set(states) == {"sent", "superseded"}
    engine.dispose()
