"""Findings drawn on films: the chest is found, lesions lie in their boxes, copies never reach validation or test."""

from __future__ import annotations

import csv
import errno
import json
from dataclasses import replace
from pathlib import Path

import cv2
import model_factories
import numpy as np
import pytest
from file_limits import files_of_at_most
from layouts import write_layout
from numpy.typing import NDArray
from samples import shared

from model.bundle import write_bundle
from model.densenet import weights_of
from training.data.chestxray14 import DRAWN_FILE, read_layout
from training.data.part_name import PartName
from training.data.pictures import read_grey
from training.data.radiographs import LabelledRadiographs, LayoutError
from training.data.split import choose_parts
from training.evaluation.leakage import seen_images
from training.evaluation.predictions import network_predictions
from training.phantoms.canvas import fill_outline
from training.phantoms.dataset import write_phantom_dataset
from training.phantoms.film_dataset import write_films_with_findings
from training.phantoms.film_drawing import draw_on_film
from training.phantoms.film_pose import FILM_CHEST, Pose, drawn_template, film_template, pose_of
from training.phantoms.folder import PhantomDatasetError
from training.phantoms.picture import draw_phantom
from training.phantoms.statistics import DRAWN_FINDINGS
from training.recalibration import CalibrationChoices, recalibrated
from training.recipe import Data
from training.subjects import part_names

SIDE_PX = 256


def drawn_chest(seed: int) -> NDArray[np.uint8]:
    """Return a phantom without findings as a film of 256 px; it stands in for a radiograph."""
    pixels = draw_phantom((), False, np.random.default_rng([8, seed])).pixels
    return np.asarray(cv2.resize(pixels, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), np.uint8)


@pytest.fixture(scope="module")
def film() -> NDArray[np.uint8]:
    return drawn_chest(1)


@pytest.fixture(scope="module")
def pose(film: NDArray[np.uint8]) -> Pose:
    found = pose_of(film, drawn_template())
    assert found is not None
    return found


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> LabelledRadiographs:
    """Eight patients with two pictures each, half of them without findings; the note that they are drawings is gone."""
    folder = tmp_path_factory.mktemp("films") / "source"
    write_phantom_dataset(folder, images=16, seed=5, workers=1, test_fraction=0.25)
    (folder / "PHANTOM.json").unlink()
    return read_layout(folder)


@pytest.fixture(scope="module")
def both(films: LabelledRadiographs, tmp_path_factory: pytest.TempPathFactory) -> LabelledRadiographs:
    folder = tmp_path_factory.mktemp("films") / "drawn"
    write_films_with_findings(films, folder, copies=2, seed=3, workers=1)
    return read_layout(folder)


@pytest.fixture(scope="module")
def few(films: LabelledRadiographs) -> LabelledRadiographs:
    """Two films without findings and one of the test list."""
    empty = [name for name in films.train_val if not films.entries[name].labels]
    return films.only({*empty[:2], films.test[0]})


def lungs_on(film: NDArray[np.uint8], pose: Pose) -> tuple[float, float]:
    """Return the mean grey level in the posed lungs and in a rim just outside their walls."""
    size = (film.shape[1], film.shape[0])
    lungs = np.maximum(fill_outline(FILM_CHEST.lung(-1)), fill_outline(FILM_CHEST.lung(1)))
    posed = cv2.warpAffine(lungs, pose, size)
    rim = (cv2.dilate(posed, np.ones((25, 25))) > 0.5) & (posed < 0.2)
    return float(film[posed > 0.8].mean()), float(film[rim].mean())


def test_the_pose_follows_a_chest_that_is_moved_and_made_smaller(film: NDArray[np.uint8], pose: Pose) -> None:
    change = np.array([[0.9, 0.0, 20.0], [0.0, 0.9, 6.0]])
    moved = cv2.warpAffine(film, change, (SIDE_PX, SIDE_PX), borderMode=cv2.BORDER_REPLICATE)
    found = pose_of(np.asarray(moved, np.uint8), drawn_template())
    assert found is not None
    corners = np.array([[200, 180, 1], [450, 180, 1], [200, 420, 1], [450, 420, 1]])
    expected = (corners @ pose.T) @ change[:, :2].T + change[:, 2]
    assert np.abs(corners @ found.T - expected).max() < 6


@pytest.mark.parametrize("what", ["blank", "noise", "upside down", "inverted"])
def test_no_chest_is_found_where_there_is_none_upright(film: NDArray[np.uint8], what: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, film.shape, dtype=np.uint8)
    pictures = {"blank": film * 0, "noise": noise, "upside down": film[::-1], "inverted": 255 - film}
    assert pose_of(np.ascontiguousarray(pictures[what]), drawn_template()) is None


def test_lungs_are_found_on_real_films() -> None:
    files = sorted(shared("data/nih256/images").glob("*.jpg"))[::100]
    radiographs = [read_grey(file) for file in files]
    template = film_template(radiographs)
    poses = [pose_of(radiograph, template) for radiograph in radiographs]
    found = [lungs_on(film, pose) for film, pose in zip(radiographs, poses, strict=True) if pose is not None]
    assert len(found) >= 0.75 * len(files)  # the sick are among them, whose lungs are white
    assert np.mean([lung < rim for lung, rim in found]) >= 0.95


@pytest.mark.parametrize("label", DRAWN_FINDINGS)
def test_a_finding_changes_the_film_in_its_box_and_leaves_the_rest(
    film: NDArray[np.uint8], pose: Pose, label: str
) -> None:
    before = film.copy()
    drawn = draw_on_film(film, pose, (label,), np.random.default_rng(11))
    assert np.array_equal(film, before)
    assert drawn.boxes
    assert {box.label for box in drawn.boxes} == {label}
    inside = np.zeros(film.shape, bool)
    for box in drawn.boxes:
        left, top = int(box.x / 4) - 4, int(box.y / 4) - 4
        inside[max(top, 0) : top + int(box.height / 4) + 9, max(left, 0) : left + int(box.width / 4) + 9] = True
    change = np.abs(drawn.pixels.astype(int) - film)
    assert change[inside].mean() > 2
    assert change[~inside].mean() < 0.2 * change[inside].mean()


@pytest.mark.parametrize(("label", "sign"), [("Effusion", 1), ("Mass", 1), ("Nodule", 1), ("Consolidation", 1)])
def test_what_adds_thickness_is_brighter(film: NDArray[np.uint8], pose: Pose, label: str, sign: int) -> None:
    drawn = draw_on_film(film, pose, (label,), np.random.default_rng(12))
    change = drawn.pixels.astype(int) - film
    assert sign * change[np.abs(change) > 4].mean() > 0


def test_a_pneumothorax_loses_the_vessels(film: NDArray[np.uint8], pose: Pose) -> None:
    drawn = draw_on_film(film, pose, ("Pneumothorax",), np.random.default_rng(13))
    box = drawn.boxes[0]
    rows = slice(int(box.y / 4), int((box.y + box.height) / 4))
    columns = slice(int(box.x / 4), int((box.x + box.width) / 4))
    darker = (drawn.pixels.astype(int) - film)[rows, columns] < -2
    assert darker.mean() > 0.2

    def detail(pixels: NDArray[np.uint8]) -> float:
        levels = pixels.astype(np.float32)
        return float(np.abs(levels - cv2.GaussianBlur(levels, (0, 0), 2))[rows, columns][darker].mean())

    assert detail(drawn.pixels) < 0.8 * detail(film)


def test_a_large_heart_is_wider(film: NDArray[np.uint8], pose: Pose) -> None:
    box = draw_on_film(film, pose, ("Cardiomegaly",), np.random.default_rng(14)).boxes[0]
    heart = FILM_CHEST.heart()
    normal = np.ptp(heart @ pose[:, :2].T, axis=0)[0] * 1024 / SIDE_PX
    assert 1.2 * normal < box.width < 2 * normal


def test_the_folder_holds_films_and_copies_of_those_without_findings(
    films: LabelledRadiographs, both: LabelledRadiographs
) -> None:
    empty = {name for name in films.train_val if not films.entries[name].labels}
    sources = {name.split("-drawn")[0] + ".png" for name in both.drawn}
    assert sources <= empty
    assert len(sources) >= 0.7 * len(empty)
    assert len(both.drawn) == 2 * len(sources)
    assert both.test == films.test
    assert set(both.train_val) == set(films.train_val) | both.drawn
    assert all(both.entries[name].labels == films.entries[name].labels for name in films.listed)
    for name in both.drawn:
        source = films.entries[name.split("-drawn")[0] + ".png"]
        copy = both.entries[name]
        assert (copy.patient_id, copy.sex, copy.view) == (source.patient_id, source.sex, source.view)
        assert copy.labels == {box.label for box in both.boxes[name]}
        assert read_grey(both.paths[name]).shape == (1024, 1024)


def test_copies_are_trained_on_and_never_validated_or_tested_on(both: LabelledRadiographs) -> None:
    for split in ("official", "patient-random", "image-random"):
        parts = choose_parts(both, Data(split=split, shares=(0.4, 0.3, 0.3)), 0.3, 1)
        assert not both.drawn & {*parts.validation, *parts.test}
        assert f"{len(both.drawn & set(parts.training))} of the training pictures are films with drawn" in parts.mark
    official = choose_parts(both, Data(), 0.3, 1)
    held = {both.entries[name].patient_id for name in official.validation}
    assert not held & {both.entries[name].patient_id for name in official.training}
    assert both.drawn & set(official.training)


def test_copies_are_neither_judged_nor_counted_when_thresholds_are_chosen_anew(tmp_path: Path) -> None:
    """A finding may flag only where enough real films show it."""
    write_layout(tmp_path / "data", patients=100, test_patients=20, size_px=40)
    films = read_layout(tmp_path / "data")
    trained, held = films.train_val[:60], films.train_val[60:]
    seen = seen_images(films, trained, held)
    weights = weights_of(model_factories.network())
    bundle = write_bundle(tmp_path / "bundle", model_factories.facts(("Effusion",)), weights, "card", seen=seen)
    logits = np.random.default_rng(1).normal(0, 1, (len(held), 14))
    said = network_predictions("a model", held, films.patients(held), logits, bundle.calibration, bundle.trained)
    assert list(recalibrated(bundle, films, said, CalibrationChoices()).operating_points) == ["Effusion"]
    mixed = replace(films, drawn=frozenset(trained[10:]))
    assert recalibrated(bundle, mixed, said, CalibrationChoices()).reported_only == ("Effusion",)
    assert part_names(mixed, PartName.TRAIN_VAL, None) == (*trained[:10], *held)
    assert part_names(mixed, PartName.ALL, None) == (*trained[:10], *held, *films.test)


def test_real_pictures_are_told_from_drawn_ones_and_the_same_seed_gives_the_same_bytes(
    films: LabelledRadiographs, both: LabelledRadiographs, tmp_path: Path
) -> None:
    assert set(both.real(both.listed)) == set(films.listed)
    write_films_with_findings(films, tmp_path / "again", copies=2, seed=3, workers=2)
    for first in sorted(both.root.rglob("*")):
        if first.is_file() and not first.is_symlink():
            assert first.read_bytes() == (tmp_path / "again" / first.relative_to(both.root)).read_bytes()


def test_what_cannot_be_drawn_on_is_refused_or_counted(films: LabelledRadiographs, tmp_path: Path) -> None:
    with pytest.raises(PhantomDatasetError, match="copies=0"):
        write_films_with_findings(films, tmp_path / "a", copies=0, seed=1, workers=1)
    with pytest.raises(PhantomDatasetError, match="holds a data set: choose an empty folder"):
        write_films_with_findings(films, films.root, copies=1, seed=1, workers=1)
    write_phantom_dataset(tmp_path / "phantoms", images=2, seed=5, workers=1)
    with pytest.raises(PhantomDatasetError, match="drawn on real films only"):
        write_films_with_findings(read_layout(tmp_path / "phantoms"), tmp_path / "b", copies=1, seed=1, workers=1)
    sick = films.only({name for name in films.listed if films.entries[name].labels})
    with pytest.raises(PhantomDatasetError, match="is without findings"):
        write_films_with_findings(sick, tmp_path / "c", copies=1, seed=1, workers=1)
    empty = [name for name in films.train_val if not films.entries[name].labels]
    (tmp_path / "broken.png").write_bytes(b"no picture")
    broken = {**films.paths, empty[0]: tmp_path / "broken.png"}
    damaged = LabelledRadiographs(**{**vars(films), "paths": broken})
    _, left_out = write_films_with_findings(damaged, tmp_path / "d", copies=1, seed=1, workers=1)
    assert left_out >= 1
    drawn = json.loads((tmp_path / "d" / DRAWN_FILE).read_text())["pictures"]
    assert not any(name.startswith(Path(empty[0]).stem) for name in drawn)
    with (tmp_path / "d" / "Data_Entry_2017_v2020.csv").open() as stream:
        assert empty[0] in {row[0] for row in csv.reader(stream)}


def test_films_of_any_shape_are_squashed_to_a_square_like_the_cache_does(
    few: LabelledRadiographs, tmp_path: Path
) -> None:
    oblong, tiny = few.train_val
    paths = dict(few.paths)
    for name, size in ((oblong, (320, 256)), (tiny, (1, 1))):
        paths[name] = tmp_path / name
        cv2.imwrite(str(paths[name]), cv2.resize(read_grey(few.paths[name]), size, interpolation=cv2.INTER_AREA))
    write_films_with_findings(replace(few, paths=paths), tmp_path / "drawn", copies=2, seed=3, workers=1)
    written = read_layout(tmp_path / "drawn")
    assert {name.split("-drawn")[0] for name in written.drawn} == {Path(oblong).stem}  # no chest on a single px
    for name in written.drawn:
        assert read_grey(written.paths[name]).shape == (320, 320)
        for box in written.boxes[name]:
            assert box.x_px >= 0 and box.y_px >= 0 and box.width_px > 0 and box.height_px > 0
            assert box.x_px + box.width_px <= 1024 and box.y_px + box.height_px <= 1024


def test_what_an_interruption_leaves_is_no_data_set_and_the_same_command_goes_over_it(
    few: LabelledRadiographs, tmp_path: Path
) -> None:
    write_films_with_findings(few, tmp_path / "drawn", copies=1, seed=3, workers=1)
    table = tmp_path / "drawn" / "Data_Entry_2017_v2020.csv"
    own = [path for path in table.parent.rglob("*") if path.is_file() and not path.is_symlink()]
    assert max(own, key=lambda path: path.stat().st_mtime_ns) == table  # before it there is no data set
    whole = table.read_bytes()
    table.unlink()
    write_films_with_findings(few, tmp_path / "drawn", copies=1, seed=3, workers=1)
    assert table.read_bytes() == whole


def test_a_full_disk_is_named_and_leaves_no_data_set(few: LabelledRadiographs, tmp_path: Path) -> None:
    refusal = r"cannot be written \(File too large\); make room and run the same command again"
    with files_of_at_most(10_000), pytest.raises(PhantomDatasetError, match=refusal):
        write_films_with_findings(few, tmp_path / "drawn", copies=1, seed=3, workers=1)
    with pytest.raises(LayoutError):
        read_layout(tmp_path / "drawn")


def test_films_are_copied_where_no_link_can_be_made(
    few: LabelledRadiographs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(link: Path, target: Path) -> None:  # as exFAT and SMB shares do
        raise PermissionError(errno.EPERM, "Operation not permitted", str(link))

    monkeypatch.setattr(Path, "symlink_to", refuse)
    write_films_with_findings(few, tmp_path / "drawn", copies=1, seed=3, workers=1)
    copied = read_layout(tmp_path / "drawn")
    for name in few.listed:
        assert not copied.paths[name].is_symlink()
        assert copied.paths[name].read_bytes() == few.paths[name].read_bytes()


def test_folders_that_cannot_be_drawn_from_or_into_are_refused(few: LabelledRadiographs, tmp_path: Path) -> None:
    for folder in (few.root / "drawn", few.root.parent):
        with pytest.raises(PhantomDatasetError, match="would hold the other's pictures"):
            write_films_with_findings(few, folder, copies=1, seed=1, workers=1)
    (tmp_path / "hospital").mkdir()
    hospital = replace(few, root=tmp_path / "hospital")
    with pytest.raises(PhantomDatasetError, match="in ChestX-ray14's layout only"):
        write_films_with_findings(hospital, tmp_path / "drawn", copies=1, seed=1, workers=1)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PhantomDatasetError, match=r"cannot be written .*name another folder"):
        write_films_with_findings(few, tmp_path / "file", copies=1, seed=1, workers=1)


def test_films_without_a_chest_are_named_and_nothing_is_written(few: LabelledRadiographs, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "blank.png"), np.zeros((64, 64), np.uint8))
    blank = replace(few, paths=dict.fromkeys(few.paths, tmp_path / "blank.png"))
    with pytest.raises(PhantomDatasetError, match=r"an upright chest was found on none of \d+ films"):
        write_films_with_findings(blank, tmp_path / "drawn", copies=1, seed=1, workers=1)
    left = [path.name for path in (tmp_path / "drawn").rglob("*") if path.is_file()]
    assert left == ["run.lock"], "which keeps a second command out, and holds nothing"
    assert (tmp_path / "drawn" / "run.lock").read_bytes() == b""
