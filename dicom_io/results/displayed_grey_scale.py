"""The grey scale an image asks to be shown with, repeated for a presentation state (PS3.3 C.11.1, C.11.6, C.11.8)."""

from __future__ import annotations

from copy import deepcopy

from pydicom import Dataset
from pydicom.valuerep import DSfloat

from dicom_io.data_sets.elements import integer, items, numbers
from dicom_io.data_sets.header import text
from dicom_io.pixels.lookup_table import read_lookup_table

_SHUTTER_KEYWORDS = (
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
    "CenterOfCircularShutter",
    "RadiusOfCircularShutter",
    "VerticesOfThePolygonalShutter",
)
_SHUTTER_SHAPES = {"RECTANGULAR", "CIRCULAR", "POLYGONAL"}
_NARROWEST = {"LINEAR": 1.0, "LINEAR_EXACT": 0.0, "SIGMOID": 0.0}
"""A window must be at least this wide, or wider than nothing (PS3.3 C.11.2.1.2, C.11.2.1.3)."""


def states_grey_scale(source: Dataset) -> bool:
    """Say whether the image states how it is to be shown: a VOI LUT, a window, or eight bits made for the screen."""
    return _voi(source) is not None


def add_grey_scale(source: Dataset, state: Dataset) -> None:
    """Add the modality LUT, the softcopy VOI LUT, the presentation LUT and the shutter of the image to the state.

    The first VOI is taken, as viewers do; where it shows nothing (`GreyScale.voi_passed_over`), make no state.

    Raises
    ------
    ValueError
        The image states no grey scale; ask `states_grey_scale` first.
    """
    voi = _voi(source)
    if voi is None:
        raise ValueError("the image states no grey scale")
    _add_modality_lut(source, state)
    if voi:
        state.SoftcopyVOILUTSequence = [voi]
    _add_presentation_lut(source, state)
    _add_shutter(source, state)


def _voi(source: Dataset) -> Dataset | None:
    """Return the item of the Softcopy VOI LUT Sequence, an empty one where the values need none, or None."""
    item = Dataset()
    sequence = items(source, "VOILUTSequence")
    if sequence and read_lookup_table(sequence[0]) is not None:
        item.VOILUTSequence = [deepcopy(sequence[0])]
        return item
    centers, widths = numbers(source, "WindowCenter"), numbers(source, "WindowWidth")
    function = text(source, "VOILUTFunction").upper() or "LINEAR"
    if centers and widths and function in _NARROWEST and widths[0] > 0 and widths[0] >= _NARROWEST[function]:
        item.WindowCenter, item.WindowWidth = _decimal(centers[0]), _decimal(widths[0])
        item.VOILUTFunction = function
        return item
    return item if _is_made_for_the_screen(source) and not _has_modality_lut(source) else None


def _is_made_for_the_screen(source: Dataset) -> bool:
    """Say whether the values are unsigned and of at most eight bits, with the defaults that decoding takes."""
    bits_stored = integer(source, "BitsStored", integer(source, "BitsAllocated", None))
    return bits_stored is not None and bits_stored <= 8 and integer(source, "PixelRepresentation", 0) == 0


def _has_modality_lut(source: Dataset) -> bool:
    slope, intercept = numbers(source, "RescaleSlope"), numbers(source, "RescaleIntercept")
    return "ModalityLUTSequence" in source or (*slope, 1.0)[0] != 1.0 or (*intercept, 0.0)[0] != 0.0


def _add_modality_lut(source: Dataset, state: Dataset) -> None:
    if items(source, "ModalityLUTSequence"):
        state.add(deepcopy(source["ModalityLUTSequence"]))
        return
    slope, intercept = numbers(source, "RescaleSlope"), numbers(source, "RescaleIntercept")
    state.RescaleIntercept = _decimal((*intercept, 0.0)[0])
    state.RescaleSlope = _decimal((*slope, 1.0)[0])
    state.RescaleType = text(source, "RescaleType") or "US"


def _decimal(value: float) -> DSfloat:
    """Return a number in the 16 characters a decimal string has (PS3.5 6.2)."""
    return DSfloat(value, auto_format=True)


def _add_presentation_lut(source: Dataset, state: Dataset) -> None:
    """Decide the polarity once: the image's own shape where it states one, else what its photometric says."""
    shape = text(source, "PresentationLUTShape").upper()
    if shape not in ("IDENTITY", "INVERSE"):
        shape = "INVERSE" if text(source, "PhotometricInterpretation") == "MONOCHROME1" else "IDENTITY"
    state.PresentationLUTShape = shape


def _add_shutter(source: Dataset, state: Dataset) -> None:
    """Repeat the display shutter (PS3.3 C.7.6.11); a state without one would uncover what the image hides."""
    shapes = text(source, "ShutterShape").split("\\")
    if not set(shapes) <= _SHUTTER_SHAPES:
        return
    for keyword in ("ShutterShape", *_SHUTTER_KEYWORDS):
        if keyword in source:
            state.add(deepcopy(source[keyword]))
    state.ShutterPresentationValue = integer(source, "ShutterPresentationValue", 0) or 0
