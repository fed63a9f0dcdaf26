"""PNG pictures for the study page: the radiograph as the model saw it, and the heat maps as the PACS got them."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread

from dicom_io.data_sets.dicom_file import read_dicom_header
from dicom_io.data_sets.elements import integer
from dicom_io.pictures.overlay import radiograph_box
from dicom_io.pixels.radiograph import read_radiograph

LONGEST_SIDE_PX = 2048
"""Enough to zoom in; the PACS has all of it."""
PICTURES_KEPT = 24
"""About 3 MB each."""


@lru_cache(maxsize=PICTURES_KEPT)
def radiograph_png(path: Path) -> bytes:
    """Return a received image as an 8-bit grey PNG, bones bright, at most 2048 px on its longer side.

    Raises
    ------
    dicom_io.pixels.decoding.UndecodableError
        The pixel data cannot be decoded.
    """
    return png(read_radiograph(path).pixels)


@lru_cache(maxsize=PICTURES_KEPT)
def capture_png(path: Path) -> bytes:
    """Return one of our own RGB Secondary Captures as a PNG: exactly the pixels that went to the PACS."""
    pixels: NDArray[np.uint8] = dcmread(path).pixel_array  # [H, W, 3]
    return png(pixels)


@lru_cache(maxsize=PICTURES_KEPT)
def heat_map_png(capture: Path, radiograph: Path, sop_instance_uid: str) -> bytes:
    """Return the radiograph's place in a heat-map picture, without banner and legend: pixels that went to the PACS.

    Raises
    ------
    ValueError
        The picture was not drawn from the radiograph with this UID, as its Source Image Sequence (PS3.3 C.7.6.1.1.4)
        says, or is not laid out as this version lays pictures out.
    """
    drawn = dcmread(capture)
    if [item.ReferencedSOPInstanceUID for item in drawn.get("SourceImageSequence") or ()] != [sop_instance_uid]:
        raise ValueError("it was made of another image")
    pixels: NDArray[np.uint8] = drawn.pixel_array  # [H, W, 3]
    header = read_dicom_header(radiograph)
    rows, columns = integer(header, "Rows", None), integer(header, "Columns", None)
    box = radiograph_box((pixels.shape[0], pixels.shape[1]), (rows, columns)) if rows and columns else None
    if box is None:
        raise ValueError("this heat map was laid out by another version")
    return png(pixels[box.top : box.top + box.height, box.left : box.left + box.width])


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return uint8 [H, W] or [H, W, 3] pixels as PNG, made smaller where needed, never larger."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX), Image.Resampling.BOX)
    stream = BytesIO()
    picture.save(stream, format="PNG", compress_level=3)
    return stream.getvalue()


def message_svg(message: str) -> bytes:
    """Return a grey picture that says why there is no other one."""
    words, lines = message.split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) > 38:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    text = "".join(
        f'<text x="200" y="{185 + 22 * position}" text-anchor="middle">{escape(line)}</text>'
        for position, line in enumerate(lines[:8])
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 400" font-family="sans-serif" font-size="16">'
        f'<rect width="400" height="400" fill="#10151c"/><g fill="#c4ceda">{text}</g></svg>'
    ).encode()
