"""Another calibration and other thresholds for the same weights: fitted, tested, told, and put into a new bundle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from model.bundle import Bundle, load_bundle
from training.data.folder import read_folder
from training.data.part_name import PartName
from training.data.radiographs import LabelledRadiographs
from training.evaluation.assessment import Assessment, assess
from training.evaluation.evaluate import Resampling
from training.evaluation.leakage import LeakError, require_separate_patients
from training.evaluation.seen_policy import SeenPolicy
from training.judging.asked import Asked
from training.judging.telling import adjudicated_labels, subject_of, tell
from training.output import require_place, writing_to
from training.recalibration import (
    CalibrationChoices,
    recalibrated,
    require_untrained,
    with_calibration,
    write_recalibrated,
)
from training.reporting.figure_grids import calibration_grid, evaluation_grid, operating_grid
from training.reporting.report import NOTICE, ReportMaterial, write_report
from training.subjects import Subject, part_names


@dataclass(frozen=True)
class NewBundle:
    """What the new bundle is called, and where it goes."""

    folder: Path
    """A bundle there is replaced."""
    name: str | None
    """None: the old bundle's."""
    version: str | None
    """None: the old bundle's."""


def calibrate_bundle(
    asked: Asked,
    choices: CalibrationChoices,
    wanted: NewBundle,
    resampling: Resampling,
    labels: list[str] | None,
    *,
    as_json: bool,
) -> None:
    """Fit on the part that was asked for, test on the test list, write the new bundle and a report, print the figures.

    Parameters
    ----------
    asked
        None as its part: validation, as the bundle names it.
    labels
        What ``--labels`` names: a second test set.

    Raises
    ------
    LeakError
        The part is not apart from the test list, or the weights were trained on it.
    BundleError, LayoutError, CacheError, OutputError
        The bundle, the data set or its cache cannot be read, or results cannot be written.
    """
    truth = adjudicated_labels(labels)
    require_place(wanted.folder)
    old, radiographs = load_bundle(asked.model), read_folder(asked.data)
    fitted_on = _subject_to_fit_on(asked, old, radiographs)
    facts = recalibrated(old, radiographs, fitted_on.predictions, choices)
    facts = replace(facts, name=wanted.name or facts.name, version=wanted.version or facts.version)
    tested = subject_of(replace(asked, part=PartName.TEST, seen=SeenPolicy.REFUSE))
    require_separate_patients(radiographs, {"calibration": fitted_on.names, "test": tested.names})
    judged = replace(tested.judged, predictions=with_calibration(tested.predictions, facts.calibration))
    assessment = assess(judged, facts.operating_points, resampling, truth)
    new = write_recalibrated(old, facts, radiographs, fitted_on.names, assessment, wanted.folder)
    _report(new, assessment, tested, asked.out)
    grids = [
        evaluation_grid(assessment.evaluation),
        calibration_grid(assessment.evaluation),
        operating_grid(assessment.evaluation, facts.operating_points),
    ]
    values = {"notice": NOTICE, "bundle": str(new.folder), "model_version": new.model_version} | assessment.as_dict()
    sentences = [f"Fitted on {fitted_on.part}", f"Tested on {tested.part}", f"New bundle: {new.folder}"]
    tell(values, asked.out / "evaluation.json", grids, as_json=as_json, sentences=sentences)


def _subject_to_fit_on(asked: Asked, bundle: Bundle, radiographs: LabelledRadiographs) -> Subject:
    """Return the bundle's word on the part to fit on, which it was not trained on."""
    part = asked.part or PartName.VALIDATION
    if part in (PartName.TEST, PartName.ALL):
        raise LeakError("thresholds chosen on the test list leave nothing to test them on; take another --part")
    require_untrained(bundle, radiographs, part_names(radiographs, part, bundle))
    return subject_of(replace(asked, part=part))


def _report(bundle: Bundle, assessment: Assessment, subject: Subject, out: Path) -> None:
    title = f"{bundle.name} {bundle.model_version}"
    material = ReportMaterial(title, bundle.demonstration, (subject.part,), assessment, subject.cache)
    with writing_to(out):
        write_report(material, out / "report.html")
