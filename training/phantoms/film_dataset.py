"""Write a data set of real films together with copies of them that carry drawn findings.

The folder has ChestX-ray14's layout: links to the films of the data set it is made from with their own labels and
lists, and beside them copies of those train_val films that show no finding, with findings drawn on them
(`training.phantoms.film_drawing`) and a box for every lesion. A copy keeps its film's patient, so that a cut by patient
keeps both on one side; `DRAWN_ON_FILMS.json` names the copies, and training never validates or tests on them.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from model.preprocess import resize_uint8
from training.data.cache_index import write_whole
from training.data.chestxray14 import DRAWN_FILE, ENTRY_FILES, TRAIN_VAL_LIST
from training.data.pictures import UnreadablePictureError, read_grey
from training.data.radiographs import NO_FINDING, Box, Entry, LabelledRadiographs
from training.data.reading_pool import ReadingPool
from training.data.tables import plain_or_gzipped
from training.output import FULL
from training.phantoms.canvas import Layer
from training.phantoms.film_drawing import draw_on_film
from training.phantoms.film_pose import film_template, pose_of
from training.phantoms.folder import PhantomDatasetError, drawing_into, require_no_data_set, write_tables
from training.phantoms.picture import PICTURE_PX
from training.phantoms.statistics import DRAWN_FINDINGS, draw_abnormal_findings

GENERATOR_VERSION = "1"
"""Raised whenever the same seed and films no longer give the same bytes."""


@dataclass(frozen=True)
class _Task:
    """One film and the copies to draw of it."""

    entry: Entry
    file: Path
    index: int
    copies: int
    seed: int
    template: Layer
    folder: Path


@dataclass(frozen=True)
class DrawnCopy:
    """One drawn copy: its row and its boxes."""

    entry: Entry
    boxes: tuple[Box, ...]


def write_films_with_findings(
    films: LabelledRadiographs, folder: Path, *, copies: int, seed: int, workers: int
) -> tuple[int, int]:
    """Write the folder.

    The same films, `copies` and `seed` give the same bytes whatever the number of `workers`.

    Parameters
    ----------
    films
        In ChestX-ray14's layout, every listed picture at hand.
    folder
        Made if absent; must hold no earlier data set.
    copies
        Drawn copies of each film without findings, at least 1; each has one to three findings.
    seed
        Non-negative seed.
    workers
        Processes that draw, at least 1.

    Returns
    -------
    tuple[int, int]
        Copies drawn, and films left out because no upright chest was found on them for certain or they are unreadable.

    Raises
    ------
    PhantomDatasetError
        The folder already holds a data set, lies in the films' own or cannot be written to, a number is out of range,
        the films are drawings themselves or of another layout, none in train_val is without findings, or a chest was
        found on none of these.
    ReaderEndedError
        A process that draws was killed.
    """
    _require_usable(films, folder, copies, seed, workers)
    empty = _without_findings(films)
    template = film_template(
        film for entry in empty if (film := _square_film(films.paths[entry.image_index])) is not None
    )
    tasks = [
        _Task(entry, films.paths[entry.image_index], index, copies, seed, template, folder)
        for index, entry in enumerate(empty)
    ]
    with drawing_into(folder):
        require_no_data_set(folder)  # which another process may have finished meanwhile
        drawn = _draw_all(tasks, workers)
        found = [copy for of_film in drawn for copy in of_film]
        if not found:
            raise PhantomDatasetError(f"{films.root}: an upright chest was found on none of {len(empty):,} films")
        _link_films(films, folder)
        _write_note(found, folder, copies=copies, seed=seed)
        _write_tables(films, found, folder)
    return len(found), sum(not of_film for of_film in drawn)


def _require_usable(films: LabelledRadiographs, folder: Path, copies: int, seed: int, workers: int) -> None:
    if copies < 1 or workers < 1 or seed < 0:
        raise PhantomDatasetError(
            f"copies={copies}, workers={workers}, seed={seed}: need copies and workers >= 1, seed >= 0"
        )
    require_no_data_set(folder)
    new, old = folder.resolve(), films.root.resolve()
    if new.is_relative_to(old) or old.is_relative_to(new):
        raise PhantomDatasetError(f"{folder}: inside {films.root} or around it, each would hold the other's pictures")
    if films.phantom is not None or films.drawn:
        raise PhantomDatasetError(f"{films.root} holds drawings already; findings are drawn on real films only")
    if not any(plain_or_gzipped(films.root / name) for name in ENTRY_FILES.values()):
        raise PhantomDatasetError(
            f"{films.root}: no {' or '.join(ENTRY_FILES.values())}; films are drawn on in ChestX-ray14's layout only"
        )


def _without_findings(films: LabelledRadiographs) -> list[Entry]:
    empty = [films.entries[name] for name in films.train_val if not films.entries[name].labels]
    if not empty:
        raise PhantomDatasetError(
            f"{films.root}: no film of {TRAIN_VAL_LIST} is without findings; there is none to draw on"
        )
    return empty


def _square_film(file: Path) -> NDArray[np.uint8] | None:
    """Return a film squashed to a square as the cache does, at most 1024 px; None where it cannot be read."""
    try:
        film = read_grey(file)
    except UnreadablePictureError:  # `prepare` names it; here it is counted as left out
        return None
    return resize_uint8(film, min(PICTURE_PX, max(film.shape)))


def _draw_all(tasks: list[_Task], workers: int) -> list[tuple[DrawnCopy, ...]]:
    with ReadingPool(_draw_copies, len(tasks), workers, worth_a_process=1) as pool:
        return list(track(pool.each(tasks), "Drawing on films", total=len(tasks)))


def _draw_copies(task: _Task) -> tuple[DrawnCopy, ...]:
    cv2.setNumThreads(1)
    film = _square_film(task.file)
    pose = None if film is None else pose_of(film, task.template)
    if film is None or pose is None:
        return ()
    copies = []
    for number in range(1, task.copies + 1):
        rng = np.random.default_rng([task.seed, task.index, number])
        drawn = draw_on_film(film, pose, draw_abnormal_findings(rng), rng)
        name = f"{Path(task.entry.image_index).stem}-drawn{number}.png"
        encoded = cv2.imencode(".png", drawn.pixels)[1]
        (task.folder / "images" / name).write_bytes(encoded.tobytes())
        boxes = tuple(Box(box.label, box.x, box.y, box.width, box.height) for box in drawn.boxes)
        labels = frozenset(box.label for box in boxes)
        own = task.entry
        copies.append(DrawnCopy(Entry(name, labels, own.patient_id, own.age_years, own.sex, own.view), boxes))
    return tuple(copies)


def _link_films(films: LabelledRadiographs, folder: Path) -> None:
    links = folder / "films"
    links.mkdir(exist_ok=True)
    for name in films.listed:
        source = films.paths[name].resolve()
        link = links / f"{Path(name).stem}{source.suffix}"
        link.unlink(missing_ok=True)  # of an interrupted run
        _link(source, link)


def _link(source: Path, link: Path) -> None:
    """Make a symbolic link, or a copy where the file system or the user's rights have none."""
    try:
        link.symlink_to(source)
    except OSError as error:
        if error.errno in FULL:
            raise
        shutil.copyfile(source, link)


def _write_tables(films: LabelledRadiographs, drawn: list[DrawnCopy], folder: Path) -> None:
    boxes = {name: films.boxes[name] for name in films.listed if name in films.boxes}
    boxes |= {copy.entry.image_index: copy.boxes for copy in drawn}
    write_tables(
        folder,
        ENTRY_FILES["v2020"],
        (_row(entry) for entry in (*(films.entries[name] for name in films.listed), *(copy.entry for copy in drawn))),
        (
            (name, box.label, box.x_px, box.y_px, box.width_px, box.height_px)
            for name, found in boxes.items()
            for box in found
        ),
        (*films.train_val, *(copy.entry.image_index for copy in drawn)),
        films.test,
    )


def _row(entry: Entry) -> tuple[object, ...]:
    """Return the columns of an entry; follow-up number, size and spacing are not kept by ``Entry``."""
    words = "|".join(sorted(entry.labels)) or NO_FINDING
    age = "" if entry.age_years is None else entry.age_years
    return (entry.image_index, words, 0, entry.patient_id, age, entry.sex, entry.view, "", "", "", "")


def _write_note(drawn: list[DrawnCopy], folder: Path, *, copies: int, seed: int) -> None:
    note = {
        "statement": "The pictures named here are real films with findings drawn on them. NOT FOR DIAGNOSTIC USE.",
        "generator": "training.phantoms.film_dataset",
        "generator_version": GENERATOR_VERSION,
        "seed": seed,
        "copies": copies,
        "drawn_findings": list(DRAWN_FINDINGS),
        "pictures": [copy.entry.image_index for copy in drawn],
    }
    write_whole(f"{json.dumps(note, indent=1)}\n".encode(), folder / DRAWN_FILE)
