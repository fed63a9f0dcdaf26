"""The image library of a structured report: each analysed radiograph with its geometry (TID 1600 to 1603)."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom import Dataset

from dicom_io.data_sets.elements import integer, numbers
from dicom_io.data_sets.header import text as written
from dicom_io.foundation.concepts import DCM, UCUM, Code
from dicom_io.foundation.content_items import HAS_ACQ_CONTEXT, SOURCE, code, container, image, number, text

_PIXELS = Code("{pixels}", "UCUM", "Pixels")
_MODALITIES = {
    "CR": Code("CR", "DCM", "Computed Radiography"),
    "DX": Code("DX", "DCM", "Digital Radiography"),
}
_IMAGE_VIEW = Code("111031", "DCM", "Image View")
_VIEWS = {
    "PA": Code("272479007", "SCT", "Postero-anterior"),
    "AP": Code("399348003", "SCT", "Antero-posterior"),
}
"""Of CID 4010, by View Position; what an image states otherwise is not translated."""


def image_library(sources: Sequence[Dataset]) -> Dataset:
    """Return the container (111028, DCM, "Image Library") with one group that holds every source.

    The template demands orientation and spacing, which computed radiography often lacks; here a descriptor is written
    where the source has it.
    """
    group = container(DCM.ImageLibraryGroup, [_entry(source) for source in sources])
    return container(DCM.ImageLibrary, [group])


def _entry(source: Dataset) -> Dataset:
    descriptors = []
    modality = _MODALITIES.get(str(source.get("Modality", "")))
    if modality is not None:
        descriptors.append(code(DCM.Modality, modality, HAS_ACQ_CONTEXT))
    view = _VIEWS.get(str(source.get("ViewPosition", "")))
    if view is not None:
        descriptors.append(code(_IMAGE_VIEW, view, HAS_ACQ_CONTEXT))
    descriptors += [*_size(source), *_orientation(source), *_spacing(source)]
    return image(SOURCE, source, descriptors)


def _size(source: Dataset) -> list[Dataset]:
    sides = ((DCM.PixelDataRows, "Rows"), (DCM.PixelDataColumns, "Columns"))
    known = [(name, integer(source, keyword, None)) for name, keyword in sides]
    return [number(name, side, _PIXELS, HAS_ACQ_CONTEXT) for name, side in known if side is not None]


def _orientation(source: Dataset) -> list[Dataset]:
    values = written(source, "PatientOrientation").split("\\")
    if len(values) != 2 or not all(values):
        return []
    names = (DCM.PatientOrientationRow, DCM.PatientOrientationColumn)
    return [text(name, value, HAS_ACQ_CONTEXT) for name, value in zip(names, values, strict=True)]


def _spacing(source: Dataset) -> list[Dataset]:
    values = numbers(source, "ImagerPixelSpacing")
    if len(values) != 2 or min(values) <= 0:
        return []
    return [  # the attribute gives the spacing of rows first (PS3.3 10.7.1.3)
        number(DCM.HorizontalPixelSpacing, values[1], UCUM.Millimeter, HAS_ACQ_CONTEXT),
        number(DCM.VerticalPixelSpacing, values[0], UCUM.Millimeter, HAS_ACQ_CONTEXT),
    ]
