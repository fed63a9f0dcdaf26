"""What a message from a hospital system says to us: a patient's data changed, two patients are one, a report is final.

Read field by field after HL7 v2.5.1 chapters 3.3 and 7.3 and IHE RAD-12 and RAD-128; nothing is completed or guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from dicom_io.data_sets.patient_age import dicom_date
from dicom_io.foundation.uids import is_valid_uid
from hl7_io.acknowledgement import LONGEST_CONTROL_ID, Answer
from hl7_io.person_name import all_names, person_name
from hl7_io.reading import Message, Segment, part

UPDATES = frozenset({"A08", "A31"})
"""Update patient information, update person information."""
MERGES = frozenset({"A40", "A47"})
"""Merge patient identifier list, change patient identifier list."""
FINAL = frozenset({"F", "C"})
"""OBR-25 of a report a person has signed: final, corrected after final."""
MOST_MEANINGS = 100
"""Merges or final reports of one message; each is looked up, and ten thousand keep everybody waiting for minutes."""
_STUDY_UID_CODES = frozenset({"113014", "110180"})
"""OBX-3 of a Study Instance UID: as in IHE RAD-128, and the concept's own code."""


class RefusedMessage(ValueError):
    """A message that cannot be taken; `answer` is what its sender is told."""

    def __init__(self, code: str, error_code: str, error_text: str) -> None:
        super().__init__(error_text)
        self.answer = Answer(code, error_code, error_text)


@dataclass(frozen=True)
class PatientIdentifier:
    """One CX: an identifier, who assigned it and of what kind it is."""

    identifier: str
    authority: str
    """Namespace (HD-1), else universal ID (HD-2); empty where the message names none."""
    identifier_type: str
    """CX-5, such as ``MR`` or ``AN``; empty where the message names none."""


@dataclass(frozen=True)
class Demographics:
    """What PID says of a patient, in DICOM's forms; None where it says nothing or nothing that DICOM can hold."""

    patient_name: str | None
    patient_birth_date: str | None
    patient_sex: str | None


@dataclass(frozen=True)
class PatientUpdate:
    """The patient with any of these identifiers has these data from now on."""

    identifiers: tuple[PatientIdentifier, ...]
    demographics: Demographics
    names: tuple[str, ...] = field(default=(), repr=False)
    """Every name the message gives the patient, former ones and aliases too (PID-5, PID-9), in DICOM's form."""


@dataclass(frozen=True)
class PatientMerge:
    """What was known under `prior` belongs to the patient with one of `identifiers`."""

    prior: tuple[PatientIdentifier, ...]
    identifiers: tuple[PatientIdentifier, ...]
    demographics: Demographics
    names: tuple[str, ...] = field(default=(), repr=False)
    """As of an update, and the prior names."""
    prior_names: tuple[str, ...] = field(default=(), repr=False)
    """What the patient was called under `prior` (MRG-7), where the message says it."""


@dataclass(frozen=True)
class FinalReport:
    """A person has reported on these studies or orders of this patient."""

    identifiers: tuple[PatientIdentifier, ...]
    study_instance_uids: tuple[str, ...]
    accession_numbers: tuple[str, ...]
    """Of one report: OBR-18 where it is filled, else the filler's order number OBR-3."""


@dataclass(frozen=True)
class NotForUs:
    """A message that is understood and changes nothing here, such as an admission or a preliminary report."""

    why: str


Meaning = PatientUpdate | PatientMerge | FinalReport | NotForUs


@dataclass(frozen=True)
class Envelope:
    """The header of a message that was read."""

    message_type: str
    """Such as ``ADT^A08``."""
    control_id: str
    sender: str
    """MSH-3, and MSH-4 where it is filled, such as ``RIS at HOSPITAL``."""
    meanings: tuple[Meaning, ...] = field(repr=False)


def understand(message: Message, processing_id: str = "P") -> Envelope:
    """Return what the message says, in the order in which it says it.

    Raises
    ------
    RefusedMessage
        It has no control id, is meant for another environment, is of a type that is not taken, lacks what its type
        needs, says more than any honest one, or is more than one.
    """
    header = message.header
    if not header.text(10):
        raise RefusedMessage("AR", "101", "MSH-10 is empty")
    if len(header.text(10)) > LONGEST_CONTROL_ID:
        raise RefusedMessage("AR", "102", f"MSH-10 is longer than {LONGEST_CONTROL_ID} characters")
    if header.text(11) != processing_id:
        raise RefusedMessage("AR", "202", f"MSH-11 is not {processing_id}")
    if sum(1 for _ in message.all("MSH")) > 1:  # the second would be lost, and its sender hears of the first alone
        raise RefusedMessage("AR", "100", "more than one message in a frame; send each in its own")
    kind, event = header.text(9, 1), header.text(9, 2)
    sender = " at ".join(filter(None, (header.text(3), header.text(4))))
    meanings = tuple(islice(_meanings(message, kind, event), MOST_MEANINGS + 1))
    if len(meanings) > MOST_MEANINGS:
        raise RefusedMessage("AR", "207", f"more than {MOST_MEANINGS} merges or reports in one message; send fewer")
    return Envelope(f"{kind}^{event}"[:16], header.text(10), sender[:200], meanings)


def _meanings(message: Message, kind: str, event: str) -> Iterator[Meaning]:
    if kind == "ADT" and event in UPDATES:
        patient = _required(message.first("PID"), "PID")
        yield PatientUpdate(_identifiers(patient, 3), _demographics(patient), _names(patient))
    elif kind == "ADT" and event in MERGES:
        yield from _merges(message)
    elif kind == "ORU" and event == "R01":
        yield from _reports(message)
    elif kind == "ADT":
        yield NotForUs(f"ADT^{event} changes nothing here"[:64])
    else:
        raise RefusedMessage("AR", "200", "only ADT and ORU^R01 are taken (MSH-9)")


def _merges(message: Message) -> Iterator[PatientMerge]:
    """Yield each pair of PID and the MRG that follows it."""
    patient, found = None, False
    for segment in message.segments:
        if segment.name == "PID":
            patient = segment
        elif segment.name == "MRG":
            survivor, found = _required(patient, "PID"), True
            former = tuple(all_names(segment.repetitions(7)))
            yield PatientMerge(
                _identifiers(segment, 1),
                _identifiers(survivor, 3),
                _demographics(survivor),
                (*_names(survivor), *former),
                former,
            )
    if not found:
        raise RefusedMessage("AE", "100", "the message has no MRG segment")


def _reports(message: Message) -> Iterator[Meaning]:
    patient = _required(message.first("PID"), "PID")
    groups = list(_requests(message))
    if not groups:
        raise RefusedMessage("AE", "100", "the message has no OBR segment")
    final = [(request, others) for request, others in groups if request.text(25) in FINAL]
    if not final:
        yield NotForUs("no report in it is final (OBR-25)")
    everywhere = _uids(message.all("ZDS"), 1)
    for request, others in final:
        uids = dict.fromkeys([*_uids(others, 5), *everywhere])
        accession = request.text(18) or request.text(3)
        yield FinalReport(_identifiers(patient, 3), tuple(uids), (accession,) if accession else ())


def _requests(message: Message) -> Iterator[tuple[Segment, list[Segment]]]:
    """Yield each OBR with the OBX segments that name a study below it."""
    request: Segment | None = None
    others: list[Segment] = []
    for segment in message.segments:
        if segment.name == "OBR":
            if request is not None:
                yield request, others
            request, others = segment, []
        elif segment.name == "OBX" and segment.text(3) in _STUDY_UID_CODES:
            others.append(segment)
    if request is not None:
        yield request, others


def _uids(segments: Iterator[Segment] | Sequence[Segment], number: int) -> list[str]:
    return [uid for segment in segments if is_valid_uid(uid := segment.text(number))]


def _required(segment: Segment | None, name: str) -> Segment:
    if segment is None:
        raise RefusedMessage("AE", "100", f"the message has no {name} segment")
    return segment


def _identifiers(segment: Segment, number: int) -> tuple[PatientIdentifier, ...]:
    found = tuple(
        PatientIdentifier(
            part(repetition, 1), part(repetition, 4, 1) or part(repetition, 4, 2), part(repetition, 5).upper()
        )
        for repetition in segment.repetitions(number)
        if part(repetition, 1)
    )
    if not found:
        raise RefusedMessage("AE", "101", f"{segment.name}-{number} is empty")
    return found


def _names(patient: Segment) -> tuple[str, ...]:
    return (*all_names(patient.repetitions(5)), *all_names(patient.repetitions(9)))


def _demographics(patient: Segment) -> Demographics:
    birth_date = patient.text(7)[:8]
    return Demographics(
        person_name(patient.repetitions(5)) or None,
        birth_date if dicom_date(birth_date) else None,  # some fill up a year with zeros
        patient.text(8) if patient.text(8) in ("M", "F", "O") else None,
    )
