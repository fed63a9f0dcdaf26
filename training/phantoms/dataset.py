"""Write a folder of chest phantoms in ChestX-ray14's own layout.

`images/*.png`, `Data_Entry_2017.csv`, `BBox_List_2017.csv`, `train_val_list.txt` and `test_list.txt` have the official
names, columns and quirks (headers whose commas split one column into two; boxes as x, y, w, h in the 1024 px frame).
Two things differ from the official set, on purpose: **every drawn lesion of every split has a box** (officially 880
test images have one), and `PHANTOM.json` says that the pictures are drawings and which findings were drawn.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from training.data.cache_index import write_whole
from training.data.chestxray14 import ENTRY_FILES, PHANTOM_FILE
from training.data.radiographs import NO_FINDING
from training.data.reading_pool import ReadingPool
from training.phantoms.folder import PhantomDatasetError, drawing_into, require_no_data_set, write_tables
from training.phantoms.picture import PICTURE_PX, LesionBox, draw_phantom
from training.phantoms.statistics import DRAWN_FINDINGS, draw_findings

GENERATOR_VERSION = "1"
"""Raised whenever the same seed no longer gives the same bytes."""

ANTEROPOSTERIOR_SHARE = 0.40

_PLAN_STREAM, _PICTURE_STREAM = 0, 1


@dataclass(frozen=True)
class PlannedPicture:
    """What is decided about one picture before any is drawn: its place in the list, patient and view."""

    index: int
    name: str
    patient: int
    follow_up: int
    age_years: int
    gender: str
    anteroposterior: bool
    test: bool


@dataclass(frozen=True)
class DrawnPicture:
    """What a worker hands back: the plan, the labels drawn and their boxes."""

    plan: PlannedPicture
    labels: tuple[str, ...]
    boxes: tuple[LesionBox, ...]


def plan_pictures(images: int, seed: int, test_fraction: float) -> list[PlannedPicture]:
    """Spread `images` pictures over patients (one to several each) and patients over the two splits."""
    rng = np.random.default_rng([seed, _PLAN_STREAM])
    counts: list[int] = []
    planned = 0
    while planned < images:
        counts.append(min(int(rng.geometric(0.45)), 12, images - planned))
        planned += counts[-1]
    test_patients: set[int] = set()
    chosen = 0
    for patient in rng.permutation(len(counts)).tolist():
        if chosen + counts[patient] <= round(images * test_fraction):
            test_patients.add(patient)
            chosen += counts[patient]
    pictures: list[PlannedPicture] = []
    for patient, count in enumerate(counts):
        age, gender = int(np.clip(rng.normal(48, 16), 18, 94)), str(rng.choice(["M", "F"]))
        for follow_up in range(count):
            pictures.append(
                PlannedPicture(
                    index=len(pictures),
                    name=f"{patient + 1:08d}_{follow_up:03d}.png",
                    patient=patient + 1,
                    follow_up=follow_up,
                    age_years=min(age + follow_up // 2, 95),
                    gender=gender,
                    anteroposterior=bool(rng.random() < ANTEROPOSTERIOR_SHARE),
                    test=patient in test_patients,
                )
            )
    return pictures


def _draw_one(task: tuple[PlannedPicture, int, Path]) -> DrawnPicture:
    plan, seed, folder = task
    cv2.setNumThreads(1)
    rng = np.random.default_rng([seed, _PICTURE_STREAM, plan.index])
    phantom = draw_phantom(draw_findings(rng), plan.anteroposterior, rng)
    written, encoded = cv2.imencode(
        ".png",
        phantom.pixels,
        [
            cv2.IMWRITE_PNG_COMPRESSION,
            1,
            cv2.IMWRITE_PNG_STRATEGY,
            cv2.IMWRITE_PNG_STRATEGY_RLE,
        ],
    )
    if not written:
        raise PhantomDatasetError(f"{plan.name}: OpenCV could not encode the picture as PNG; check the installation")
    (folder / "images" / plan.name).write_bytes(encoded.tobytes())
    return DrawnPicture(plan, phantom.labels, phantom.boxes)


def _draw_all(tasks: list[tuple[PlannedPicture, int, Path]], workers: int) -> list[DrawnPicture]:
    """Draw every planned picture behind a progress bar; the result keeps the plan's order."""
    with ReadingPool(_draw_one, len(tasks), workers, worth_a_process=1) as pool:
        return list(track(pool.each(tasks), "Drawing phantoms", total=len(tasks)))


def _write_tables(folder: Path, drawn: list[DrawnPicture]) -> None:
    write_tables(
        folder,
        ENTRY_FILES["2017"],
        (_row(picture) for picture in drawn),
        (
            (picture.plan.name, box.label, box.x, box.y, box.width, box.height)
            for picture in drawn
            for box in picture.boxes
        ),
        (picture.plan.name for picture in drawn if not picture.plan.test),
        (picture.plan.name for picture in drawn if picture.plan.test),
    )


def _row(picture: DrawnPicture) -> tuple[object, ...]:
    plan = picture.plan
    labels = "|".join(sorted(picture.labels)) or NO_FINDING
    view = "AP" if plan.anteroposterior else "PA"
    size = (PICTURE_PX, PICTURE_PX, "0.400000", "0.400000")
    return (plan.name, labels, plan.follow_up, plan.patient, plan.age_years, plan.gender, view, *size)


def write_phantom_dataset(folder: Path, *, images: int, seed: int, workers: int, test_fraction: float = 0.2) -> None:
    """Draw a data set of phantoms into `folder`.

    The same `images`, `seed` and `test_fraction` give the same bytes whatever the number of `workers`: every picture
    has its own random stream.

    Parameters
    ----------
    folder
        Made if absent; must hold no earlier data set.
    images
        Number of pictures, at least 1. One picture takes about 0.1 s of one core and 0.6 MB.
    seed
        Non-negative seed.
    workers
        Processes that draw, at least 1.
    test_fraction
        Share of the pictures in `test_list.txt`, 0..1; no patient is in both lists.

    Raises
    ------
    PhantomDatasetError
        When the folder already holds a data set or cannot be written to, or a number is out of range.
    ReaderEndedError
        A process that draws was killed.
    """
    if images < 1 or workers < 1 or seed < 0 or not 0 <= test_fraction <= 1:
        raise PhantomDatasetError(
            f"images={images}, workers={workers}, seed={seed}, test_fraction={test_fraction}: "
            "need images and workers >= 1, seed >= 0 and a test fraction from 0 to 1"
        )
    require_no_data_set(folder)
    tasks = [(plan, seed, folder) for plan in plan_pictures(images, seed, test_fraction)]
    description = {
        "demonstration": True,
        "statement": "Procedural drawings of chests, not radiographs of people. NOT FOR DIAGNOSTIC USE.",
        "generator": "training.phantoms.dataset",
        "generator_version": GENERATOR_VERSION,
        "seed": seed,
        "images": images,
        "test_fraction": test_fraction,
        "drawn_findings": list(DRAWN_FINDINGS),
    }
    with drawing_into(folder):
        require_no_data_set(folder)  # which another process may have finished meanwhile
        drawn = _draw_all(tasks, workers)
        write_whole(f"{json.dumps(description, indent=2)}\n".encode(), folder / PHANTOM_FILE)
        _write_tables(folder, drawn)
