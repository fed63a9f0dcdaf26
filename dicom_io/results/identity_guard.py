"""The last look before a result may leave: does it carry the patient, the study and the orders of its source?

Judged on what was written, read back and decoded, so that a mistake anywhere on the way is found, whoever made it.
"""

from __future__ import annotations

from io import BytesIO

from pydicom import Dataset, dcmread

from dicom_io.data_sets.elements import items
from dicom_io.results.identity import OPTIONAL, REQUIRED
from dicom_io.results.orders import referenced_requests
from dicom_io.results.reporting import InvalidReportError

_ORDER_KEYWORDS = (
    "AccessionNumber",
    "RequestedProcedureID",
    "StudyInstanceUID",
    "RequestedProcedureDescription",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
)


def require_identity(content: bytes, source: Dataset) -> None:
    """Refuse a result whose patient, study or orders differ from those of its source.

    Parameters
    ----------
    content
        The result as the file it is sent from.
    source
        Header of the image it was made from, or the answer of an archive that is to be believed instead.

    Raises
    ------
    InvalidReportError
        Naming the attributes that differ, never their values.
    """
    if wrong := identity_differences(dcmread(BytesIO(content), stop_before_pixels=True), source):
        raise InvalidReportError(f"the result differs from its source in {', '.join(wrong)}; it was not stored")


def identity_differences(result: Dataset, source: Dataset) -> list[str]:
    """Return the keywords in which a result of ours differs from its source, decoded; empty when it may be sent.

    Absent and empty are the same for what an object must carry (type 2), and differ for everything else. The orders
    of a document must contain those of the source, which may be one of several.
    """
    wrong = [] if str(result.get("StudyInstanceUID")) == str(source.get("StudyInstanceUID")) else ["StudyInstanceUID"]
    wrong += [keyword for keyword in REQUIRED if _text(result, keyword) != _text(source, keyword)]
    wrong += [
        keyword
        for keyword in OPTIONAL
        if (keyword in result) != (keyword in source) or _text(result, keyword) != _text(source, keyword)
    ]
    return wrong + _order_differences(result, source)


def _order_differences(result: Dataset, source: Dataset) -> list[str]:
    if result.get("Modality") in ("SR", "KO"):
        ours = {_order(item) for item in result.get("ReferencedRequestSequence") or ()}
        stated = source.get("ReferencedRequestSequence") or referenced_requests([source])
        theirs = {_order(item) for item in stated}
        return [] if theirs <= ours else ["ReferencedRequestSequence"]
    same = _text(result, "RequestAttributesSequence") == _text(source, "RequestAttributesSequence")
    return [] if same else ["RequestAttributesSequence"]


def _order(item: Dataset) -> tuple[str, ...]:
    return tuple(_text(item, keyword) for keyword in _ORDER_KEYWORDS)


def _text(dataset: Dataset, keyword: str) -> str:
    """Return a value as decoded text; that of a sequence is the text of its items."""
    if keyword.endswith("Sequence"):
        return "\n".join(
            "; ".join(f"{part.keyword}={part.value}" for part in item.iterall()) for item in items(dataset, keyword)
        )
    value = dataset.get(keyword)
    return "" if value is None else str(value)
