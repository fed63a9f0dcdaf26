"""Which images show one exposure: units send a standard picture and copies processed for bones, tubes or edges."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset

from dicom_io.data_sets.elements import items
from dicom_io.data_sets.header import text

SAME_MOMENT_SECONDS = 5.0
"""Copies of one exposure bear its time, some units to the second before or after; two exposures lie further apart."""


@dataclass(frozen=True)
class Exposure:
    """What an image says of the exposure it was made from."""

    sop_instance_uid: str
    event_uids: frozenset[str]
    """Irradiation Event UID (0008,3010)."""
    source_uids: frozenset[str]
    """SOP Instance UIDs of the images it was derived from (Source Image Sequence)."""
    acquired_at: datetime | None
    """Acquisition DateTime, else Acquisition Date and Time, in the unit's own clock."""


def exposure_of(header: Dataset) -> Exposure:
    """Return what a header says of its exposure; never raises, whatever stands in it."""
    return Exposure(
        text(header, "SOPInstanceUID"),
        frozenset(filter(None, text(header, "IrradiationEventUID").split("\\"))),
        frozenset(
            filter(None, (text(item, "ReferencedSOPInstanceUID") for item in items(header, "SourceImageSequence")))
        ),
        _moment(text(header, "AcquisitionDateTime"))
        or _moment(text(header, "AcquisitionDate") + text(header, "AcquisitionTime")),
    )


def same_exposure(one: Exposure, other: Exposure) -> bool | None:
    """Say whether two images show one exposure; None where their headers do not tell."""
    if one.sop_instance_uid in other.source_uids or other.sop_instance_uid in one.source_uids:
        return True
    if one.source_uids & other.source_uids:
        return True
    if one.event_uids and other.event_uids:
        return bool(one.event_uids & other.event_uids)
    if one.acquired_at and other.acquired_at:
        return abs((one.acquired_at - other.acquired_at).total_seconds()) <= SAME_MOMENT_SECONDS
    return None


def _moment(value: str) -> datetime | None:
    """Return a DT, or DA and TM joined (PS3.5 6.2), to the second; None when it is no whole moment."""
    digits = value.replace(".", "").replace(":", "")[: len("YYYYMMDDHHMMSS")]
    if len(digits) < len("YYYYMMDDHHMMSS"):  # strptime would take "1015" for a minute and five seconds past ten
        return None
    try:
        return datetime.strptime(digits, "%Y%m%d%H%M%S")
    except ValueError:
        return None
