"""The image library of a structured report: each analysed radiograph with its geometry (TID 1600 to 1603)."""

from __future__ import annotations

from collections.abc import Sequence

from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    NumContentItem,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

_PIXELS = Code("{pixels}", "UCUM", "Pixels")
_SOURCE = Code("260753009", "SCT", "Source")
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
_ACQUISITION = RelationshipTypeValues.HAS_ACQ_CONTEXT


def image_library(sources: Sequence[Dataset]) -> ContainerContentItem:
    """Return the container (111028, DCM, "Image Library") with one group that holds every source.

    highdicom's own template demands orientation and spacing, which computed radiography often lacks; here a
    descriptor is written where the source has it.
    """
    group = ContainerContentItem(codes.DCM.ImageLibraryGroup, relationship_type=RelationshipTypeValues.CONTAINS)
    group.ContentSequence = ContentSequence([_entry(source) for source in sources])
    library = ContainerContentItem(codes.DCM.ImageLibrary, relationship_type=RelationshipTypeValues.CONTAINS)
    library.ContentSequence = ContentSequence([group])
    return library


def _entry(source: Dataset) -> ImageContentItem:
    entry = ImageContentItem(
        _SOURCE,
        referenced_sop_class_uid=source.SOPClassUID,
        referenced_sop_instance_uid=source.SOPInstanceUID,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
    descriptors: list[ContentItem] = []
    modality = _MODALITIES.get(str(source.get("Modality", "")))
    if modality is not None:
        descriptors.append(CodeContentItem(codes.DCM.Modality, modality, relationship_type=_ACQUISITION))
    view = _VIEWS.get(str(source.get("ViewPosition", "")))
    if view is not None:
        descriptors.append(CodeContentItem(_IMAGE_VIEW, view, relationship_type=_ACQUISITION))
    descriptors += [
        _number(codes.DCM.PixelDataRows, source.Rows, _PIXELS),
        _number(codes.DCM.PixelDataColumns, source.Columns, _PIXELS),
        *_orientation(source),
        *_spacing(source),
    ]
    entry.ContentSequence = ContentSequence(descriptors)
    return entry


def _orientation(source: Dataset) -> list[ContentItem]:
    values = tuple(source.get("PatientOrientation") or ())
    if len(values) != 2 or not all(values):
        return []
    names = (codes.DCM.PatientOrientationRow, codes.DCM.PatientOrientationColumn)
    return [
        TextContentItem(name, str(value), relationship_type=_ACQUISITION)
        for name, value in zip(names, values, strict=True)
    ]


def _spacing(source: Dataset) -> list[ContentItem]:
    values = tuple(source.get("ImagerPixelSpacing") or ())
    if len(values) != 2 or not all(float(value) > 0 for value in values):
        return []
    return [  # the attribute gives the spacing of rows first (PS3.3 10.7.1.3)
        _number(codes.DCM.HorizontalPixelSpacing, float(values[1]), codes.UCUM.Millimeter),
        _number(codes.DCM.VerticalPixelSpacing, float(values[0]), codes.UCUM.Millimeter),
    ]


def _number(name: Code, value: float, unit: Code) -> NumContentItem:
    return NumContentItem(name, value, unit, relationship_type=_ACQUISITION)
