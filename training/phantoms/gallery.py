"""A contact sheet of a data set in ChestX-ray14's layout: pictures with their labels and boxes."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.chestxray14 import BOX_FRAME_PX, ENTRY_FILES

_COLOURS = {
    "Cardiomegaly": (80, 80, 255),
    "Effusion": (255, 160, 60),
    "Mass": (60, 220, 255),
    "Nodule": (80, 255, 80),
    "Pneumothorax": (255, 80, 255),
    "Consolidation": (255, 255, 80),
}
_TILE_PX = 360
_COLUMNS = 6
_ROWS = 4


def _tile(path: Path, labels: str, boxes: list[list[str]]) -> NDArray[np.uint8]:
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise FileNotFoundError(f"{path}: no readable picture; is the data set complete?")
    scale = _TILE_PX / BOX_FRAME_PX
    tile = cv2.cvtColor(cv2.resize(pixels, (_TILE_PX, _TILE_PX), interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2BGR)
    for label, *sides in boxes:
        x, y, width, height = (round(float(side) * scale) for side in sides)
        cv2.rectangle(tile, (x, y), (x + width, y + height), _COLOURS.get(label, (255, 255, 255)), 1)
    words = labels.replace("|", " ")
    cv2.putText(tile, words, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (255, 255, 255), 1, cv2.LINE_AA)
    return np.asarray(tile, np.uint8)


def plot_examples(folder: Path, out: Path) -> None:
    """Write a PNG contact sheet of the first 24 drawn pictures of the data set in `folder` to `out`."""
    boxes: dict[str, list[list[str]]] = {}
    with (folder / "BBox_List_2017.csv").open(newline="", encoding="utf-8") as stream:
        for row in list(csv.reader(stream))[1:]:
            boxes.setdefault(row[0], []).append(row[1:6])
    tables = [folder / name for name in ENTRY_FILES.values() if (folder / name).exists()]
    with tables[0].open(newline="", encoding="utf-8") as stream:
        listed = [row for row in list(csv.reader(stream))[1:] if (folder / "images" / row[0]).exists()]
    rows = listed[: _COLUMNS * _ROWS]
    tiles = [_tile(folder / "images" / row[0], row[1], boxes.get(row[0], [])) for row in rows]
    blank = np.zeros((_TILE_PX, _TILE_PX, 3), np.uint8)
    tiles += [blank] * (-len(tiles) % _COLUMNS)
    lines = [np.hstack(tiles[start : start + _COLUMNS]) for start in range(0, len(tiles), _COLUMNS)]
    out.parent.mkdir(parents=True, exist_ok=True)
    encoded = cv2.imencode(".png", np.vstack(lines))[1]
    out.write_bytes(encoded.tobytes())
