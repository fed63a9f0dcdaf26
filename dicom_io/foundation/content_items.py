"""The content items of our documents (PS3.3 C.17.3), as plain data sets.

highdicom makes the same items, checks them, and copies the whole tree twice on the way into a document: 30 ms of every
analysis, half as much as the network takes. Built here they take a tenth of it, and tests hold every report equal to
highdicom's, byte for byte. Nothing is checked here: names and codes are ours, UIDs and texts those of a checked report.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydicom import DataElement, Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.valuerep import DS

from dicom_io.foundation.concepts import Code

CONTAINS = "CONTAINS"
HAS_ACQ_CONTEXT = "HAS ACQ CONTEXT"
HAS_CONCEPT_MOD = "HAS CONCEPT MOD"
HAS_OBS_CONTEXT = "HAS OBS CONTEXT"

SOURCE = Code("260753009", "SCT", "Source")
"""Name of a reference that needs none, because some readers want one (PS3.3 C.17.3)."""

_CODE_VALUE, _CODING_SCHEME_DESIGNATOR, _CODE_MEANING = Tag(0x00080100), Tag(0x00080102), Tag(0x00080104)
_MAPPING_RESOURCE, _TEMPLATE_IDENTIFIER = Tag(0x00080105), Tag(0x0040DB00)
_REFERENCED_SOP_SEQUENCE = Tag(0x00081199)
_REFERENCED_SOP_CLASS_UID, _REFERENCED_SOP_INSTANCE_UID = Tag(0x00081150), Tag(0x00081155)
_MEASUREMENT_UNITS_CODE_SEQUENCE = Tag(0x004008EA)
_RELATIONSHIP_TYPE, _VALUE_TYPE, _CONCEPT_NAME_CODE_SEQUENCE = Tag(0x0040A010), Tag(0x0040A040), Tag(0x0040A043)
_CONTINUITY_OF_CONTENT, _CONTENT_TEMPLATE_SEQUENCE = Tag(0x0040A050), Tag(0x0040A504)
_CONTENT_SEQUENCE, _CONCEPT_CODE_SEQUENCE = Tag(0x0040A730), Tag(0x0040A168)
_UID, _TEXT_VALUE = Tag(0x0040A124), Tag(0x0040A160)
_FLOATING_POINT_VALUE, _NUMERIC_VALUE, _MEASURED_VALUE_SEQUENCE = Tag(0x0040A161), Tag(0x0040A30A), Tag(0x0040A300)


def container(
    name: Code, children: Iterable[Dataset], relationship: str | None = CONTAINS, template: str | None = None
) -> Dataset:
    """Return a CONTAINER with its children; ``template`` is a number of PS3.16, ``relationship`` None at the root."""
    extra = [_element(_CONTINUITY_OF_CONTENT, "CS", "CONTINUOUS"), _sequence(_CONTENT_SEQUENCE, *children)]
    if template is not None:
        resource = _element(_MAPPING_RESOURCE, "CS", "DCMR")
        identifier = _element(_TEMPLATE_IDENTIFIER, "CS", template)
        extra.append(_sequence(_CONTENT_TEMPLATE_SEQUENCE, _dataset(resource, identifier)))
    return _item("CONTAINER", name, relationship, *extra)


def code(name: Code, value: Code, relationship: str) -> Dataset:
    """Return a CODE."""
    return _item("CODE", name, relationship, _sequence(_CONCEPT_CODE_SEQUENCE, code_item(value)))


def text(name: Code, value: str, relationship: str) -> Dataset:
    """Return a TEXT."""
    return _item("TEXT", name, relationship, _element(_TEXT_VALUE, "UT", value))


def uid_reference(name: Code, value: str, relationship: str) -> Dataset:
    """Return a UIDREF."""
    return _item("UIDREF", name, relationship, _element(_UID, "UI", value))


def number(name: Code, value: float, unit: Code, relationship: str) -> Dataset:
    """Return a NUM; what is not whole stands there as a double beside the decimal string, which may be shortened."""
    measured = [
        _sequence(_MEASUREMENT_UNITS_CODE_SEQUENCE, code_item(unit)),
        _element(_NUMERIC_VALUE, "DS", DS(value, auto_format=True)),
    ]
    if isinstance(value, float):
        measured.append(_element(_FLOATING_POINT_VALUE, "FD", value))
    return _item("NUM", name, relationship, _sequence(_MEASURED_VALUE_SEQUENCE, _dataset(*measured)))


def image(name: Code, source: Dataset, children: Iterable[Dataset] | None = None) -> Dataset:
    """Return an IMAGE, contained, that refers to `source`: its SOP Class UID and SOP Instance UID are read."""
    extra = [] if children is None else [_sequence(_CONTENT_SEQUENCE, *children)]
    return _item("IMAGE", name, CONTAINS, _reference(source), *extra)


def composite(name: Code, source: Dataset) -> Dataset:
    """Return a COMPOSITE, contained: as `image`, for an object that is none."""
    return _item("COMPOSITE", name, CONTAINS, _reference(source))


def _reference(source: Dataset) -> DataElement:
    reference = _dataset(
        _element(_REFERENCED_SOP_CLASS_UID, "UI", str(source.SOPClassUID)),
        _element(_REFERENCED_SOP_INSTANCE_UID, "UI", str(source.SOPInstanceUID)),
    )
    return _sequence(_REFERENCED_SOP_SEQUENCE, reference)


def _item(value_type: str, name: Code, relationship: str | None, *extra: DataElement) -> Dataset:
    elements = [
        _element(_VALUE_TYPE, "CS", value_type),
        _sequence(_CONCEPT_NAME_CODE_SEQUENCE, code_item(name)),
        *extra,
    ]
    if relationship is not None:
        elements.append(_element(_RELATIONSHIP_TYPE, "CS", relationship))
    return _dataset(*elements)


def code_item(value: Code) -> Dataset:
    """Return the item of a code sequence (PS3.3 8.8) of a code of at most 16 characters."""
    return _dataset(
        _element(_CODE_VALUE, "SH", value.value),
        _element(_CODING_SCHEME_DESIGNATOR, "SH", value.scheme_designator),
        _element(_CODE_MEANING, "LO", value.meaning),
    )


def _dataset(*elements: DataElement) -> Dataset:
    return Dataset({element.tag: element for element in elements})


def _sequence(tag: int, *items: Dataset) -> DataElement:
    return _element(tag, "SQ", Sequence(items))


def _element(tag: int, representation: str, value: object) -> DataElement:
    """Return an element whose value is of its final type, which saves pydicom's conversion and its checks."""
    return DataElement(tag, representation, value, already_converted=True)
