from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pydicom
import pytest
from factories import chest_radiograph, computed_radiograph, write_dicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian
from samples import public_sample

from dicom_io.data_sets.dicom_file import read_dicom_file
from dicom_io.data_sets.pseudonyms import KEPT, METHOD, Pseudonyms, pseudonymised
from dicom_io.pixels.radiograph import UndecodableError, read_radiograph
from dicom_io.selection.decision import SelectionRules, judge_tags

KEY = bytes(range(32))
RENDERING = {
    "PhotometricInterpretation",
    "PresentationLUTShape",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
}
"""What decides how the same stored values look (PS3.3 C.11.1, C.11.2)."""
WRITTEN = {"PatientName", "PatientID", "PatientAge", "PatientIdentityRemoved", "DeidentificationMethod"} | {
    f"{level}InstanceUID" for level in ("Study", "Series", "SOP")
}


def _copy(dataset: Dataset, tmp_path: Path, age_years: int | None = 60) -> Path:
    return write_dicom(pseudonymised(dataset, Pseudonyms(KEY), age_years), tmp_path / "copy.dcm")


def _read(dataset: Dataset, tmp_path: Path) -> Dataset:
    return pydicom.dcmread(write_dicom(dataset, tmp_path / "original.dcm"))


def test_a_copy_holds_what_the_list_names_and_nothing_else(tmp_path: Path) -> None:
    source = chest_radiograph(
        PatientName="Grün^Änne",
        PatientID="HOSPITAL-4711",
        IssuerOfPatientID="ST. ELSEWHERE",
        AccessionNumber="ACC-0815",
        StudyDescription="Chest of Mrs Gruen",
        InstitutionName="St. Elsewhere",
        PatientComments="asks for Dr Who",
        DeviceSerialNumber="SN-12345",
    )
    source.add_new(0x00091001, "LO", "private Gruen")
    path = _copy(_read(source, tmp_path), tmp_path)
    copy = pydicom.dcmread(path)
    assert {element.keyword for element in copy} <= set(KEPT) | WRITTEN
    content = path.read_bytes()  # new UIDs hold any digits, but no hyphen
    for secret in (b"-4711", b"ELSEWHERE", b"Elsewhere", b"-0815", b"uen", b"Who", b"-12345", b"Chest of", b"19600101"):
        assert secret not in content
    assert str(source.StudyInstanceUID).encode() not in content
    assert (copy.PatientIdentityRemoved, copy.DeidentificationMethod) == ("YES", METHOD)
    assert len(METHOD) <= 64  # PS3.5 6.2: Long String


def test_items_of_kept_sequences_lose_what_is_not_named(tmp_path: Path) -> None:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "51185008", "SCT", "Chest"
    item.MappingResourceName = "Dr Gruen's list"
    copy = pydicom.dcmread(_copy(chest_radiograph(AnatomicRegionSequence=Sequence([item])), tmp_path))
    (kept,) = copy.AnatomicRegionSequence
    assert {element.keyword for element in kept} == {"CodeValue", "CodingSchemeDesignator", "CodeMeaning"}


@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"PresentationLUTShape": "INVERSE"},
        {"PixelPaddingValue": 819, "PixelPaddingRangeLimit": 900},
        {"WindowCenter": ["1000", "3000"], "WindowWidth": ["500", "2000"], "VOILUTFunction": "SIGMOID"},
        {"RescaleSlope": "2", "RescaleIntercept": "-1024", "WindowCenter": "1000"},
        {"TransferSyntaxUID": ImplicitVRLittleEndian},
        {"TransferSyntaxUID": ExplicitVRBigEndian},
    ],
)
def test_the_picture_of_a_copy_is_the_picture_of_its_source(tmp_path: Path, keywords: dict[str, object]) -> None:
    for make in (chest_radiograph, computed_radiograph):
        source = _read(make(**keywords), tmp_path)
        assert np.array_equal(read_radiograph(_copy(source, tmp_path)).pixels, read_radiograph(source).pixels)


@pytest.mark.parametrize("name", ["RG1_UNCR.dcm", "RG1_J2KR.dcm", "RG1_J2KI.dcm"])
def test_a_real_compressed_film_keeps_its_picture_and_stays_a_frontal_chest(tmp_path: Path, name: str) -> None:
    source = pydicom.dcmread(public_sample(name))
    path = _copy(source, tmp_path)
    assert read_radiograph(path).pixel_sha256 == read_radiograph(source).pixel_sha256
    assert np.array_equal(read_radiograph(path).pixels, read_radiograph(source).pixels)
    judged = [
        judge_tags(header, SelectionRules(), date(2026, 1, 1)).disposition for header in (source, pydicom.dcmread(path))
    ]
    assert judged[0] == judged[1]


def test_every_file_that_can_be_read_keeps_its_picture(tmp_path: Path, shared: Path) -> None:
    """Real films and drawn ones: windows, tables, padding, signed values, colour and a dozen transfer syntaxes."""
    compared = 0
    for path in sorted((shared / "data").rglob("*.dcm")):
        try:
            expected = read_radiograph(path).pixels
        except UndecodableError:
            continue
        copy = _copy(read_dicom_file(path), tmp_path)
        assert np.array_equal(read_radiograph(copy).pixels, expected), path.name
        compared += 1
    assert compared >= 30


def test_whatever_decides_how_a_picture_looks_is_kept() -> None:
    assert set(KEPT) >= RENDERING
    assert all(tag_for_keyword(keyword) is not None for keyword in KEPT)


def test_the_same_key_gives_the_same_pseudonyms_and_another_key_others() -> None:
    first, again, other = Pseudonyms(KEY), Pseudonyms(KEY), Pseudonyms(KEY[::-1])
    assert first.patient("1", "A") == again.patient("1", "A") != other.patient("1", "A")
    assert first.patient("1", "A") != first.patient("1", "B") != first.patient("2", "A")
    assert first.patient("11", "1") != first.patient("1", "11")
    assert first.patient("", "A") == ""
    uid = first.uid("1.2.3")
    assert uid.startswith("2.25.")
    assert len(uid) <= 64
    assert uid != first.uid("1.2.4")


@pytest.mark.parametrize(("age_years", "written"), [(7, "007Y"), (90, "090Y"), (97, "090Y"), (None, None)])
def test_ages_above_ninety_are_not_told_apart(tmp_path: Path, age_years: int | None, written: str | None) -> None:
    copy = pydicom.dcmread(_copy(chest_radiograph(PatientAge="097Y"), tmp_path, age_years))
    assert copy.get("PatientAge") == written


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        Pseudonyms(b"secret")
