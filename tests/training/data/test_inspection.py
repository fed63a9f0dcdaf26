"""What `python -m training prepare` finds in a folder, and that one look finds all of it."""

from __future__ import annotations

import csv
import itertools
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from layouts import picture_name, replace_in, write_layout
from PIL import Image

from training.data.problems import ProblemKind, Severity, write_problems
from training.inspection import Depth, Inspection, inspect, summary
from training.material import DataChoices
from training.recipe import load_recipe

ENTRIES = "Data_Entry_2017.csv"


def _inspect(folder: Path, depth: Depth = Depth.PICTURES, *, allow_missing: bool = False) -> Inspection:
    return inspect(DataChoices(folder, folder.parent / "cache", allow_missing), depth)


def _kinds(inspection: Inspection) -> dict[ProblemKind, list[str]]:
    return {kind: [str(problem) for problem in found] for kind, found in inspection.log.by_kind()}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten sound pictures of ten patients; half with Effusion and Mass, the other findings nowhere."""
    write_layout(tmp_path / "data")
    return tmp_path / "data"


def _append(path: Path, line: str) -> None:
    with path.open("a") as stream:
        stream.write(line + "\n")


def _first_row(data: Path) -> str:
    return (data / ENTRIES).read_text().splitlines()[1]


def _save(data: Path, number: int, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(data / "images" / picture_name(number))


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


DAMAGES: dict[ProblemKind, tuple[Callable[[Path], object], str]] = {
    ProblemKind.UNUSABLE_TABLE: (lambda d: (d / "test_list.txt").unlink(), "test_list.txt"),
    ProblemKind.BROKEN_ROW: (lambda d: _append(d / ENTRIES, "00000099_000.png,Mass"), "2 columns"),
    ProblemKind.CONTRADICTING_ROWS: (
        lambda d: _append(d / ENTRIES, _first_row(d).replace("Effusion", "Edema")),
        "line 12: 00000001_000.png is listed a second time, with other values",
    ),
    ProblemKind.REPEATED_ROW: (lambda d: _append(d / ENTRIES, _first_row(d)), "line 12: 00000001_000.png"),
    ProblemKind.UNKNOWN_LABEL: (lambda d: replace_in(d / ENTRIES, "Effusion", "Efusion"), "'Efusion'"),
    ProblemKind.UNLISTED_ROW: (
        lambda d: replace_in(d / "test_list.txt", f"{picture_name(10)}\n", ""),
        picture_name(10),
    ),
    ProblemKind.LISTED_WITHOUT_ROW: (lambda d: _append(d / "test_list.txt", "00000099_000.png"), "00000099_000.png"),
    ProblemKind.LISTED_TWICE: (lambda d: _append(d / "test_list.txt", picture_name(9)), picture_name(9)),
    ProblemKind.PATIENT_OVERLAP: (lambda d: _append(d / "test_list.txt", picture_name(2)), "patient 2"),
    ProblemKind.EMPTY_PART: (lambda d: (d / "test_list.txt").write_text("\n"), "test"),
    ProblemKind.MISSING_PICTURE: (lambda d: (d / "images" / picture_name(3)).unlink(), picture_name(3)),
    ProblemKind.UNREADABLE_PICTURE: (lambda d: _cut_short(d / "images" / picture_name(4)), "damaged or cut short"),
    ProblemKind.UNLISTED_PICTURE: (lambda d: (d / "images" / "other.png").write_bytes(b""), "images/other.png"),
    ProblemKind.SEVERAL_FILES: (
        lambda d: (d / "00000005_000.jpg").write_bytes(b""),
        "images/00000005_000.png, 00000005_000.jpg",
    ),
    ProblemKind.ODD_SIZE: (lambda d: _save(d, 6, _noise(50, 64)), "64 x 50 px, most are 64 x 64"),
    ProblemKind.COLOURED: (lambda d: _save(d, 6, _noise(64, 64, 3)), picture_name(6)),
    ProblemKind.EXTRA_CHANNELS: (
        lambda d: _save(d, 6, np.repeat(_noise(64, 64, 1), 4, axis=2)),
        f"{picture_name(6)}: 4 channels",
    ),
    ProblemKind.BLANK: (lambda d: _save(d, 6, np.full((64, 64), 99, np.uint8)), picture_name(6)),
    ProblemKind.BAD_BOX: (
        lambda d: _append(d / "BBox_List_2017.csv", f"{picture_name(1)},Hernia,1000,0,100,10"),
        "Hernia, which is not among",
    ),
    ProblemKind.UNKNOWN_BOX: (
        lambda d: _append(d / "BBox_List_2017.csv", "99999999_000.png,Hernia,1000,0,100,10"),
        "99999999_000.png has no row",
    ),
    ProblemKind.ODD_VALUE: (lambda d: replace_in(d / ENTRIES, ",3,58,M", ",3,414,M"), "age 414"),
}


@pytest.mark.parametrize("kind", DAMAGES, ids=lambda kind: kind.title)
def test_each_damage_is_named_with_its_place(data: Path, kind: ProblemKind) -> None:
    assert kind not in _kinds(_inspect(data))
    damage, expected = DAMAGES[kind]
    damage(data)
    inspection = _inspect(data)
    assert expected in "\n".join(_kinds(inspection)[kind])
    assert inspection.passed is (kind.severity is not Severity.ERROR)


def test_one_look_finds_everything_at_once(data: Path) -> None:
    together = (
        ProblemKind.BROKEN_ROW,
        ProblemKind.UNKNOWN_LABEL,
        ProblemKind.LISTED_TWICE,
        ProblemKind.PATIENT_OVERLAP,
        ProblemKind.MISSING_PICTURE,
        ProblemKind.UNREADABLE_PICTURE,
        ProblemKind.BLANK,
    )
    for kind in together:
        DAMAGES[kind][0](data)
    inspection = _inspect(data)
    assert set(together) <= set(_kinds(inspection))
    write_problems(inspection.log, data / "problems.csv")
    with (data / "problems.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["problem"] for row in rows} >= {kind.title for kind in together}
    assert len(rows) == len(inspection.log.problems)


def test_a_finding_without_a_case_is_said_and_does_not_stop(data: Path) -> None:
    inspection = _inspect(data)
    assert "Hernia in test: none of 3 pictures" in _kinds(inspection)[ProblemKind.NO_POSITIVES]
    replace_in(data / ENTRIES, "No Finding", "Mass")
    assert "Mass in test: all of 3 pictures" in _kinds(_inspect(data))[ProblemKind.NO_NEGATIVES]
    assert inspection.passed


def test_what_is_left_out_on_purpose_is_a_warning_and_is_not_counted(data: Path) -> None:
    (data / "images" / picture_name(3)).unlink()
    _cut_short(data / "images" / picture_name(4))
    assert not _inspect(data, Depth.CACHE).passed
    inspection = _inspect(data, Depth.CACHE, allow_missing=True)
    assert inspection.passed
    assert inspection.log.severity(ProblemKind.MISSING_PICTURE) is Severity.WARNING
    assert inspection.census.all.pictures == 8
    assert inspection.cache is not None
    assert set(inspection.cache.rows) == set(inspection.radiographs.listed)


def test_lists_alone_need_no_picture(data: Path) -> None:
    for path in (data / "images").iterdir():
        path.unlink()
    assert _inspect(data, Depth.LISTS).passed
    assert not _inspect(data, Depth.PICTURES).passed


def test_nothing_is_written_by_a_check(data: Path) -> None:
    _inspect(data, Depth.PICTURES)
    assert not (data.parent / "cache").exists()


def test_the_census_counts_pictures_patients_and_cases(data: Path) -> None:
    _append(data / ENTRIES, _first_row(data).replace("_000", "_001").replace("Effusion|Mass", "Mass"))
    _append(data / "train_val_list.txt", picture_name(1, 1))
    census = _inspect(data, Depth.LISTS).census
    assert (census.all.pictures, census.train_val.pictures, census.test.pictures) == (11, 8, 3)
    assert (census.all.patients, census.patients_in_both) == (10, 0)
    mass = census.train_val.findings["Mass"]  # patients 1, 3, 5 and 7, the first twice
    assert (mass.positives, mass.prevalence, mass.positive_patients) == (5, 5 / 8, 4)
    # 2 positives of 3 x 14 answers in test: patient 9 has two findings, 8 and 10 none
    assert census.test.all_negative_accuracy == pytest.approx(1 - 2 / 42)


def test_the_parts_of_a_recipe_are_cut_by_patient_and_its_trouble_is_named(data: Path) -> None:
    recipe = load_recipe("densenet121")
    parts = inspect(DataChoices(data, data / "cache"), Depth.LISTS, recipe).parts
    assert parts is not None
    assert (len(parts.training), len(parts.validation), len(parts.test)) == (6, 1, 3)  # a tenth of seven patients
    (data / "train_val_list.txt").write_text(f"{picture_name(1)}\n")
    alone = inspect(DataChoices(data, data / "cache"), Depth.LISTS, recipe)
    assert alone.parts is None
    assert "no pictures are left for training" in "\n".join(_kinds(alone)[ProblemKind.EMPTY_PART])


def test_the_full_lists_have_the_numbers_of_the_published_data_set(shared: Path) -> None:
    """Every row of the real metadata; counts from the data set's own page (design/training.md, section 0)."""
    metadata = shared / "data" / "nih_metadata"
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # of other tests in this process
    inspection = inspect(DataChoices(metadata, metadata / "nowhere"), Depth.LISTS, load_recipe("densenet121"))
    assert inspection.passed
    parts = inspection.parts
    assert parts is not None
    assert len(parts.training) + len(parts.validation) == 86_524
    patients = [set(inspection.radiographs.patients(part)) for part in (parts.training, parts.validation, parts.test)]
    assert not any(a & b for a, b in itertools.combinations(patients, 2))
    assert len(patients[1]) == round(0.1 * 28_008)  # a tenth of train_val's patients, as the recipe says
    census = inspection.census
    assert (census.all.pictures, census.all.patients) == (112_120, 30_805)
    assert (census.train_val.pictures, census.test.pictures) == (86_524, 25_596)
    assert census.patients_in_both == 0
    assert (census.test.boxed, census.train_val.boxed, census.all.under_18) == (880, 0, 5_402)
    published = {
        "Atelectasis": (11_559, 3_279, 9.6, 12.8, 799),
        "Cardiomegaly": (2_776, 1_069, 2.0, 4.2, 338),
        "Effusion": (13_317, 4_658, 10.0, 18.2, 773),
        "Infiltration": (19_894, 6_112, 15.9, 23.9, 924),
        "Mass": (5_782, 1_748, 4.7, 6.8, 453),
        "Nodule": (6_331, 1_623, 5.4, 6.3, 539),
        "Pneumonia": (1_431, 555, 1.0, 2.2, 311),
        "Pneumothorax": (5_302, 2_665, 3.0, 10.4, 407),
        "Consolidation": (4_667, 1_815, 3.3, 7.1, 533),
        "Edema": (2_303, 925, 1.6, 3.6, 326),
        "Emphysema": (2_516, 1_093, 1.6, 4.3, 284),
        "Fibrosis": (1_686, 435, 1.4, 1.7, 257),
        "Pleural_Thickening": (3_385, 1_143, 2.6, 4.5, 447),
        "Hernia": (227, 86, 0.16, 0.34, 32),
    }
    for label, (everywhere, test, train_val_percent, test_percent, patients) in published.items():
        assert census.all.findings[label].positives == everywhere
        found = census.test.findings[label]
        assert (found.positives, found.positive_patients) == (test, patients)
        half_a_digit = 0.0051 if label == "Hernia" else 0.051
        assert 100 * census.train_val.findings[label].prevalence == pytest.approx(train_val_percent, abs=half_a_digit)
        assert 100 * found.prevalence == pytest.approx(test_percent, abs=half_a_digit)
    assert 100 * census.test.no_finding_share == pytest.approx(38.5, abs=0.051)
    assert 100 * census.test.anteroposterior_share == pytest.approx(56.6, abs=0.051)
    assert census.test.pictures_per_patient == pytest.approx(9.15, abs=0.005)
    assert 100 * census.all.all_negative_accuracy == pytest.approx(94.8, abs=0.051)
    facts = summary(inspection)
    print(f"112,120 rows in {facts['seconds']} s, {inspection.peak_memory_bytes / 1e6:.0f} MB at most")  # with -s
    assert inspection.peak_memory_bytes < max(2_000_000_000, peak_before + 1_000_000_000)
