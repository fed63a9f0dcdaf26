"""Whose study it is by a person's word: which of its objects are this patient's, and what they are all to say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations

from dicom_io.data_sets.patient_age import birth_dates_differ
from dicom_io.data_sets.person_names import names_agree
from worker.arrival.corrected_images import corrected_columns
from worker.arrival.identity import identity_columns
from worker.care.study_objects import Headed
from worker.foundation.errors import WorkerError
from worker.rows.study_tables import IdentityCorrection

_Named = tuple[Headed, dict[str, str]]
"""An object and what it says of its patient, as corrected."""


class ReleaseRefused(WorkerError):
    """The study cannot be released as asked; the message says what is missing."""

    def __init__(self, study_instance_uid: str, why: str) -> None:
        super().__init__(f"study {study_instance_uid} is not released: {why}")


@dataclass(frozen=True)
class WhoseStudy:
    """One patient among those that a study's objects name, as received or as corrected; None where they agree."""

    patient_id: str | None = None
    """Empty text chooses the objects without one."""
    issuer: str | None = None
    """Issuer of Patient ID."""
    patient_name: str | None = None
    patient_birth_date: str | None = None
    one_patient: bool = False
    """True: all objects under that Patient ID are this patient's, also those that give another name or birth date."""


@dataclass(frozen=True)
class Choice:
    """What a person's word makes of a study."""

    objects: list[Headed]
    demographics: Mapping[str, str]
    """Columns of ``study`` that all of them are to say, where one patient goes by several names or birth dates."""


def choose(
    study_instance_uid: str, objects: Sequence[Headed], whose: WhoseStudy, corrections: Sequence[IdentityCorrection]
) -> Choice:
    """Return the objects of the patient meant; what an object does not say contradicts nothing.

    Raises
    ------
    ReleaseRefused
        The choice is open, or fits no object.
    """
    # A correction may have settled what the objects themselves still say otherwise.
    named = [(each, corrected_columns(identity_columns(each[1]), corrections)) for each in objects]
    like = _of_patient_id(study_instance_uid, named, whose)
    of_patient = [each for each, _ in like]
    for column, option, given, agree in (
        ("patient_name", "--patient-name", whose.patient_name, names_agree),
        ("patient_birth_date", "--birth-date", whose.patient_birth_date, _born_alike),
    ):
        value = _value(study_instance_uid, option, given, {each[column] for _, each in like} - {""}, agree)
        if value is not None:
            like = [(each, columns) for each, columns in like if agree(columns[column], value)]
    if not whose.one_patient:
        return Choice([each for each, _ in like], {})
    told = {"patient_name": whose.patient_name, "patient_birth_date": whose.patient_birth_date}
    for column in (*told, "patient_sex"):
        told[column] = told.get(column) or next((columns[column] for _, columns in like if columns[column]), None)
    return Choice(of_patient, {column: value for column, value in told.items() if value})


def _of_patient_id(study_instance_uid: str, named: Sequence[_Named], whose: WhoseStudy) -> list[_Named]:
    ids = {columns["patient_id"] for _, columns in named}
    patient_id = _only_choice(study_instance_uid, "--patient-id", whose.patient_id, ids)
    named = [(each, columns) for each, columns in named if columns["patient_id"] == patient_id]
    issuers = {columns["issuer_of_patient_id"] for _, columns in named} - {""}
    if whose.issuer is None and not issuers:
        return named
    issuer = _only_choice(study_instance_uid, "--issuer", whose.issuer, issuers)
    return [(each, columns) for each, columns in named if columns["issuer_of_patient_id"] in ("", issuer)]


def _value(
    study_instance_uid: str, option: str, given: str | None, possible: set[str], agree: Callable[[str, str], bool]
) -> str | None:
    """Return the value to go by; None where all of them are one patient's and none was asked for."""
    if given is None and all(agree(one, other) for one, other in combinations(possible, 2)):
        return None
    return _only_choice(study_instance_uid, option, given, possible)


def _born_alike(one: str, other: str) -> bool:
    return not birth_dates_differ(one, other, datetime.now(UTC).date())


def _only_choice(study_instance_uid: str, option: str, given: str | None, possible: set[str]) -> str:
    choices = ", ".join(repr(value) for value in sorted(possible)) or "none"
    if given is None and len(possible) != 1:
        raise ReleaseRefused(study_instance_uid, f"choose one with {option}: {choices}")
    if given is not None and given not in possible:
        raise ReleaseRefused(study_instance_uid, f"no object of it has {option} {given!r}; it has: {choices}")
    return given if given is not None else next(iter(possible))
