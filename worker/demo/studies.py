"""What the demonstration sends, and how each study must end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from dicom_io.data_sets.stamp import radiograph_from_pixels, stamp_copy
from model.bundle import Bundle
from worker.foundation.errors import StartError
from worker.rows.states import Priority, StudyState
from worker.runs.policy import Policy

PHANTOMS_AT_MOST = 6
CLOSE_TO_THRESHOLD = 0.01
"""Runtimes and processors differ by less than 0.001 (``model.golden``)."""
REAL_RADIOGRAPHS = (
    ("RG1_UNCR.dcm", "Real chest CR, uncompressed", "DEMO-0001", "CHEST^REAL UNCOMPRESSED"),
    ("RG1_J2KR.dcm", "Real chest CR, JPEG 2000", "DEMO-0002", "CHEST^REAL JPEG2000"),
)
LEG = ("RG3_UNCR.dcm", "Real leg CR", "DEMO-0003", "LEG^REAL")


class SampleMissing(StartError):
    """A picture of the demonstration is not there."""


@dataclass(frozen=True)
class Expectation:
    """How a study must end; None or empty = as it comes out."""

    state: StudyState
    priority: Priority | None = None
    flagged: tuple[str, ...] | None = None
    """Findings that must be flagged, each with its picture in the PACS; None = whatever the model says."""


@dataclass(frozen=True)
class DemoStudy:
    """One study to send."""

    title: str
    study_instance_uid: str
    files: tuple[Path, ...]
    expectation: Expectation
    real: bool = False
    """True: a radiograph of a person; False: a drawing."""


def real_studies(folder: Path, now: datetime) -> list[DemoStudy]:
    """Stamp the real radiographs of pydicom-data: the chest twice, which must be analysed, and the leg, which must not.

    Raises
    ------
    SampleMissing
        The pydicom-data package lacks one.
    """
    analysed = Expectation(StudyState.TRIAGED)
    studies = [_stamped(folder, now, *sample, analysed) for sample in REAL_RADIOGRAPHS]
    return [*studies, _stamped(folder, now, *LEG, Expectation(StudyState.OUT_OF_SCOPE))]


def _stamped(
    folder: Path, now: datetime, file: str, title: str, patient_id: str, patient_name: str, expectation: Expectation
) -> DemoStudy:
    copy = folder / f"{patient_id}.dcm"
    dataset = stamp_copy(
        sample_path(file),
        copy,
        study_datetime=now,
        patient_id=patient_id,
        patient_name=patient_name,
        accession_number=f"ACC-{patient_id}",
    )
    return DemoStudy(title, str(dataset.StudyInstanceUID), (copy,), expectation, real=True)


def sample_path(name: str) -> Path:
    """Return a file of the installed pydicom-data package; never asks the network.

    Raises
    ------
    SampleMissing
        The package or the file is not there.
    """
    package = find_spec("data_store")
    folders = list(package.submodule_search_locations or ()) if package else []
    found = next((path for folder in folders if (path := Path(folder) / "data" / name).is_file()), None)
    if found is None:
        raise SampleMissing(f"{name} is not installed; install the pydicom-data package and start the demo again")
    return found


def phantom_studies(bundle: Bundle, folder: Path, now: datetime) -> list[DemoStudy]:
    """Make radiographs of the bundle's golden pictures, whose probabilities are known, so their outcome is too.

    Raises
    ------
    SampleMissing
        The bundle has no golden picture of a pneumothorax.
    """
    chosen = _chosen(bundle)
    studies = []
    for number, (path, probabilities) in enumerate(chosen, start=1):
        expected = expectation_of(bundle, probabilities)
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L"), dtype=np.uint8)
        dataset = radiograph_from_pixels(
            pixels,
            study_datetime=now - timedelta(seconds=number),
            patient_id=f"PHANTOM-{number:04d}",
            patient_name=f"PHANTOM^{path.stem.upper()[:40]}",
            patient_sex="MF"[number % 2],
            patient_age_years=40 + 5 * number,
            accession_number=f"ACC-PHANTOM-{number:04d}",
        )
        file = folder / f"PHANTOM-{number:04d}.dcm"
        dataset.save_as(file, enforce_file_format=True)
        title = f"Drawing: {path.stem.replace('_', ' ').replace('-', ' ')}"
        studies.append(DemoStudy(title, str(dataset.StudyInstanceUID), (file,), expected))
    return studies


def expectation_of(bundle: Bundle, probabilities: Sequence[float | None]) -> Expectation:
    """Return how a picture with these probabilities must end under the bundle's own thresholds.

    A picture that lies on a threshold may end on either side on another processor: nothing but an analysis is expected.
    """
    assessment = Policy.of_bundle(bundle, {}).assess([probabilities])
    distances = (
        abs(finding.probability - finding.threshold)
        for finding in assessment.findings
        if finding.probability is not None and finding.threshold is not None
    )
    if min(distances, default=1.0) < CLOSE_TO_THRESHOLD:
        return Expectation(StudyState.TRIAGED)
    return Expectation(StudyState.TRIAGED, assessment.priority, tuple(item.label for item in assessment.flagged))


def _chosen(bundle: Bundle) -> list[tuple[Path, tuple[float | None, ...]]]:
    """Return at most six golden pictures, the most urgent first, each with other flags than the ones before it."""
    by_flags: dict[tuple[str, ...], list[tuple[Path, tuple[float | None, ...]]]] = {}
    for path, probabilities in bundle.golden:
        by_flags.setdefault(expectation_of(bundle, probabilities).flagged or (), []).append((path, probabilities))
    if not any("Pneumothorax" in flags for flags in by_flags):
        raise SampleMissing(f"{bundle.folder} has no golden picture of a pneumothorax; fetch the bundle again")
    most_urgent_first = sorted(by_flags, key=lambda flags: ("Pneumothorax" not in flags, not flags, flags))
    different = [by_flags[flags][0] for flags in most_urgent_first]
    others = [picture for flags in most_urgent_first for picture in by_flags[flags][1:]]
    return [*different, *others][:PHANTOMS_AT_MOST]
