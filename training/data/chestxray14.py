"""Reader of a folder laid out like the NIH ChestX-ray14 download (Wang et al., CVPR 2017).

The layout: pictures anywhere below the folder (``images/``, ``images_001/images/`` ...), ``Data_Entry_2017.csv`` or
``Data_Entry_2017_v2020.csv``, ``BBox_List_2017.csv`` (optional), ``train_val_list.txt`` and ``test_list.txt``. Tables
may be gzipped; anything may be a link, so a partial or resized copy of the download is a folder of links.

Traps of the real files, all handled here: header cells that contain commas split into more columns than the rows have
(so columns are found by name up to there and boxes by position); ages written ``058Y`` in the first release; a trailing
comma in its header; the box list's ``Infiltrate``; ``Pleural_Thickening`` against ``Pleural Thickening``.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.labels import LABELS
from training.data.picture_files import find_pictures

BOX_FRAME_PX = 1024
"""Boxes are given in a frame of this side, whatever size the picture file has."""
NO_FINDING = "No Finding"
_ENTRY_FILES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
_ALIASES = {"Infiltrate": "Infiltration", "Pleural Thickening": "Pleural_Thickening"}
_COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "Patient Gender", "View Position")


class LayoutError(Exception):
    """The folder is not a usable ChestX-ray14 layout; the message names the file and what to do."""


@dataclass(frozen=True)
class Entry:
    """One row of the data entry file."""

    image_index: str
    """File name of the picture, the key of every list."""
    labels: frozenset[str]
    """Findings, empty for "No Finding"."""
    patient_id: str
    age_years: int | None
    sex: str
    view: str
    """PA or AP."""


@dataclass(frozen=True)
class Box:
    """Where a finding lies, in px of the 1024 x 1024 frame."""

    label: str
    x_px: float
    y_px: float
    width_px: float
    height_px: float


@dataclass(frozen=True)
class ChestXray14:
    """What the folder says, before any picture is opened."""

    root: Path
    entries: dict[str, Entry]
    """By picture name, in the order of the data entry file."""
    boxes: dict[str, tuple[Box, ...]]
    """By picture name; only pictures with boxes."""
    train_val: tuple[str, ...]
    test: tuple[str, ...]
    paths: dict[str, Path]
    """Picture file of each listed picture that has one, by the picture's name."""
    phantom: dict[str, Any] | None
    """What ``PHANTOM.json`` says; None for real pictures."""

    def missing(self) -> tuple[str, ...]:
        """Return listed pictures that have no file."""
        return tuple(name for name in (*self.train_val, *self.test) if name not in self.paths)

    def at_hand(self) -> ChestXray14:
        """Return the same lists cut to the pictures that have a file, as for a partial copy of the download."""
        return replace(
            self,
            entries={name: entry for name, entry in self.entries.items() if name in self.paths},
            boxes={name: boxes for name, boxes in self.boxes.items() if name in self.paths},
            train_val=tuple(name for name in self.train_val if name in self.paths),
            test=tuple(name for name in self.test if name in self.paths),
        )

    def targets(self, names: tuple[str, ...]) -> NDArray[np.float32]:
        """Return float32 [N, 14] of 0 and 1."""
        table = np.zeros((len(names), len(LABELS)), np.float32)
        for row, name in enumerate(names):
            for label in self.entries[name].labels:
                table[row, LABELS.index(label)] = 1
        return table

    def patients(self, names: tuple[str, ...]) -> NDArray[np.str_]:
        """Return the patient of each picture."""
        return np.array([self.entries[name].patient_id for name in names], dtype=np.str_)


def read_layout(root: Path) -> ChestXray14:
    """Read the lists of a folder.

    Raises
    ------
    LayoutError
        A list is missing or does not fit the others, a label is unknown, or a patient is in both parts.
    """
    entries = _read_entries(_entry_file(root))
    boxes = _read_boxes(_plain_or_gzipped(root / "BBox_List_2017.csv"), entries)
    train_val = _read_list(root / "train_val_list.txt", entries)
    test = _read_list(root / "test_list.txt", entries)
    shared = {entries[name].patient_id for name in train_val} & {entries[name].patient_id for name in test}
    if shared:
        raise LayoutError(
            f"{root}: {len(shared)} patients are in train_val_list.txt and in test_list.txt, e.g. patient "
            f"{min(shared)}; every number on the test part would be too good. Cut the lists by patient"
        )
    paths = find_pictures(root, (*train_val, *test))
    phantom_file = root / "PHANTOM.json"
    phantom = json.loads(phantom_file.read_text(encoding="utf-8")) if phantom_file.exists() else None
    return ChestXray14(root, entries, boxes, train_val, test, paths, phantom)


def list_hash(names: tuple[str, ...]) -> str:
    """Return the sha256 of a list of pictures, whatever its order."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def _entry_file(root: Path) -> Path:
    for name in _ENTRY_FILES:
        found = _plain_or_gzipped(root / name)
        if found is not None:
            return found
    raise LayoutError(
        f"{root}: no {' or '.join(_ENTRY_FILES)}; --data takes the folder of the NIH download, "
        "or one made by `python -m training phantom`"
    )


def _plain_or_gzipped(path: Path) -> Path | None:
    candidates = (path, path.with_name(f"{path.name}.gz"))
    return next((candidate for candidate in candidates if candidate.exists()), None)


def _rows(path: Path) -> Iterator[list[str]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as stream:
        yield from (row for row in csv.reader(stream) if row)


def _read_entries(path: Path) -> dict[str, Entry]:
    rows = _rows(path)
    header = [cell.strip() for cell in next(rows, [])]
    absent = [column for column in _COLUMNS if column not in header]
    if absent:
        raise LayoutError(f"{path}: no column {absent[0]!r}; is this the data entry file of ChestX-ray14?")
    places = [header.index(column) for column in _COLUMNS]
    entries: dict[str, Entry] = {}
    for number, row in enumerate(rows, start=2):
        if len(row) <= max(places):
            raise LayoutError(f"{path}, line {number}: {len(row)} columns, expected at least {max(places) + 1}")
        name, labels, patient, age, sex, view = (row[place].strip() for place in places)
        if name in entries:
            raise LayoutError(f"{path}, line {number}: {name} is listed a second time")
        entries[name] = Entry(name, _labels(labels, path, number), patient, _age_years(age), sex, view)
    return entries


def _labels(text: str, path: Path, number: int) -> frozenset[str]:
    labels = {_ALIASES.get(label.strip(), label.strip()) for label in text.split("|")} - {NO_FINDING, ""}
    unknown = sorted(labels - set(LABELS))
    if unknown:
        raise LayoutError(f"{path}, line {number}: unknown finding {unknown[0]!r}; known: {', '.join(LABELS)}")
    return frozenset(labels)


def _age_years(text: str) -> int | None:
    """Return whole years; ``013M`` and ``005D`` (months, days, first release) are 0 or the whole years in them."""
    digits, unit = text.rstrip("YMD"), text[-1:]
    if not digits.isdigit():
        return None
    return int(digits) // {"M": 12, "D": 365}.get(unit, 1)


def _read_boxes(path: Path | None, entries: dict[str, Entry]) -> dict[str, tuple[Box, ...]]:
    if path is None:
        return {}
    boxes: dict[str, list[Box]] = {}
    for number, row in enumerate(_rows(path), start=1):
        if number == 1:
            continue
        label = _ALIASES.get(row[1].strip(), row[1].strip())
        if label not in LABELS or len(row) < 6:
            raise LayoutError(f"{path}, line {number}: expected picture, finding, x, y, width, height")
        if row[0] in entries:
            boxes.setdefault(row[0], []).append(Box(label, *(float(cell) for cell in row[2:6])))
    return {name: tuple(found) for name, found in boxes.items()}


def _read_list(path: Path, entries: dict[str, Entry]) -> tuple[str, ...]:
    if not path.exists():
        raise LayoutError(f"{path} is missing; it is part of the NIH download and says which pictures belong together")
    names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    unknown = [name for name in names if name not in entries]
    if unknown:
        raise LayoutError(f"{path}: {len(unknown)} pictures have no row in the data entry file, e.g. {unknown[0]}")
    if len(set(names)) != len(names):
        raise LayoutError(f"{path}: a picture is listed twice")
    return names
