"""The orders a study answers: as its images state them, for the series of ours and for the report."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from pydicom import Dataset

from dicom_io.data_sets.elements import items

_NAMING = (
    "AccessionNumber",
    "RequestedProcedureID",
    "StudyInstanceUID",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
)
"""What tells one order from another."""
_CARRIED = (
    *_NAMING,
    "IssuerOfAccessionNumberSequence",
    "ReferencedStudySequence",
    "OrderPlacerIdentifierSequence",
    "OrderFillerIdentifierSequence",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
    "ReasonForTheRequestedProcedure",
    "ReasonForRequestedProcedureCodeSequence",
)
_TYPE_2 = (
    "AccessionNumber",
    "ReferencedStudySequence",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
)
"""Empty where the image lacks them (PS3.3 table C.17-2)."""


def copy_request_attributes(source: Dataset, target: Dataset) -> None:
    """Copy the Request Attributes Sequence (PS3.3 table 10-9) of the image, if it has one, into a series of ours."""
    if items(source, "RequestAttributesSequence"):
        target.add(deepcopy(source["RequestAttributesSequence"]))


def referenced_requests(sources: Sequence[Dataset]) -> list[Dataset]:
    """Return the items of the Referenced Request Sequence (PS3.3 C.17.2): each order of the images once.

    An order without an accession number gets the study's only where the image answers this one order; of several
    nobody knows which one it belongs to.
    """
    found: dict[tuple[str, ...], Dataset] = {}
    for source in sources:
        orders = deepcopy(items(source, "RequestAttributesSequence"))
        for order in orders:
            request = _request(order, source, alone=len(orders) == 1)
            found.setdefault(tuple(str(request.get(keyword, "")) for keyword in _NAMING), request)
    return list(found.values())


def _request(item: Dataset, source: Dataset, *, alone: bool) -> Dataset:
    request = Dataset()
    for keyword in _CARRIED:
        if keyword in item:
            request.add(item[keyword])
    if not request.get("StudyInstanceUID"):
        request.StudyInstanceUID = source.StudyInstanceUID
    if "AccessionNumber" not in request and alone and "AccessionNumber" in source:
        request.add(deepcopy(source["AccessionNumber"]))
    for keyword in _TYPE_2:
        if keyword not in request:
            setattr(request, keyword, [] if keyword.endswith("Sequence") else "")
    return request
