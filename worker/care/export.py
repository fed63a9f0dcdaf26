"""Analysed images with what the model said of them, as a folder that a person corrects and training reads.

``labels.csv`` has one line for each analysed image. ``labels`` starts as the findings the model flagged, and a person
makes it right; ``confirmed_by`` starts empty, and only lines where somebody stands there are ever trained on, so that
no model is taught its own mistakes (``training.data.labelled_folder``). Where reviewers have decided a study,
an export of reviewed studies has both filled in already.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TextIO

import pydicom
from pydicom.dataset import Dataset
from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_io.data_sets.dicom_file import read_dicom_file, read_dicom_header
from dicom_io.data_sets.header import text
from dicom_io.data_sets.patient_age import patient_age_years
from dicom_io.data_sets.pseudonyms import OLDEST_AGE_YEARS, Pseudonyms, pseudonymised
from dicom_io.storing.instance_store import InstanceStore, StoreAway, StoreError
from model.labels import LABELS
from worker.care.reviewed_labels import NO_FINDING, Decision, decided_studies
from worker.foundation.errors import WorkerError
from worker.rows.run_tables import Prediction, Run
from worker.rows.states import Disposition, StudyState
from worker.rows.study_tables import Instance, Review, Study
from worker.views.rendering import inert

LABELS_FILE, FACTS_FILE, INSTANCES_FOLDER = "labels.csv", "export.json", "instances"
NOTICE = "NOT FOR DIAGNOSTIC USE - labels start as a model's findings; nothing is a truth until confirmed_by is filled."


class ExportRefused(WorkerError):
    """Nothing can be exported as asked; the message says why and what to do."""


@dataclass(frozen=True)
class ExportChoices:
    """Which images, and what is told of their patients."""

    folder: Path
    """New folder for the export."""
    since: datetime | None = None
    """Studies received at or after this time, aware UTC."""
    until: datetime | None = None
    """Studies received before this time, aware UTC."""
    limit: int | None = None
    """Images at most, the newest first; those that are left out do not count."""
    reviewed: bool = False
    """True: only studies that reviewers have decided, with their labels and names."""
    pseudonyms: Pseudonyms | None = None
    """None: identifiers as received, and paths of the stored files; else copies without identity."""


@dataclass(frozen=True)
class ExportedImage:
    """One line of ``labels.csv``; the fields are its columns."""

    file: str
    """Path of the DICOM file, relative to the folder or absolute."""
    labels: str
    """Findings joined by ``|``, or ``No Finding``; empty where the model has no word on any."""
    confirmed_by: str
    """Who made ``labels`` right; empty at first, the reviewers in an export of reviewed studies."""
    model_probabilities: str
    """``Effusion=0.831|Mass=0.120``: what the model said, for the eye and for comparison."""
    model_version: str
    patient_id: str
    sex: str
    age_years: str
    view: str
    study_instance_uid: str
    sop_instance_uid: str


@dataclass
class ExportCounts:
    """How it went."""

    study_instance_uids: set[str] = field(default_factory=set)
    """As received, also of a pseudonymised export: for the audit trail."""
    images: int = 0
    studies: int = 0
    patients: int = 0
    undecided: int = 0
    """Left out of an export of reviewed studies: somebody read the study, and a flagged finding has no word yet."""
    files_missing: int = 0
    """Left out: the stored file is gone, or not what was received any more."""
    burned_in: int = 0
    """Left out of a pseudonymised export: BurnedInAnnotation says that a text is in the picture."""

    @property
    def facts(self) -> dict[str, int]:
        """How many of each, without what they are."""
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}


def export_images(session: Session, store: InstanceStore, choices: ExportChoices) -> ExportCounts:
    """Write the folder, whole or not at all.

    Raises
    ------
    ExportRefused
        The folder exists, or no analysed image is in that time.
    OSError
        It cannot be written.
    """
    if choices.folder.exists():
        raise ExportRefused(f"{choices.folder} exists already; name a new folder")
    partial = choices.folder.with_name(f"{choices.folder.name}.partial")
    if partial.exists():
        raise ExportRefused(f"{partial} is left from an export that did not end; look at it, remove it and try again")
    partial.mkdir(parents=True)
    try:
        counts = _write_folder(session, store, choices, partial)
        partial.rename(choices.folder)
    except BaseException:
        shutil.rmtree(partial)
        raise
    return counts


def _write_folder(session: Session, store: InstanceStore, choices: ExportChoices, folder: Path) -> ExportCounts:
    counts = ExportCounts()
    with (folder / LABELS_FILE).open("w", newline="", encoding="utf-8") as stream:
        lines = islice(_lines(session, store, choices, folder, counts), choices.limit)
        _write_lines(lines, stream, counts)
        stream.flush()
        os.fsync(stream.fileno())
    if not counts.images:
        raise ExportRefused(f"{_why_none(choices, counts)}; `python -m worker studies` lists what was received")
    facts = {"notice": NOTICE, "pseudonymised": choices.pseudonyms is not None, **counts.facts}
    (folder / FACTS_FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return counts


def _why_none(choices: ExportChoices, counts: ExportCounts) -> str:
    left_out = {
        "undecided by reviewers": counts.undecided,
        "gone or damaged": counts.files_missing,
        "with a text in the picture": counts.burned_in,
    }
    if any(left_out.values()):
        return f"every image is left out: {', '.join(f'{count} {why}' for why, count in left_out.items() if count)}"
    what = "image of a study that reviewers have decided" if choices.reviewed else "analysed image"
    return f"no {what} was received in that time"


def analysed_images(session: Session, choices: ExportChoices) -> Iterator[tuple[Study, Run, Instance]]:
    """Yield the current, analysed images of triaged studies with the run that speaks for them, newest first."""
    query = (
        select(Study, Run, Instance)
        .join(Run, Run.id == Study.current_run_id)
        .join(Instance, Instance.study_instance_uid == Study.study_instance_uid)
        .where(Study.state == StudyState.TRIAGED, Instance.current, Instance.disposition == Disposition.ANALYSED)
        .order_by(Study.first_received_at.desc(), Instance.id)
    )
    if choices.reviewed:
        reviewed = select(Review.study_instance_uid).where(Review.finding.is_not(None))
        query = query.where(Study.study_instance_uid.in_(reviewed), Study.read_at.is_not(None))
    if choices.since is not None:
        query = query.where(Study.first_received_at >= choices.since)
    if choices.until is not None:
        query = query.where(Study.first_received_at < choices.until)
    with session.execute(query.execution_options(yield_per=200)) as rows:  # a limit may end it early
        for row in rows:
            yield row[0], row[1], row[2]


def _write_lines(lines: Iterator[ExportedImage], stream: TextIO, counts: ExportCounts) -> None:
    writer = csv.DictWriter(stream, fieldnames=list(ExportedImage.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    studies, patients = set(), set()
    for line in lines:
        writer.writerow({column: inert(value) for column, value in asdict(line).items()})
        studies.add(line.study_instance_uid)
        patients.add(line.patient_id)
        counts.images += 1
    counts.studies, counts.patients = len(studies), len(patients)


def _lines(
    session: Session, store: InstanceStore, choices: ExportChoices, folder: Path, counts: ExportCounts
) -> Iterator[ExportedImage]:
    decisions = decided_studies(session) if choices.reviewed else {}
    for study, run, instance in analysed_images(session, choices):
        decision = decisions.get(study.study_instance_uid)
        if choices.reviewed and decision is None:
            counts.undecided += 1
            continue
        try:
            path = store.open_intact(instance.path, instance.sha256)
        except StoreAway:  # else all that cannot be reached now would be left out
            raise
        except StoreError:
            counts.files_missing += 1
            continue
        dataset = read_dicom_header(path) if choices.pseudonyms is None else read_dicom_file(path)
        counts.study_instance_uids.add(study.study_instance_uid)
        line = _decided(_line(session, study, run, instance, dataset, path), decision)
        if choices.pseudonyms is None:
            yield line
        elif text(dataset, "BurnedInAnnotation").upper() == "YES":
            counts.burned_in += 1
        else:
            yield _without_identity(line, dataset, choices.pseudonyms, folder)


def _line(session: Session, study: Study, run: Run, instance: Instance, dataset: Dataset, path: Path) -> ExportedImage:
    age = patient_age_years(dataset, datetime.now(UTC).date())
    said = _predictions(session, run, instance)
    return ExportedImage(
        file=str(path),
        labels=_labels(said),
        confirmed_by="",
        model_probabilities="|".join(f"{p.finding}={p.probability:.3f}" for p in said if p.probability is not None),
        model_version=run.model_version or "",
        patient_id=study.patient_id,
        sex=text(dataset, "PatientSex"),
        age_years="" if age is None else str(int(age)),
        view=text(dataset, "ViewPosition"),
        study_instance_uid=study.study_instance_uid,
        sop_instance_uid=instance.sop_instance_uid,
    )


def _decided(line: ExportedImage, decision: Decision | None) -> ExportedImage:
    if decision is None:
        return line
    return replace(line, labels=decision.labels, confirmed_by=decision.reviewers)


def _predictions(session: Session, run: Run, instance: Instance) -> list[Prediction]:
    query = select(Prediction).where(Prediction.run_id == run.id, Prediction.instance_id == instance.id)
    return sorted(session.scalars(query), key=lambda prediction: LABELS.index(prediction.finding))


def _labels(said: list[Prediction]) -> str:
    if all(prediction.probability is None for prediction in said):
        return ""
    return "|".join(prediction.finding for prediction in said if prediction.flagged) or NO_FINDING


def _without_identity(line: ExportedImage, dataset: Dataset, pseudonyms: Pseudonyms, folder: Path) -> ExportedImage:
    """Write a copy that says nothing about the person and return the line for it."""
    age = int(line.age_years) if line.age_years else None
    copy = pseudonymised(dataset, pseudonyms, age)
    file = f"{INSTANCES_FOLDER}/{copy.SOPInstanceUID}.dcm"
    (folder / INSTANCES_FOLDER).mkdir(exist_ok=True)
    pydicom.dcmwrite(folder / file, copy, enforce_file_format=True)
    return replace(
        line,
        file=file,
        confirmed_by="reviewed" if line.confirmed_by else "",
        patient_id=str(copy.PatientID),
        age_years="" if age is None else str(min(age, OLDEST_AGE_YEARS)),
        study_instance_uid=str(copy.StudyInstanceUID),
        sop_instance_uid=str(copy.SOPInstanceUID),
    )
