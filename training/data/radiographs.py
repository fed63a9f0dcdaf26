"""Labelled radiographs: who is on them, what they show, in which part they are and which file holds them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.labels import LABELS

BOX_FRAME_PX = 1024
"""Boxes are given in a frame of this side, whatever size the picture file has."""
NO_FINDING = "No Finding"


class LayoutError(Exception):
    """The folder is no usable data set; the message names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the table of labels."""

    image_index: str
    """Name of the picture, the key of every list."""
    labels: frozenset[str]
    """Findings, empty for "No Finding"."""
    patient_id: str
    age_years: int | None
    sex: str
    """M, F, or what the table says."""
    view: str
    """PA, AP, or what the table says."""


@dataclass(frozen=True, slots=True)
class Box:
    """Where a finding lies, in px of the 1024 x 1024 frame."""

    label: str
    x_px: float
    y_px: float
    width_px: float
    height_px: float


@dataclass(frozen=True)
class LabelledRadiographs:
    """What a folder says, before any picture is opened."""

    root: Path
    entries: dict[str, Entry]
    """By picture name, in the order of the table."""
    boxes: dict[str, tuple[Box, ...]]
    """By picture name; only pictures with boxes."""
    train_val: tuple[str, ...]
    test: tuple[str, ...]
    paths: dict[str, Path]
    """Picture file of each listed picture that has one, by the picture's name."""
    phantom: dict[str, Any] | None
    """What ``PHANTOM.json`` says; None for real pictures."""
    source: str
    """Where the pictures are from and how the parts were made, in words."""
    drawn: frozenset[str] = frozenset()
    """Pictures that are real films with findings drawn on them: for training only."""

    @property
    def listed(self) -> tuple[str, ...]:
        """Return the pictures of both parts."""
        return self.train_val + self.test

    def real(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of the pictures on which nothing is drawn."""
        return tuple(name for name in names if name not in self.drawn)

    def missing(self) -> tuple[str, ...]:
        """Return listed pictures that have no file."""
        return tuple(name for name in self.listed if name not in self.paths)

    def at_hand(self) -> LabelledRadiographs:
        """Return the same lists cut to the pictures that have a file, as for a partial copy of the download."""
        return self.only(set(self.paths))

    def only(self, names: set[str]) -> LabelledRadiographs:
        """Return the same lists cut to these pictures."""
        return replace(
            self,
            entries={name: entry for name, entry in self.entries.items() if name in names},
            boxes={name: boxes for name, boxes in self.boxes.items() if name in names},
            train_val=tuple(name for name in self.train_val if name in names),
            test=tuple(name for name in self.test if name in names),
            paths={name: path for name, path in self.paths.items() if name in names},
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


def list_hash(names: tuple[str, ...]) -> str:
    """Return the sha256 of a list of pictures, whatever its order."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()
