"""One analysis of nobody at the start of a process, so that the first patient does not wait for what is done once.

Loading the network is not all of it: the first report reads the codes of the standard, the first forward pass reserves
memory, the first picture loads its font and works out its colours. Nothing is stored and no row is written.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io.data_sets.stamp import radiograph_from_pixels
from dicom_io.pixels.radiograph import read_radiograph
from dicom_io.results.identity_guard import require_identity
from dicom_io.results.reporting import Algorithm, AnalysedImage, Report, ReportedFinding
from dicom_io.results.result_file import write_result
from dicom_io.selection.exposure import exposure_of
from hl7_io.announcement import Announcement
from hl7_io.observation_report import build_observation_report
from model.classifier import NotFiniteError
from model.labels import LABELS
from model.suitability import SuitabilityError
from worker.foundation.stopwatch import Stopwatch
from worker.runs.analysis import Analysis, analyse
from worker.runs.reading import Picture
from worker.runs.result_objects import result_objects
from worker.runs.workplace import BundleUnusable, LoadedModel, Workplace

logger = logging.getLogger(__name__)

_NOBODY = "REHEARSAL"
_SIDE_PX = 512


def rehearse(workplace: Workplace) -> int:
    """Analyse an invented radiograph with every loaded model and build all kinds of results of it in memory.

    Returns
    -------
    int
        How many objects were built.

    Raises
    ------
    BundleUnusable
        A network, or its check of pictures, computes no number.
    """
    started = time.perf_counter()
    header = radiograph_from_pixels(
        _invented_pixels(), study_datetime=datetime.now(UTC), patient_id=_NOBODY, patient_name=_NOBODY
    )
    built = 0
    for name, model in workplace.models.items():
        try:
            built += _rehearse(header, model, workplace)
        except (NotFiniteError, SuitabilityError) as error:
            raise BundleUnusable(name, f"{error} (bundles.{name} in the configuration)") from error
    logger.info("rehearsed %d results in %.2f s", built, time.perf_counter() - started)
    return built


def _rehearse(header: Dataset, model: LoadedModel, workplace: Workplace) -> int:
    picture = Picture(0, str(header.SOPInstanceUID), header, read_radiograph(header))
    exposure_of(header)  # a study's first reading of a time loads a part of Python
    model.classifier.examine(picture.radiograph.pixels)  # it is no chest: only the time it takes matters here
    analysis = analyse([picture], (), model, Stopwatch(), workplace.settings)
    report = _flagged_report(picture, model)
    flagged = {finding.label: np.eye(7, dtype=np.float32) for finding in report.flagged}
    staged = Analysis(analysis.pictures, (), analysis.probabilities, analysis.assessment, flagged, analysis.kept, None)
    built = 0
    for made in result_objects(staged, report, workplace.settings):
        require_identity(write_result(made.dataset), made.source)
        built += 1
    for destination in workplace.settings.hl7_destinations[:1]:
        build_observation_report(Announcement(report, [header], report.priority), destination.addressing(), _NOBODY)
        built += 1
    return built


def _flagged_report(picture: Picture, model: LoadedModel) -> Report:
    """Return a report with one finding flagged, so that pictures are drawn whatever the model says of nobody."""
    return Report(
        priority="ROUTINE",
        priority_reason=_NOBODY,
        images=(AnalysedImage(picture.sop_instance_uid, picture.radiograph.pixel_sha256),),
        findings=(ReportedFinding(LABELS[0], 0.9, 0.5),),
        algorithm=Algorithm(model.bundle.name, model.bundle.model_version),
        demonstration=model.bundle.demonstration,
        policy_hash=model.policy.hash,
        created_at=datetime.now(UTC),
    )


def _invented_pixels() -> NDArray[np.uint8]:
    """Return a grey wedge, uint8 [512, 512]: not blank, and no anatomy at all."""
    ramp = np.linspace(0, 255, _SIDE_PX)
    return np.asarray((ramp[:, np.newaxis] + ramp) / 2, dtype=np.uint8)
