"""Delivery into a real Orthanc: storage commitment over its own association, lost objects, a refused class, outages."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from bundles import FLAGGED
from orthanc import StartHospital
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage, SecondaryCaptureImageStorage
from services import free_port
from sites import Site, event_kinds, send_study, wait_until
from sqlalchemy import select

from worker.rows.delivery_tables import Delivery

pytestmark = pytest.mark.timeout(400)
OBJECTS = 1 + len(FLAGGED)
COMMITMENT = {"storage_commitment": True, "commitment_wait_seconds": 1.0}
NO_SCRIPT = ""
DROPS_COMPREHENSIVE_3D = """
function ReceivedInstanceFilter(dicom, origin)
  return dicom['SOPClassUID'] ~= '1.2.840.10008.5.1.4.1.1.88.34'
end
"""
"""Orthanc answers 0x0000 to what it filters out, and keeps nothing."""


OPEN = {"accept_unknown_sources": True}


def test_orthanc_commits_over_an_association_of_its_own(start_hospital: StartHospital, tmp_path: Path) -> None:
    orthanc, site = start_hospital(NO_SCRIPT, COMMITMENT, **OPEN)
    uid = send_study(site, tmp_path)
    site.wait_for_delivery(uid, "committed")
    assert len(orthanc.results(uid)) == OBJECTS
    kinds = event_kinds(site, uid)
    assert (kinds.count("stored"), kinds.count("delivered")) == (OBJECTS, OBJECTS)


def test_what_was_deleted_in_orthanc_before_it_committed_is_sent_again(
    start_hospital: StartHospital, tmp_path: Path
) -> None:
    orthanc, site = start_hospital(NO_SCRIPT, COMMITMENT, commitment_answer_seconds=4.0, **OPEN)
    orthanc.know_worker(free_port())  # so that its first answers are lost
    uid = send_study(site, tmp_path)
    wait_until(lambda: len(orthanc.results(uid)) == OBJECTS, "results in the archive")
    site.wait_for_delivery(uid, "sent")
    deleted = next(result for result in orthanc.results(uid) if orthanc.tag(result, "Modality") == "OT")
    deleted_uid = orthanc.tag(deleted, "SOPInstanceUID")
    orthanc.delete(deleted)
    orthanc.know_worker(site.settings.listen_port)
    site.wait_for_delivery(uid, "committed")
    found = {orthanc.tag(result, "SOPInstanceUID") for result in orthanc.results(uid)}
    assert deleted_uid in found
    assert found == {result.sop_instance_uid for result in site.current_results(uid)}
    kinds = event_kinds(site, uid)
    assert kinds.count("commitment_failed") == 1
    assert "commitment_unanswered" in kinds


def test_orthanc_that_keeps_no_comprehensive_3d_gets_the_report_in_an_older_class(
    start_hospital: StartHospital, tmp_path: Path
) -> None:
    """It says 0x0000 to the object and drops it; only the question whether it keeps it tells."""
    orthanc, site = start_hospital(DROPS_COMPREHENSIVE_3D, COMMITMENT, **OPEN)
    uid = send_study(site, tmp_path)
    wait_until(lambda: len(orthanc.results(uid)) == OBJECTS, "results in the archive")
    classes = [
        str(pydicom.dcmread(orthanc.file(result, tmp_path), stop_before_pixels=True).SOPClassUID)
        for result in orthanc.results(uid)
    ]
    assert sorted(classes) == sorted([ComprehensiveSRStorage, *[SecondaryCaptureImageStorage] * len(FLAGGED)])
    site.wait_for_delivery(uid, "committed", "superseded")
    superseded = [
        result.sop_class_uid
        for result in site.current_results(uid)
        if delivery_of(site, result.id).state == "superseded"
    ]
    assert superseded == [Comprehensive3DSRStorage]


def delivery_of(site: Site, result_id: int) -> Delivery:
    with site.session() as session:
        return session.scalars(select(Delivery).where(Delivery.result_id == result_id)).one()
