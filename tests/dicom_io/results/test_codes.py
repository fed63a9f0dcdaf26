"""Codes of findings and priorities: well-formed, complete, and none of the wrong ones in circulation."""

from __future__ import annotations

import pytest
from pydicom.sr.codedict import codes as standard

from dicom_io.foundation.concepts import DCM, SCT, UCUM, Code
from dicom_io.results import codes
from dicom_io.results.codes import FINDINGS, PRIORITY_CODES
from dicom_io.results.reporting import PRIORITIES
from model.labels import LABELS

# dihedral group D5 and its permutation (Verhoeff 1969), as SNOMED CT identifiers use them
_TIMES = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_PERMUTATION = (
    "0123456789", "1576283094", "5803796142", "8916043527",
    "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip

# seen as codes of these findings in public repositories: check digit wrong, or another concept
_WRONG = {
    "95436001", "95436003", "9494007", "78381001", "78381009", "196121004", "129614006", "3529005", "73122008",
    "249674008", "423341008", "267038008",
}  # fmt: skip


def passes_verhoeff(number: str) -> bool:
    check = 0
    for place, digit in enumerate(reversed(number)):
        check = int(_TIMES[check][int(_PERMUTATION[place % 8][int(digit)])])
    return check == 0


def every_code() -> list[Code]:
    found = [code for code in vars(codes).values() if isinstance(code, Code)]
    for finding in FINDINGS.values():
        found += [finding.finding, finding.site, finding.precoordinated]
    for priority in PRIORITY_CODES.values():
        found.append(priority.report)
    return found


def test_every_label_of_the_model_has_a_code_and_no_other_label_has() -> None:
    assert tuple(FINDINGS) == LABELS


def test_the_check_digit_is_computed_right() -> None:
    assert passes_verhoeff("36118008")  # Pneumothorax, as in pydicom's dictionary
    assert not passes_verhoeff("36118009")
    assert not passes_verhoeff("95436001")


@pytest.mark.parametrize("code", every_code(), ids=lambda code: f"{code.scheme_designator}-{code.value}")
def test_every_code_is_well_formed(code: Code) -> None:
    assert code.scheme_designator in {"SCT", "DCM", "RADLEX"}
    assert 0 < len(code.value) <= 16
    assert 0 < len(code.meaning) <= 64
    if code.scheme_designator == "SCT":
        assert passes_verhoeff(code.value)


@pytest.mark.parametrize("scheme", [DCM, SCT, UCUM])
def test_every_concept_is_what_the_standard_has_under_its_name(scheme: type) -> None:
    ours = {name: concept for name, concept in vars(scheme).items() if isinstance(concept, Code)}
    assert ours
    assert all(tuple(getattr(getattr(standard, scheme.__name__), name))[:3] == ours[name] for name in ours)


def test_none_of_the_wrong_codes_in_circulation_is_used() -> None:
    assert not _WRONG & {code.value for code in every_code()}


def test_thickening_is_not_confused_with_pneumothorax() -> None:
    assert FINDINGS["Pleural_Thickening"].finding.value == "RID28509"
    assert all(finding.finding.value != "RID5352" for finding in FINDINGS.values())  # pneumothorax in RadLex


def test_no_two_labels_share_a_finding_code() -> None:
    assert len({finding.finding.value for finding in FINDINGS.values()}) == len(LABELS)


def test_every_priority_has_codes_and_none_sinks_below_what_nobody_analysed() -> None:
    assert tuple(PRIORITY_CODES) == PRIORITIES
    assert all(code.scheduled_procedure_step_priority in {"HIGH", "MEDIUM"} for code in PRIORITY_CODES.values())
