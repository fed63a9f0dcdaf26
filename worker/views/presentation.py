"""DICOM values in the words a person reads, shared by the terminal and the worklist page."""

from __future__ import annotations

from dicom_io.data_sets.patient_age import dicom_date, stated_age, whole_years
from dicom_io.results.reporting import whole_percent
from worker.rows.states import ResultKind
from worker.runs.policy import percent

AGE_UNITS = {"D": "d", "W": "wk", "M": "mo", "Y": "y"}
SECONDS_PER_MINUTE = 60
SECONDS_PER_HOUR = 3600
SECONDS_PER_DAY = 86400
MOST_DECIMALS = 6
"""Of a per cent: closer together two numbers of float32 hardly come."""


def person_name(value: str) -> str:
    """Return a PN value (PS3.5 6.2.1) as ``FAMILY, Given Middle``; the first component group that is not empty.

    An empty name gives an empty text: the caller decides what stands in its place.
    """
    group = next((group for group in value.split("=") if group.strip("^ ")), "")
    family, _, given = group.partition("^")
    given = " ".join(part for part in given.split("^")[:2] if part.strip())
    return ", ".join(part.strip() for part in (family, given) if part.strip())


def other_spellings(value: str) -> list[str]:
    """Return how else a PN value (PS3.5 6.2.1) writes the name: its ideographic and its phonetic component group."""
    names = (person_name(group) for group in value.split("="))
    return [name for name in names if name and name != person_name(value)]


def suitability_text(verdict: str | None, score: float | None, distance: float | None) -> str:
    """Return what the suitability check made of a picture, such as ``frontal, score 0.998, distance 0.31 of 1``."""
    if verdict is None:
        return "not checked"
    return f"{verdict.replace('_', ' ')}, score {score or 0.0:.3f}, distance {distance or 0.0:.2f} of 1"


def age_text(patient_age: str, patient_birth_date: str, study_date: str) -> str:
    """Return the age at the time of the study, as ``45 y``: PatientAge (AS), else from the two dates, else empty."""
    if stated := stated_age(patient_age):
        number, unit = stated
        return f"{number} {AGE_UNITS[unit]}"
    born, taken = dicom_date(patient_birth_date), dicom_date(study_date)
    years = whole_years(born, taken) if born and taken else None
    if born is None or taken is None or years is None:
        return ""
    return f"{years} y" if years >= 2 else f"{(taken - born).days // 30} mo"


def duration_text(seconds: float) -> str:
    """Return a length of time in at most two units: ``42 s``, ``3 min 05 s``, ``2 h 10 min``, ``4 d 3 h``."""
    whole = max(0, int(seconds))
    if whole < SECONDS_PER_MINUTE:
        return f"{whole} s"
    if whole < SECONDS_PER_HOUR:
        return f"{whole // SECONDS_PER_MINUTE} min {whole % SECONDS_PER_MINUTE:02d} s"
    if whole < SECONDS_PER_DAY:
        return f"{whole // SECONDS_PER_HOUR} h {whole % SECONDS_PER_HOUR // SECONDS_PER_MINUTE:02d} min"
    return f"{whole // SECONDS_PER_DAY} d {whole % SECONDS_PER_DAY // SECONDS_PER_HOUR} h"


def seconds_text(seconds: float) -> str:
    """Return a short time with what counts of it: ``12 ms``, ``1.4 s``, from a minute on as `duration_text` does."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < SECONDS_PER_MINUTE else duration_text(seconds)


def percent_text(probability: float | None) -> str:
    """Return a probability as ``91 %``, as in results; ``not in this model`` for one that the bundle does not know."""
    return "not in this model" if probability is None else f"{whole_percent(probability)} %"


def against_threshold(probability: float | None, threshold: float | None) -> tuple[str, str]:
    """Return a probability and its threshold as texts that compare as the numbers do: ``("0.7 %", "0.8 %")``.

    As `percent_text` and results write them where these tell whether the threshold is reached, else with as many
    decimals as that takes: "1 %" beside "0.8 %" looks flagged. The threshold's is empty where there is none.
    """
    shown, limit = percent_text(probability), "" if threshold is None else percent(threshold)
    if probability is None or threshold is None or _tells(probability, threshold):
        return shown, limit
    digits = next((n for n in range(1, MOST_DECIMALS) if _compares(probability, threshold, n, n)), MOST_DECIMALS)
    return f"{100 * probability:.{digits}f} %", f"{100 * threshold:.{digits}f} %"


def _tells(probability: float, threshold: float) -> bool:
    """Whether whole per cent beside a threshold as results write it say which of the two is larger."""
    below_one = round(100 * probability) == 0  # then it is written "< 1 %"
    return _compares(probability, threshold, 0, 0 if threshold >= 0.0995 else 1) and not (
        below_one and threshold < 0.01
    )


def _compares(probability: float, threshold: float, digits: int, digits_of_threshold: int) -> bool:
    rounded = round(100 * probability, digits) >= round(100 * threshold, digits_of_threshold)
    return rounded == (probability >= threshold)


def finding_text(finding: str) -> str:
    """Return a finding's label as people write it (``Pleural_Thickening`` -> ``Pleural thickening``)."""
    first, *rest = finding.split("_")
    return " ".join([first, *(word.lower() for word in rest)])


def result_text(kind: str, finding: str | None) -> str:
    """Return what a result is, such as ``secondary capture of Pleural thickening``."""
    words = "HL7 message" if kind == ResultKind.HL7_MESSAGE else kind.replace("_", " ")
    return f"{words} of {finding_text(finding)}" if finding else words


def bytes_text(count: int) -> str:
    """Return a number of bytes in a unit that leaves one to three digits before the point (powers of 1000)."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
