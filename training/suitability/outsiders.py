"""Real pictures of anything but a frontal chest, from a folder that whoever trains has put together."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.preprocess import INPUT_SIZE_PX, resize_uint8
from training.data.picture_files import walk
from training.data.pictures import UnreadablePictureError, read_grey
from training.data.radiographs import LayoutError

logger = logging.getLogger(__name__)

_READ_AT_MOST = 20_000


def read_outsiders(folder: Path) -> tuple[NDArray[np.uint8], ...]:
    """Read every picture and DICOM file below a folder, uint8 [224, 224] each; what is none is left out and named.

    Raises
    ------
    LayoutError
        The folder is not there, or nothing in it can be read.
    """
    if not folder.is_dir():
        raise LayoutError(
            f"{folder} is not a folder; --others takes one with radiographs of anything but frontal chests"
        )
    pictures, left_out = [], []
    files = [inside / name for inside, names in walk(folder) for name in sorted(names)]
    for file in files[:_READ_AT_MOST]:
        try:
            pictures.append(resize_uint8(read_grey(file), INPUT_SIZE_PX))
        except UnreadablePictureError as error:
            left_out.append(f"{file.name} ({error})")
    if left_out:
        logger.warning("%s: %d files are not pictures and are left out: %s", folder, len(left_out), left_out[0])
    if not pictures:
        raise LayoutError(f"{folder}: none of its {len(files)} files can be read as a picture")
    return tuple(pictures)
