"""A real Orthanc as PACS that routes images to us and takes our results, and dcmtk's storescu with a mixed folder."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from bundles import FLAGGED, write_test_bundle
from factories import chest_radiograph, write_dicom
from orthanc import CLOSED, EVERYTHING, ONLY_IMAGES, Orthanc, StartHospital, need, real_radiograph
from PIL import Image
from pydicom.uid import ComprehensiveSRStorage, EncapsulatedPDFStorage, UltrasoundImageStorage, generate_uid
from services import free_port
from sites import QUICK, Site, wait_until
from validators import dcentvfy_errors, dciodvfy_errors, dsrdump, pixelmed_complaints

from dicom_io.data_sets.stamp import radiograph_from_pixels
from worker.settings.config import DEFAULT_BUNDLE, Settings

pytestmark = pytest.mark.timeout(400)
OBJECTS = 1 + len(FLAGGED)


@pytest.fixture
def lone_site(make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path) -> Iterator[Site]:
    """A running site without a PACS that knows one modality."""
    settings = make_settings(
        database_url=sqlite_url,
        listen_port=free_port(),
        bundles={"default": write_test_bundle(tmp_path / "bundle").folder},
        sources=[{"ae_title": "STORESCU"}],
        **CLOSED,
    )
    site = Site(settings, tmp_path / "log.txt")
    try:
        site.start_listening()
        yield site
    finally:
        site.stop()


def drawn_radiograph(folder: Path) -> Path:
    return write_dicom(chest_radiograph(), folder / "drawn.dcm")


@pytest.mark.parametrize(
    "route",
    [
        pytest.param(ONLY_IMAGES, id="routes images"),
        pytest.param(EVERYTHING, id="routes everything", marks=pytest.mark.slow),
    ],
)
def test_pushed_into_orthanc_report_and_pictures_appear_in_the_same_study_once(
    start_hospital: StartHospital, tmp_path: Path, route: str
) -> None:
    orthanc, site = start_hospital(route)
    for source in (drawn_radiograph(tmp_path), real_radiograph("RG1_UNCR.dcm", tmp_path)):
        uid = str(pydicom.dcmread(source, stop_before_pixels=True).StudyInstanceUID)
        instance = orthanc.push(source)
        wait_until(lambda uid=uid: len(orthanc.results(uid)) == OBJECTS, f"results of {uid} in the archive")
        orthanc.push(source)
        orthanc.call("/modalities/CXRAI/store", instance.encode())
        site.wait_for_delivery(uid, "sent")
        results = orthanc.results(uid)
        assert sorted(orthanc.tag(result, "Modality") for result in results) == ["OT"] * len(FLAGGED) + ["SR"]
        assert len(site.runs(uid)) == 1
        for result in results:
            _require_valid(source, orthanc.file(result, tmp_path))
    (report,) = [result for result in results if orthanc.tag(result, "Modality") == "SR"]
    assert pixelmed_complaints(orthanc.file(report, tmp_path)) == []  # of one, for it takes many seconds


def _require_valid(source: Path, result: Path) -> None:
    assert dciodvfy_errors(result) == []
    assert dcentvfy_errors(source, result) == []
    if pydicom.dcmread(result, stop_before_pixels=True).Modality == "SR":
        assert "Imaging Measurement Report" in dsrdump(result)


@pytest.mark.slow  # its bar is for a machine that does nothing else
def test_the_demonstration_bundle_answers_into_the_archive_within_ten_seconds(
    start_hospital: StartHospital, tmp_path: Path
) -> None:
    orthanc, site = start_hospital(
        ONLY_IMAGES,
        bundles={"default": DEFAULT_BUNDLE},
        allow_demonstration_bundle=True,
        **{name: Settings.model_fields[name].default for name in QUICK if name != "minimum_free_bytes"},  # as on a site
    )
    with Image.open(DEFAULT_BUNDLE / "golden" / "pneumothorax.png") as drawing:
        phantom = radiograph_from_pixels(
            np.asarray(drawing), study_datetime=datetime.now(), patient_id="P1", patient_name="Phantom"
        )
    phantom.save_as(tmp_path / "phantom.dcm", enforce_file_format=True)
    for source in (tmp_path / "phantom.dcm", real_radiograph("RG1_UNCR.dcm", tmp_path)):
        uid = str(pydicom.dcmread(source, stop_before_pixels=True).StudyInstanceUID)
        pushed = time.monotonic()
        orthanc.push(source)
        wait_until(lambda uid=uid: "SR" in modalities(orthanc, uid), f"report of {uid} in the archive")
        site.wait_for_delivery(uid, "sent")
        assert time.monotonic() - pushed < 10.0
        expected = {result.sop_instance_uid for result in site.current_results(uid)}
        assert {orthanc.tag(result, "SOPInstanceUID") for result in orthanc.results(uid)} == expected
    study = site.study(str(phantom.StudyInstanceUID))
    assert study is not None
    assert study.priority == "STAT"
    assert modalities(orthanc, str(phantom.StudyInstanceUID)) == ["OT", "SR"]


def modalities(orthanc: Orthanc, study_instance_uid: str) -> list[str]:
    """Return the modality of each object of ours in the study, sorted."""
    return sorted(orthanc.tag(result, "Modality") for result in orthanc.results(study_instance_uid))


@pytest.mark.slow
def test_the_projects_validation_script_accepts_what_lies_in_the_archive(
    start_hospital: StartHospital, shared: Path, tmp_path: Path
) -> None:
    orthanc, _site = start_hospital(ONLY_IMAGES)
    source = real_radiograph("RG1_J2KR.dcm", tmp_path)
    uid = str(pydicom.dcmread(source, stop_before_pixels=True).StudyInstanceUID)
    orthanc.push(source)
    wait_until(lambda: len(orthanc.results(uid)) == OBJECTS, "results in the archive")
    files = [str(orthanc.file(result, tmp_path)) for result in orthanc.results(uid)]
    script = shared / "tools" / "validate_results.sh"
    validated = subprocess.run(
        ["bash", str(script), "-s", str(source), *files], capture_output=True, text=True, timeout=300
    )
    assert validated.returncode == 0, validated.stdout[-3000:]


def test_storescu_with_a_mixed_folder_gets_0x0000_for_every_object_and_show_says_why(
    lone_site: Site, tmp_path: Path
) -> None:
    site = lone_site
    folder = tmp_path / "mixed"
    chest = chest_radiograph()
    study = {"StudyInstanceUID": chest.StudyInstanceUID}
    plain = {"PixelData": None, "BodyPartExamined": None, "ViewPosition": None}
    others = [
        chest_radiograph(**study, **plain, SOPClassUID=ComprehensiveSRStorage, Modality="SR"),
        chest_radiograph(**study, **plain, SOPClassUID=EncapsulatedPDFStorage, Modality="DOC"),
        chest_radiograph(**study, SOPClassUID=UltrasoundImageStorage, Modality="US"),
        chest_radiograph(StudyInstanceUID=generate_uid(), BodyPartExamined="KNEE", StudyDescription="Knee"),
    ]
    for number, dataset in enumerate([*others, chest]):
        write_dicom(dataset, folder / f"{number}.dcm")
    port = str(site.settings.listen_port)
    sent = subprocess.run(
        [need("storescu", "dcmtk"), "-v", "-aec", "CXRAI", "+sd", "127.0.0.1", port, str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert sent.returncode == 0, sent.stderr
    assert (sent.stdout + sent.stderr).count("Received Store Response (Success)") == 5
    site.wait_for_state(str(chest.StudyInstanceUID), "triaged")
    site.wait_for_state(str(others[-1].StudyInstanceUID), "out_of_scope")
    told = json.loads(_shown(site, str(chest.StudyInstanceUID)))
    reasons = [instance["reason_code"] for instance in told["instances"]]
    assert sorted(map(str, reasons)) == ["None", "sop_class", "sop_class", "sop_class"]


def _shown(site: Site, study_instance_uid: str) -> str:
    shown = site.run("show", study_instance_uid, "--json")
    assert shown.returncode == 0, shown.stderr
    return shown.stdout
