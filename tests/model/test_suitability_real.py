"""The shipped bundle's check on real material it was never taught with: pixels alone, tags play no part."""

from __future__ import annotations

import csv
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from samples import public_sample, shared

from dicom_io.pixels.radiograph import read_radiograph
from model.bundle import load_bundle
from model.suitability import SuitabilityCheck, Verdict
from worker.settings.config import DEFAULT_BUNDLE

OTHER_BODY_PARTS = {
    "elbow": "dcmjs_dx_elbow_jpegll_14bit.dcm",
    "jaws": "fodicom_cr_teeth_modalitylut_jpegll_mono1.dcm",
    "dog": "highdicom_fuji_dx_chest_evle_mono1_8bit_small.dcm",
    "leg": "nema_wg04_RG3_UNC.dcm",
    "leg, JPEG 2000 lossy": "nema_wg04_RG3_J2KI.dcm",
    "leg, JPEG 12 bit": "nema_wg04_RG3_JPLY.dcm",
}
CHESTS = (
    "gdcm_cr_mono1_10_chest_evle.dcm",
    "nema_wg04_rg1_cr_chest_pa_j2k_lossy_mono1_15bit.dcm",
    "rsna_nih_cr_chest_pa_jpegbaseline_mono2_8bit.dcm",
)


@pytest.fixture(scope="module")
def check() -> SuitabilityCheck:
    found = load_bundle(DEFAULT_BUNDLE).suitability_check()
    assert found is not None
    return found


@cache
def held_out(step: int) -> tuple[NDArray[np.uint8], ...]:
    """Every ``step``-th real film of the official test list, as its file holds it."""
    folder = shared("data/nih256")
    with (folder / "nih256.csv").open(encoding="utf-8") as table:
        names = [row["file"] for row in csv.DictReader(table) if row["official_split"] == "test"]
    return tuple(np.array(Image.open(folder / "images" / name).convert("L")) for name in names[::step])


def test_at_least_99_of_100_upright_frontal_films_pass(check: SuitabilityCheck) -> None:
    verdicts = Counter(check.judge(film).verdict for film in held_out(1))
    assert verdicts.total() == 1366
    assert verdicts[Verdict.FRONTAL] >= 0.99 * verdicts.total(), verdicts


@pytest.mark.parametrize(
    ("quarters", "inverted", "verdict"),
    [
        (0, True, Verdict.INVERTED),
        (1, False, Verdict.ROTATED_90),
        (2, False, Verdict.ROTATED_180),
        (3, False, Verdict.ROTATED_270),
    ],
)
def test_at_least_95_of_100_inverted_or_turned_films_are_caught_and_named(
    check: SuitabilityCheck, quarters: int, inverted: bool, verdict: Verdict
) -> None:
    altered = [np.ascontiguousarray(np.rot90(255 - film if inverted else film, quarters)) for film in held_out(8)]
    verdicts = Counter(check.judge(film).verdict for film in altered)
    assert verdicts[Verdict.FRONTAL] <= 0.05 * verdicts.total(), verdicts
    assert verdicts[verdict] >= 0.95 * verdicts.total(), verdicts


@pytest.mark.parametrize("file", OTHER_BODY_PARTS.values(), ids=OTHER_BODY_PARTS)
def test_no_other_body_part_passes_in_any_orientation_or_polarity(check: SuitabilityCheck, file: str) -> None:
    pixels = read_radiograph(shared(f"data/dicom/{file}")).pixels
    for quarters in range(4):
        for seen in (pixels, np.asarray(255 - pixels)):
            assert not check.judge(np.ascontiguousarray(np.rot90(seen, quarters))).suitable
    assert check.judge(pixels).verdict is Verdict.OTHER


@pytest.mark.parametrize("file", CHESTS)
def test_real_chest_films_of_other_makers_pass_and_inverted_ones_do_not(check: SuitabilityCheck, file: str) -> None:
    pixels = read_radiograph(shared(f"data/dicom/{file}")).pixels
    assert check.judge(pixels).suitable
    assert check.judge(np.asarray(255 - pixels)).verdict is Verdict.INVERTED


def test_a_film_whose_tags_turn_it_inside_out_is_inverted(check: SuitabilityCheck) -> None:
    relabelled = read_radiograph(shared("data/dicom/txrv_fake_mono1_relabel_of_rsna.dcm")).pixels
    assert check.judge(relabelled).verdict is Verdict.INVERTED


@pytest.mark.parametrize(
    ("sample", "suitable"),
    [
        ("RG1_UNCR.dcm", True),
        ("RG3_UNCR.dcm", False),
        ("693_UNCR.dcm", False),  # CT
        ("MR2_UNCR.dcm", False),
        ("US1_UNCR.dcm", False),
        ("JPEG2000_UNC.dcm", False),  # nuclear medicine, whole body
        ("mlut_18.dcm", False),  # a test pattern
    ],
)
def test_of_pydicoms_own_samples_only_the_chest_passes(check: SuitabilityCheck, sample: str, suitable: bool) -> None:
    assert check.judge(read_radiograph(public_sample(sample)).pixels).suitable == suitable


def test_nothing_was_taught_by_radiographs_of_other_things_so_all_of_them_are_unseen() -> None:
    facts = load_bundle(Path(DEFAULT_BUNDLE)).suitability
    assert facts is not None
    assert facts.learned_from.endswith("drawn decoys and 0 pictures of other things")
