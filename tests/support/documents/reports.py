"""Reports and source radiographs for the tests of the result builders."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
from pydicom import Dataset

from dicom_io.data_sets.stamp import radiograph_from_pixels
from dicom_io.results.reporting import Algorithm, AnalysedImage, Report, ReportedFinding

CREATED_AT = datetime(2026, 1, 15, 23, 30, 5, tzinfo=UTC)
FLAGGED = (
    ReportedFinding("Effusion", 0.66, 0.5),
    ReportedFinding("Pneumothorax", 0.9134, 0.5),
    ReportedFinding("Pleural_Thickening", 0.55, 0.5),
)
QUIET = (ReportedFinding("Hernia", 0.1, 0.4), ReportedFinding("Mass", 0.3, 0.4))


def source_radiograph(sop_instance_uid: str = "1.2.3.10", **attributes: Any) -> Dataset:
    """Return a small DX of study 1.2.3; keyword arguments replace attributes, None removes one."""
    pixels = np.arange(60 * 50, dtype=np.uint32).reshape(60, 50).astype(np.uint8)
    dataset = radiograph_from_pixels(
        pixels,
        study_datetime=datetime(2026, 1, 15, 10, 25),
        patient_id="T-0001",
        patient_name="Test^Radiograph",
        accession_number="ACC0001",
        study_instance_uid="1.2.3",
    )
    dataset.SOPInstanceUID = sop_instance_uid
    dataset.SeriesInstanceUID = "1.2.3.1"
    dataset.StudyID = "1001"
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def report_on(*sources: Dataset, findings: tuple[ReportedFinding, ...] = FLAGGED + QUIET, **changes: Any) -> Report:
    """Return a STAT report on the sources, ROUTINE when nothing is flagged; keyword arguments replace fields."""
    flagged = any(finding.flagged for finding in findings)
    fields: dict[str, Any] = {
        "priority": "STAT" if flagged else "ROUTINE",
        "priority_reason": "Pneumothorax 91 % (threshold 50 %)" if flagged else "No finding at or above threshold",
        "images": tuple(AnalysedImage(source.SOPInstanceUID, "ab" * 32) for source in sources),
        "findings": findings,
        "algorithm": Algorithm("phantom-densenet121", "0.1.0+weights.3f9c1a7e"),
        "demonstration": True,
        "policy_hash": "c0ffee",
        "created_at": CREATED_AT,
    }
    return Report(**(fields | changes))


def concept(item: Dataset) -> str:
    """Return the code of a content item's concept name."""
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def groups(document: Dataset) -> list[dict[str, list[Dataset]]]:
    """Return the measurement groups, each as its items by code of the concept name."""
    (measurements,) = [item for item in document.ContentSequence if concept(item) == "126010"]
    found = []
    for group in measurements.ContentSequence:
        items: dict[str, list[Dataset]] = {}
        for item in group.ContentSequence:
            items.setdefault(concept(item), []).append(item)
        found.append(items)
    return found
