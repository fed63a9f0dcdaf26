"""A phantom data set has ChestX-ray14's layout, a box for every lesion, and depends on nothing but its seed."""

from __future__ import annotations

import csv
import gzip
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from file_limits import files_of_at_most
from samples import shared
from typer.testing import CliRunner

from training.cli import app
from training.data.chestxray14 import read_layout
from training.data.radiographs import LayoutError
from training.data.reading_pool import ReaderEndedError
from training.output import OutputError, only_run
from training.phantoms.dataset import plan_pictures, write_phantom_dataset
from training.phantoms.folder import BOX_HEADER, DATA_ENTRY_HEADER, PhantomDatasetError
from training.phantoms.gallery import plot_examples
from training.phantoms.statistics import DRAWN_FINDINGS

IMAGES = 20


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "set"
    write_phantom_dataset(folder, images=IMAGES, seed=3, workers=1, test_fraction=0.3)
    return folder


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_headers_are_those_of_the_official_files() -> None:
    metadata = shared("data/nih_metadata")
    with gzip.open(metadata / "Data_Entry_2017_v2020.csv.gz", "rt", encoding="utf-8") as stream:
        assert stream.readline().rstrip("\r\n") == DATA_ENTRY_HEADER
    assert (metadata / "BBox_List_2017.csv").read_text(encoding="utf-8").splitlines()[0] == BOX_HEADER


def test_every_listed_picture_is_a_1024_px_grey_png_and_no_other_exists(dataset: Path) -> None:
    header, *entries = rows_of(dataset / "Data_Entry_2017.csv")
    assert len(header) == len(entries[0]) == 11
    assert {row[0] for row in entries} == {path.name for path in (dataset / "images").iterdir()}
    assert len(entries) == IMAGES
    for row in entries:
        pixels = cv2.imread(str(dataset / "images" / row[0]), cv2.IMREAD_UNCHANGED)
        assert pixels is not None
        assert (pixels.shape, pixels.dtype) == ((1024, 1024), np.uint8)
        assert pixels.std() > 15


def test_every_label_has_a_box_inside_the_picture_and_every_box_a_label(dataset: Path) -> None:
    labels = {row[0]: set(row[1].split("|")) - {"No Finding"} for row in rows_of(dataset / "Data_Entry_2017.csv")[1:]}
    boxed: dict[str, set[str]] = {name: set() for name in labels}
    for name, label, *sides in rows_of(dataset / "BBox_List_2017.csv")[1:]:
        x, y, width, height = map(float, sides)
        assert 0 <= x < x + width <= 1024
        assert 0 <= y < y + height <= 1024
        boxed[name].add(label)
    assert boxed == labels
    assert set().union(*labels.values()) <= set(DRAWN_FINDINGS)


def test_the_split_lists_hold_every_picture_once_and_share_no_patient(dataset: Path) -> None:
    train = (dataset / "train_val_list.txt").read_text(encoding="utf-8").split()
    test = (dataset / "test_list.txt").read_text(encoding="utf-8").split()
    assert sorted(train + test) == sorted(path.name for path in (dataset / "images").iterdir())
    assert {name[:8] for name in train}.isdisjoint(name[:8] for name in test)
    assert 0 < len(test) <= 0.3 * IMAGES


def test_a_large_plan_keeps_patients_apart_and_reaches_the_test_share() -> None:
    plan = plan_pictures(5200, 2017, 0.2)
    assert {p.patient for p in plan if p.test}.isdisjoint(p.patient for p in plan if not p.test)
    assert sum(p.test for p in plan) == 1040
    assert len({p.name for p in plan}) == 5200
    assert max(p.follow_up for p in plan) >= 3


def test_the_data_set_says_that_it_is_a_demonstration_and_what_was_drawn(dataset: Path) -> None:
    description = json.loads((dataset / "PHANTOM.json").read_text(encoding="utf-8"))
    assert description["demonstration"] is True
    assert description["drawn_findings"] == list(DRAWN_FINDINGS)
    assert (description["seed"], description["images"]) == (3, IMAGES)
    assert "NOT FOR DIAGNOSTIC USE" in description["statement"]


def test_the_bytes_do_not_depend_on_the_number_of_workers_but_on_the_seed(tmp_path: Path) -> None:
    for name, seed, workers in (("one", 11, 1), ("two", 11, 2), ("other", 12, 1)):
        write_phantom_dataset(tmp_path / name, images=4, seed=seed, workers=workers)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    one, other = contents(tmp_path / "one"), contents(tmp_path / "other")
    assert one["images/00000001_000.png"] != other["images/00000001_000.png"]


def test_a_folder_that_holds_a_data_set_is_left_alone(dataset: Path) -> None:
    before = (dataset / "Data_Entry_2017.csv").read_bytes()
    with pytest.raises(PhantomDatasetError, match="already holds a data set"):
        write_phantom_dataset(dataset, images=2, seed=1, workers=1)
    assert (dataset / "Data_Entry_2017.csv").read_bytes() == before


def test_the_table_of_labels_is_written_last_and_a_folder_without_it_is_drawn_into_again(
    dataset: Path, tmp_path: Path
) -> None:
    write_phantom_dataset(tmp_path / "set", images=3, seed=3, workers=1)
    whole = contents(tmp_path / "set")
    table = tmp_path / "set" / "Data_Entry_2017.csv"
    files = [path for path in table.parent.rglob("*") if path.is_file()]
    assert max(files, key=lambda path: path.stat().st_mtime_ns) == table  # PHANTOM.json stands before it
    table.unlink()
    write_phantom_dataset(tmp_path / "set", images=3, seed=3, workers=1)
    assert contents(tmp_path / "set") == whole


def test_a_full_disk_is_named_and_leaves_no_data_set(tmp_path: Path) -> None:
    with files_of_at_most(10_000), pytest.raises(PhantomDatasetError, match=r"cannot be written .*make room and run"):
        write_phantom_dataset(tmp_path / "set", images=1, seed=3, workers=1)
    assert not (tmp_path / "set" / "Data_Entry_2017.csv").exists()


@pytest.mark.parametrize(
    ("images", "seed", "workers", "fraction"), [(0, 1, 1, 0.2), (1, -1, 1, 0.2), (1, 1, 0, 0.2), (1, 1, 1, 1.5)]
)
def test_numbers_out_of_range_are_refused_before_anything_is_written(
    tmp_path: Path, images: int, seed: int, workers: int, fraction: float
) -> None:
    with pytest.raises(PhantomDatasetError, match="need images and workers"):
        write_phantom_dataset(tmp_path / "set", images=images, seed=seed, workers=workers, test_fraction=fraction)
    assert not (tmp_path / "set").exists()


def test_the_contact_sheet_shows_the_boxes_in_colour(dataset: Path, tmp_path: Path) -> None:
    plot_examples(dataset, tmp_path / "plots" / "sheet.png")
    sheet = cv2.imread(str(tmp_path / "plots" / "sheet.png"))
    assert sheet is not None
    assert sheet.shape == (4 * 360, 6 * 360, 3)
    assert (np.ptp(sheet.astype(int), axis=2) > 100).sum() > 500


def end_this_process(task: object) -> None:
    """Stand for a process that the system kills for lack of memory; a function of a module, so that one can be told."""
    os._exit(9)


@pytest.mark.timeout(60)
def test_a_drawing_process_that_is_killed_ends_the_drawing_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.phantoms.dataset._draw_one", end_this_process)
    with pytest.raises(ReaderEndedError, match="killed, perhaps for lack of memory; run the same command again"):
        write_phantom_dataset(tmp_path / "set", images=4, seed=1, workers=2)
    with pytest.raises(LayoutError):
        read_layout(tmp_path / "set")


def test_two_do_not_draw_into_one_folder(tmp_path: Path) -> None:
    """The labels of one stood beside pictures of the other."""
    with only_run(tmp_path / "set"), pytest.raises(OutputError, match="at work in this folder"):
        write_phantom_dataset(tmp_path / "set", images=2, seed=1, workers=1)
    write_phantom_dataset(tmp_path / "set", images=2, seed=1, workers=1)


@pytest.mark.parametrize("option", ["--images", "--workers", "--copies"])
def test_more_than_anybody_can_draw_is_refused_before_it_is_planned(option: str, tmp_path: Path) -> None:
    """Planning them took all memory there is."""
    done = CliRunner().invoke(app, ["phantom", str(tmp_path / "new"), option, "9" * 12])
    assert done.exit_code == 2, done.output
    assert option in done.output
    assert not (tmp_path / "new").exists()
