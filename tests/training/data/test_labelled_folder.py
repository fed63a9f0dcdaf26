from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from factories import chest_radiograph, write_dicom

from training.data.cache_build import build_cache
from training.data.folder import read_folder
from training.data.labelled_folder import TEST, TEST_SHARE, TRAIN_VAL, part_of
from training.data.problems import ProblemKind
from training.data.radiographs import LayoutError
from training.inspection import Depth, inspect
from training.material import DataChoices

HEADER = "file,labels,patient_id,confirmed_by,part,age_years,sex,view,sop_instance_uid"


def _write(folder: Path, *lines: str, header: str = HEADER) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "labels.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder


def _kinds(folder: Path, depth: Depth = Depth.LISTS) -> dict[ProblemKind, list[str]]:
    inspection = inspect(DataChoices(folder, folder.parent / "cache"), depth)
    return {kind: [str(problem) for problem in found] for kind, found in inspection.log.by_kind()}


def test_confirmed_lines_are_read_with_their_values_and_the_others_are_not(tmp_path: Path) -> None:
    folder = _write(
        tmp_path / "data",
        "a.dcm,Effusion|Infiltrate,P1,AB,train_val,063Y,F,AP,1.2.3",
        "b.dcm,No Finding,P2,AB,test,40,M,PA,1.2.4",
        "c.dcm,Mass,P3,,test,40,M,PA,1.2.5",
    )
    (folder / "a.dcm").write_bytes(b"")
    radiographs = read_folder(folder)
    assert (radiographs.train_val, radiographs.test) == (("1.2.3",), ("1.2.4",))
    entry = radiographs.entries["1.2.3"]
    assert entry.labels == {"Effusion", "Infiltration"}
    assert (entry.patient_id, entry.age_years, entry.sex, entry.view) == ("P1", 63, "F", "AP")
    assert radiographs.entries["1.2.4"].labels == frozenset()
    assert radiographs.paths == {"1.2.3": folder / "a.dcm"}
    assert _kinds(folder)[ProblemKind.UNDECIDED] == ["1.2.5: row nobody has decided"]


@pytest.mark.parametrize("cell", ["5\N{SUPERSCRIPT TWO}", "19601231", "9" * 5000, "Y", "-1"])
def test_what_is_no_age_is_unknown_and_stops_nothing(tmp_path: Path, cell: str) -> None:
    """A superscript is a digit and no number; whole dates of birth stand in such columns, too."""
    folder = _write(tmp_path, f"a.dcm,Mass,P1,AB,test,{cell},M,PA,1.2.3", "b.dcm,Mass,P2,AB,test,0058Y,M,PA,1.2.4")
    entries = read_folder(folder).entries
    assert (entries["1.2.3"].age_years, entries["1.2.4"].age_years) == (None, 58)


def test_a_file_whose_name_no_system_takes_is_missing(tmp_path: Path) -> None:
    folder = _write(tmp_path / "data", f"{'x' * 300}.dcm,Mass,P1,AB,test,58,M,PA,1.2.3")
    assert _kinds(folder, Depth.PICTURES)[ProblemKind.MISSING_PICTURE] == ["1.2.3: picture without file"]


def test_a_table_that_cannot_be_opened_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").mkdir()
    with pytest.raises(LayoutError, match=r"labels\.csv: cannot be read"):
        read_folder(tmp_path)


def test_three_columns_are_enough_and_the_table_may_be_gzipped(tmp_path: Path) -> None:
    lines = [f"film{number}.dcm,Mass,P{number}" for number in range(40)]
    folder = _write(tmp_path / "data", *lines, header="file,labels,patient_id")
    table = folder / "labels.csv"
    (folder / "labels.csv.gz").write_bytes(gzip.compress(table.read_bytes()))
    table.unlink()
    radiographs = read_folder(folder)
    assert set(radiographs.listed) == {f"film{number}.dcm" for number in range(40)}
    assert radiographs.test == tuple(f"film{n}.dcm" for n in range(40) if part_of(f"P{n}") == TEST)


def test_a_patients_part_never_changes_and_parts_have_their_share() -> None:
    parts = [part_of(f"patient {number}") for number in range(4000)]
    # A binomial of 4,000 draws has a standard deviation of 0.6 %: four of them either way.
    assert parts.count(TEST) / len(parts) == pytest.approx(TEST_SHARE, abs=0.025)
    # Worked out by hand with sha256sum of "part of A" and "part of G", first 16 digits / 2**64.
    assert (part_of("A"), part_of("G")) == (TRAIN_VAL, TEST)


@pytest.mark.parametrize(
    ("line", "kind", "expected"),
    [
        ("a.dcm,Effusions,P1,AB,,,,,", ProblemKind.UNKNOWN_LABEL, "'Effusions'"),
        ("a.dcm,,P1,AB,,,,,", ProblemKind.BROKEN_ROW, "line 4: no labels"),
        (",Mass,P1,AB,,,,,", ProblemKind.BROKEN_ROW, "line 4: file ''"),
        ("a.dcm,Mass,P1,AB,validation,,,,", ProblemKind.BROKEN_ROW, "part 'validation'"),
        ("a.dcm,Mass", ProblemKind.BROKEN_ROW, "2 columns, the header has 9"),
        ("a.dcm,Mass,,AB,,,,,", ProblemKind.NO_PATIENT, "a.dcm"),
        ("y.dcm,No Finding,P9,AB,test,,,,", ProblemKind.REPEATED_ROW, "line 4"),
        ("y.dcm,Mass,P9,AB,test,,,,", ProblemKind.CONTRADICTING_ROWS, "line 4"),
        ("a.dcm,Mass,P9,AB,train_val,,,,", ProblemKind.PATIENT_OVERLAP, "patient P9"),
    ],
)
def test_each_bad_line_is_named(tmp_path: Path, line: str, kind: ProblemKind, expected: str) -> None:
    folder = _write(tmp_path / "data", "x.dcm,Mass,P8,AB,train_val,,,,", "y.dcm,No Finding,P9,AB,test,,,,", line)
    assert expected in "\n".join(_kinds(folder)[kind])


def test_all_patients_in_one_part_is_refused_before_training(tmp_path: Path) -> None:
    folder = _write(tmp_path / "data", *(f"{n}.dcm,Mass,{'A'},AB,,,,," for n in range(3)))
    assert _kinds(folder)[ProblemKind.EMPTY_PART] == ["test: no picture is in test"]


def test_a_folder_that_is_no_data_set_names_all_three_kinds(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"Data_Entry_2017_v2020\.csv.*labels\.csv.*worker export"):
        read_folder(tmp_path)
    _write(tmp_path / "data", "a.dcm,P1", header="file,patient_id")
    with pytest.raises(LayoutError, match="no column 'labels'"):
        read_folder(tmp_path / "data")


def test_undecodable_files_are_named_with_the_workers_reason_and_lateral_films_are_noted(tmp_path: Path) -> None:
    folder = _write(
        tmp_path / "data",
        "good.dcm,Mass,P1,AB,train_val,,,,",
        "lateral.dcm,No Finding,P2,AB,test,,,,",
        "text.dcm,No Finding,P3,AB,test,,,,",
        "empty.dcm,No Finding,P4,AB,test,,,,",
    )
    write_dicom(chest_radiograph(), folder / "good.dcm")
    write_dicom(chest_radiograph(ViewPosition="LL", PatientOrientation=["A", "F"]), folder / "lateral.dcm")
    (folder / "text.dcm").write_text("not DICOM")
    write_dicom(chest_radiograph(PixelData=None), folder / "empty.dcm")
    found = _kinds(folder, Depth.PICTURES)
    assert [line.split(":")[0] for line in found[ProblemKind.NOT_FRONTAL_CHEST]] == ["lateral.dcm"]
    unreadable = "\n".join(found[ProblemKind.UNREADABLE_PICTURE])
    assert "text.dcm: undecodable" in unreadable
    assert "empty.dcm: no_pixels" in unreadable


def test_the_cache_of_dicom_files_knows_the_decoders_that_made_it(tmp_path: Path) -> None:
    folder = _write(tmp_path / "data", "a.dcm,Mass,P1,AB,train_val,,,,", "b.dcm,Mass,P2,AB,test,,,,")
    for name in ("a.dcm", "b.dcm"):
        write_dicom(chest_radiograph(), folder / name)
    cache = build_cache(read_folder(folder), tmp_path / "cache", lambda done, total: None)
    assert cache.manifest["pydicom"]
    assert cache.manifest["imagecodecs"]
