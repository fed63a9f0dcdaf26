"""What one message says of one study, in plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo

from pydicom import Dataset

from dicom_io.foundation.product import DEVICE_SERIAL_NUMBER
from dicom_io.results.reporting import Report


@dataclass(frozen=True)
class Announcement:
    """What one message says of one study."""

    report: Report
    headers: Sequence[Dataset]
    """Of the analysed images, in the order of `report.images`."""
    priority: str
    """Level of the study, never below one announced before: STAT, URGENT or ROUTINE."""
    critical: frozenset[str] = frozenset()
    """Labels that make a study STAT; their OBX-8 is AA, that of other flagged findings A."""
    withdrawn: tuple[str, ...] = ()
    """Labels an earlier message of the study named as found and this report does not."""
    device_serial_number: str = DEVICE_SERIAL_NUMBER
    site_zone: tzinfo = UTC
