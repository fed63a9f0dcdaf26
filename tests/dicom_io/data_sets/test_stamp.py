"""Files for tests and demonstrations: new identity, same pixels; and pictures as valid radiographs."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from validators import dciodvfy_errors

from dicom_io.data_sets.stamp import radiograph_from_pixels, stamp_copy

MOMENT = datetime(2026, 1, 15, 10, 25, 1)
PIXELS = np.arange(61 * 45, dtype=np.uint32).reshape(61, 45).astype(np.uint8)


@pytest.mark.parametrize("name", ["RG1_J2KI.dcm", "RG3_J2KR.dcm"])
def test_a_copy_has_new_uids_and_dates_and_the_very_same_pixel_bytes(name: str, tmp_path: Path) -> None:
    original_path = get_testdata_file(name, download=False)
    assert isinstance(original_path, str)
    stamp_copy(Path(original_path), tmp_path / "copy.dcm", study_datetime=MOMENT, patient_name="Änne^北")
    original, copy = dcmread(original_path), dcmread(tmp_path / "copy.dcm")
    assert copy.PixelData == original.PixelData
    assert copy.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
    assert copy.file_meta.MediaStorageSOPInstanceUID == copy.SOPInstanceUID
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert copy[keyword].value != original[keyword].value
        assert copy[keyword].value.is_valid
    assert (copy.StudyDate, copy.StudyTime) == ("20260115", "102501")
    assert str(copy.PatientName) == "Änne^北"
    assert copy.PatientID == original.PatientID


def test_a_copy_may_keep_its_uids_or_join_a_study(tmp_path: Path) -> None:
    path = tmp_path / "original.dcm"
    original = radiograph_from_pixels(PIXELS, study_datetime=MOMENT, patient_id="P1", patient_name="A^B")
    original.save_as(path, enforce_file_format=True)
    kept = stamp_copy(path, tmp_path / "kept.dcm", fresh_uids=False, patient_id="")
    assert (kept.SOPInstanceUID, kept.PatientID) == (original.SOPInstanceUID, "")
    joined = stamp_copy(path, tmp_path / "joined.dcm", study_instance_uid="1.2.3")
    assert joined.StudyInstanceUID == "1.2.3"
    assert joined.SOPInstanceUID != original.SOPInstanceUID


def test_a_picture_becomes_a_valid_digital_radiograph(tmp_path: Path) -> None:
    path = tmp_path / "radiograph.dcm"
    dataset = radiograph_from_pixels(PIXELS, study_datetime=MOMENT, patient_id="P1", patient_name="A^B", view="AP")
    dataset.save_as(path, enforce_file_format=True)
    assert dciodvfy_errors(path) == []
    radiograph = dcmread(path)
    assert np.array_equal(radiograph.pixel_array, PIXELS)
    assert (radiograph.ViewPosition, radiograph.BodyPartExamined) == ("AP", "CHEST")
    assert (radiograph.PatientAge, radiograph.PatientBirthDate) == ("056Y", "19700101")
    assert "NOT FOR DIAGNOSTIC USE" in radiograph.ImageComments


def test_only_grey_bytes_become_a_radiograph() -> None:
    with pytest.raises(ValueError, match="uint8"):
        radiograph_from_pixels(
            np.zeros((3, 3, 3), np.uint8), study_datetime=MOMENT, patient_id="P1", patient_name="A^B"
        )
