"""DICOM files that the worker would not analyse: a training set should hold none without someone having looked."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from training.data.pictures import is_dicom
from training.data.problems import ProblemKind, ProblemLog
from training.data.radiographs import LabelledRadiographs


def note_tags(radiographs: LabelledRadiographs, log: ProblemLog) -> None:
    """Note each DICOM file that is no frontal chest radiograph by its attributes, judged as the worker judges."""
    for name in radiographs.listed:
        path = radiographs.paths.get(name)
        if path is not None and is_dicom(path) and (objection := _objection(path)):
            log.add(ProblemKind.NOT_FRONTAL_CHEST, name, objection)


def _objection(path: Path) -> str:
    """Return what speaks against the file, empty where nothing does or where it cannot be read at all."""
    import pydicom  # a second to load, and PNG needs none
    from pydicom.errors import InvalidDicomError

    from dicom_io.data_sets.header import PARSE_ERRORS
    from dicom_io.selection.decision import CANDIDATE, SelectionRules, judge_tags

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, *PARSE_ERRORS):
        return ""  # decoding says so, with a better reason
    rules = SelectionRules(accept_secondary_capture=True, include_under_18=True)
    verdict = judge_tags(header, rules, datetime.now(UTC).date())
    return "" if verdict.disposition == CANDIDATE else verdict.notes or str(verdict.reason_code)
