"""One PNG per image: on the left what the network is shown, on the right how dcmtk renders the same file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.classifier import prepare
from worker.care.dcmtk_rendering import render
from worker.care.explanation import Explained

_GAP_PX = 8
_GAP_GREY = 128


@dataclass(frozen=True)
class ComparedPicture:
    """The file that was written, and how the two halves differ."""

    file: str
    dcmtk: str
    """Program of dcmtk on the right half; empty where the left one stands alone."""
    why: str
    """Why it stands alone, or what dcmtk did otherwise; empty where there is nothing to say."""
    mean_difference: float | None
    """Mean absolute difference of both halves in grey levels, as the network is shown them; None = one half only."""
    maximum_difference: int | None


def write_compared(explained: Explained, folder: Path) -> ComparedPicture | None:
    """Write the picture into the folder; None where the image could not be decoded or there is no bundle to show it to.

    Raises
    ------
    OSError
        It cannot be written.
    """
    radiograph, bundle, told = explained.radiograph, explained.bundle, explained.explanation
    if radiograph is None or bundle is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch:
        theirs = render(Path(told.file), told.transfer_syntax_uid, told.voi, Path(scratch))
    why = theirs.why
    left = _side_by_side(prepare(bundle, radiograph.pixels).pixels)
    halves, mean, maximum = [left], None, None
    if theirs.pixels is not None and theirs.pixels.shape == radiograph.pixels.shape:
        right = _side_by_side(prepare(bundle, theirs.pixels).pixels)
        difference = np.abs(left.astype(int) - right)
        halves, mean, maximum = [left, right], float(difference.mean()), int(difference.max())
    elif theirs.pixels is not None:
        why = f"{theirs.tool} renders {theirs.pixels.shape}, we {radiograph.pixels.shape} (rows, columns)"
    path = _free_path(folder, told.sop_instance_uid or Path(told.file).stem)
    Image.fromarray(_side_by_side(np.stack(halves))).save(path)
    return ComparedPicture(str(path), theirs.tool if len(halves) > 1 else "", why, mean, maximum)


def _side_by_side(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return uint8 [N, H, W] as one picture [H, N * W + gaps]."""
    gap = np.full((pictures.shape[1], _GAP_PX), _GAP_GREY, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return np.hstack(parts)


def _free_path(folder: Path, name: str) -> Path:
    """Return a path that no earlier picture has: several files may carry one SOP Instance UID."""
    stem = re.sub(r"[^\w.-]", "_", name)
    number = 1
    while (path := folder / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")).exists():
        number += 1
    return path
