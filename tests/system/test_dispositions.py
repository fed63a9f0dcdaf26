"""What becomes of every real file at hand, written out: received and run with the bundle of the demonstration."""

from __future__ import annotations

import csv
import importlib.resources
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import pydicom
import pytest
from benches import Bench
from pydicom.uid import generate_uid
from samples import shared

from worker.care.explanation import explain
from worker.rows.database import SessionFactory
from worker.settings.config import Settings

pytestmark = pytest.mark.either_database

ANALYSED, SOP_CLASS = ("analysed", None), ("ignored", "sop_class")
NOT_CHEST, UNDECODABLE = ("out_of_scope", "not_chest"), ("not_analysed", "undecodable")
Ending = tuple[str, str | None]

SHARED: dict[str, Ending] = {
    "gdcm_cr_mono1_10_chest_evle": ANALYSED,
    "nema_wg04_rg1_cr_chest_pa_j2k_lossy_mono1_15bit": ANALYSED,
    "nema_wg04_rg1_cr_chest_pa_jpegls_near_mono1_15bit": ANALYSED,
    "highdicom_fuji_dx_chest_evle_mono1_8bit_small": ("not_analysed", "age"),
    "rsna_nih_cr_chest_pa_jpegbaseline_mono2_8bit": SOP_CLASS,
    "txrv_fake_mono1_relabel_of_rsna": SOP_CLASS,
    "dcmjs_dx_elbow_jpegll_14bit": NOT_CHEST,
    "fodicom_cr_teeth_modalitylut_jpegll_mono1": NOT_CHEST,
    "nema_wg04_RG3_J2KI": NOT_CHEST,
    "nema_wg04_RG3_J2KR": NOT_CHEST,
    "nema_wg04_RG3_JLSL": NOT_CHEST,
    "nema_wg04_RG3_JLSN": NOT_CHEST,
    "nema_wg04_RG3_JPLL": NOT_CHEST,
    "nema_wg04_RG3_JPLY": NOT_CHEST,
    "nema_wg04_RG3_RLE": NOT_CHEST,
    "nema_wg04_RG3_UNC": NOT_CHEST,
}
PUBLIC: dict[str, Ending] = {
    "RG1_J2KI": ANALYSED,
    "RG1_J2KR": ANALYSED,
    "RG1_UNCI": ANALYSED,
    "RG1_UNCR": ANALYSED,
    "RG3_J2KI": NOT_CHEST,
    "RG3_J2KR": NOT_CHEST,
    "RG3_UNCI": NOT_CHEST,
    "RG3_UNCR": NOT_CHEST,
    **dict.fromkeys(["693_J2KR", "693_UNCI", "693_UNCR", "JPEG2000_UNC", "liver", "liver_expb"], SOP_CLASS),
    **dict.fromkeys(["MR-SIEMENS-DICOM-WithOverlays", "MR2_J2KI", "MR2_J2KR", "MR2_UNCI", "MR2_UNCR"], SOP_CLASS),
    **dict.fromkeys(["emri_small", "emri_small_RLE", "emri_small_big_endian"], SOP_CLASS),
    **dict.fromkeys(["emri_small_jpeg_2k_lossless", "emri_small_jpeg_ls_lossless"], SOP_CLASS),
    **dict.fromkeys(["US1_J2KI", "US1_J2KR", "US1_UNCI", "US1_UNCR", "gdcm-US-ALOKA-16"], SOP_CLASS),
    **dict.fromkeys(["OBXXXX1A", "OBXXXX1A_2frame", "OBXXXX1A_expb", "OBXXXX1A_expb_2frame"], SOP_CLASS),
    **dict.fromkeys(["OBXXXX1A_rle", "OBXXXX1A_rle_2frame", "JPEG-LL", "gdcm-US-ALOKA-16_big"], SOP_CLASS),
    **dict.fromkeys(["SC_rgb", "SC_rgb_16bit", "SC_rgb_16bit_2frame", "SC_rgb_2frame", "SC_rgb_32bit"], SOP_CLASS),
    **dict.fromkeys(["SC_rgb_32bit_2frame", "SC_rgb_dcmtk_ebcr_dcmd", "SC_rgb_dcmtk_ebcyn1_dcmd"], SOP_CLASS),
    **dict.fromkeys(["SC_rgb_dcmtk_ebcyn2_dcmd", "SC_rgb_dcmtk_ebcynp_dcmd", "SC_rgb_dcmtk_ebcys2_dcmd"], SOP_CLASS),
    **dict.fromkeys(["SC_rgb_dcmtk_ebcys4_dcmd", "SC_rgb_expb", "SC_rgb_expb_16bit", "SC_rgb_expb_2frame"], SOP_CLASS),
    **dict.fromkeys(["SC_rgb_expb_16bit_2frame", "SC_rgb_expb_32bit", "SC_rgb_expb_32bit_2frame"], SOP_CLASS),
    **dict.fromkeys(["SC_rgb_gdcm2k_uncompressed", "SC_ybr_full_uncompressed", "bad_sequence"], SOP_CLASS),
    **dict.fromkeys(["JPGLosslessP14SV1_1s_1f_8b", "color-pl", "color-px", "color3d_jpeg_baseline"], SOP_CLASS),
    **dict.fromkeys(["eCT_Supplemental", "explicit_VR-UN", "mlut_18", "vlut_04"], SOP_CLASS),
    "OT-PAL-8-face": UNDECODABLE,  # ends inside an element
    "emri_small_jpeg_2k_lossless_too_short": UNDECODABLE,  # ends inside an element
}
PUBLIC_FOLDER = Path(str(importlib.resources.files("data_store"))) / "data"


@pytest.fixture
def make_bench(make_settings: Callable[..., Settings], sessions: SessionFactory) -> Callable[..., Bench]:
    def make(**fields: object) -> Bench:
        return Bench(make_settings(**{"allow_demonstration_bundle": True} | fields), sessions)

    return make


def endings(bench: Bench, paths: Iterable[Path]) -> dict[str, Ending]:
    """Receive and run each file as a study of its own and return what its row says in the end."""
    found = {}
    for path in paths:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's own about odd files
            dataset = pydicom.dcmread(path)
            dataset.StudyInstanceUID, dataset.SOPInstanceUID = generate_uid(), generate_uid()
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            study = bench.triage(dataset)
        (row,) = bench.instances(study.study_instance_uid)
        found[path.stem] = (row.disposition, row.reason_code)
    return found


def test_the_table_is_what_the_manifest_expects() -> None:
    with shared("data/dicom_manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = {Path(row["file"]).stem: (row["expected_disposition"], row["expected_reason"] or None) for row in rows}
    assert expected == SHARED


def test_every_shared_file_ends_as_written(make_bench: Callable[..., Bench]) -> None:
    paths = [shared("data/dicom") / f"{name}.dcm" for name in SHARED]
    assert endings(make_bench(accept_unknown_sources=True), paths) == SHARED


def test_where_secondary_capture_is_accepted_a_relabelled_picture_is_found_out(
    make_bench: Callable[..., Bench],
) -> None:
    bench = make_bench(sources=[{"ae_title": "MODALITY", "accept_secondary_capture": True}])
    names = ("rsna_nih_cr_chest_pa_jpegbaseline_mono2_8bit", "txrv_fake_mono1_relabel_of_rsna")
    found = endings(bench, [shared("data/dicom") / f"{name}.dcm" for name in names])
    assert found == dict(zip(names, [ANALYSED, ("not_analysed", "needs_review")], strict=True))


def test_the_public_radiographs_end_as_written(make_bench: Callable[..., Bench]) -> None:
    names = [name for name in PUBLIC if name.startswith("RG")]
    found = endings(make_bench(accept_unknown_sources=True), [PUBLIC_FOLDER / f"{name}.dcm" for name in names])
    assert found == {name: PUBLIC[name] for name in names}


def test_every_file_of_pydicom_data_is_explained_as_written(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(allow_demonstration_bundle=True)
    told = {path.stem: explain(path, "", settings).explanation for path in sorted(PUBLIC_FOLDER.glob("*.dcm"))}
    assert {name: (each.disposition, each.reason_code) for name, each in told.items()} == PUBLIC


def test_every_shared_file_is_explained_as_it_ends(make_settings: Callable[..., Settings]) -> None:
    folder = shared("data/dicom")
    settings = make_settings(allow_demonstration_bundle=True)
    told = {path.stem: explain(path, "", settings).explanation for path in sorted(folder.glob("*.dcm"))}
    assert {name: (each.disposition, each.reason_code) for name, each in told.items()} == SHARED
