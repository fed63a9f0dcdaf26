"""The orders a study answers, as HL7 names them: from Request Attributes, else from the accession number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import Dataset

from dicom_io.data_sets.header import text
from dicom_io.results.orders import referenced_requests
from hl7_io.text import escape


@dataclass(frozen=True)
class OrderIdentifiers:
    """One order; every value escaped and ready to stand in its field."""

    placer_number: str
    """EI for ORC-2 and OBR-2."""
    filler_number: str
    """EI for ORC-3 and OBR-3: the filler's number where the images state it, else the accession number."""
    accession_number: str
    """OBR-18 (IHE RAD-4)."""
    requested_procedure_id: str
    """OBR-19 (IHE RAD-4)."""
    procedure: str
    """CE for OBR-4: the procedure that was ordered or done, in the source's own code and words."""


def order_identifiers(headers: Sequence[Dataset]) -> list[OrderIdentifiers]:
    """Return each order of the images once; one made of the study's own attributes where they name none."""
    study = headers[0]
    return [_identifiers(request, study) for request in referenced_requests(headers) or [study]]


def _identifiers(request: Dataset, study: Dataset) -> OrderIdentifiers:
    accession = _entity(text(request, "AccessionNumber"), request.get("IssuerOfAccessionNumberSequence"))
    filler = text(request, "FillerOrderNumberImagingServiceRequest")
    return OrderIdentifiers(
        placer_number=_entity(
            text(request, "PlacerOrderNumberImagingServiceRequest"), request.get("OrderPlacerIdentifierSequence")
        ),
        filler_number=_entity(filler, request.get("OrderFillerIdentifierSequence")) if filler else accession,
        accession_number=escape(text(request, "AccessionNumber")),
        requested_procedure_id=escape(text(request, "RequestedProcedureID")),
        procedure=_procedure(request, study),
    )


def _entity(identifier: str, issuer: Sequence[Dataset] | None) -> str:
    """Return an EI: identifier, namespace, universal ID and its type; empty without an identifier."""
    if not identifier:
        return ""
    return "^".join([escape(identifier), *authority(issuer)]).rstrip("^")


def authority(issuer: Sequence[Dataset] | None, namespace: str = "") -> list[str]:
    """Return who assigned an identifier: namespace, universal ID, type of that ID (HL7 v2 reference designator)."""
    item = issuer[0] if issuer else Dataset()
    universal = text(item, "UniversalEntityID")
    return [
        escape(namespace or text(item, "LocalNamespaceEntityID")),
        escape(universal),
        escape(text(item, "UniversalEntityIDType")) if universal else "",
    ]


def _procedure(request: Dataset, study: Dataset) -> str:
    for dataset, keyword in ((request, "RequestedProcedureCodeSequence"), (study, "ProcedureCodeSequence")):
        if codes := dataset.get(keyword):
            code = codes[0]
            parts = ("CodeValue", "CodeMeaning", "CodingSchemeDesignator")
            if text(code, "CodeValue"):
                return "^".join(escape(text(code, part)) for part in parts)
    words = text(request, "RequestedProcedureDescription") or text(study, "StudyDescription") or "Chest radiograph"
    return f"^{escape(words)}"
