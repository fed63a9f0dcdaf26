"""Orders: every one the images name, each once, with texts that survive a change of character set."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from reports import report_on, source_radiograph
from validators import dciodvfy_errors

from dicom_io.results.identity_guard import require_identity
from dicom_io.results.orders import referenced_requests
from dicom_io.results.reporting import ReportedFinding
from dicom_io.results.result_file import write_result
from dicom_io.results.structured_report import build_structured_report


def order(requested_procedure_id: str, **attributes: Any) -> Dataset:
    item = Dataset()
    item.RequestedProcedureID = requested_procedure_id
    item.ScheduledProcedureStepID = f"STEP-{requested_procedure_id}"
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def coded(meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "XR01", "99LOCAL", meaning
    return code


def test_an_order_that_is_no_sequence_is_no_order() -> None:
    source = source_radiograph()
    source.add_new("RequestAttributesSequence", "LO", "none")
    document = build_structured_report([source], report_on(source))
    require_identity(write_result(document), source)
    assert "ReferencedRequestSequence" not in document


def test_orders_of_all_images_are_named_once_each(tmp_path: Path) -> None:
    both = [order("RP1", AccessionNumber="ACC1"), order("RP2", AccessionNumber="ACC2")]
    sources = [
        source_radiograph("1.2.3.10", RequestAttributesSequence=both),
        source_radiograph("1.2.3.11", RequestAttributesSequence=[both[1], order("RP3", AccessionNumber="ACC3")]),
        source_radiograph("1.2.3.12"),
    ]
    path = tmp_path / "report.dcm"
    path.write_bytes(write_result(build_structured_report(sources, report_on(*sources))))
    requests = dcmread(path).ReferencedRequestSequence
    assert [(item.RequestedProcedureID, item.AccessionNumber) for item in requests] == [
        ("RP1", "ACC1"), ("RP2", "ACC2"), ("RP3", "ACC3"),
    ]  # fmt: skip
    assert all("ScheduledProcedureStepID" not in item for item in requests)
    assert dciodvfy_errors(path) == []


def test_the_studys_accession_number_is_lent_to_a_single_order_only() -> None:
    (alone,) = referenced_requests([source_radiograph(RequestAttributesSequence=[order("RP1")])])
    assert alone.AccessionNumber == "ACC0001"
    two = referenced_requests([source_radiograph(RequestAttributesSequence=[order("RP1"), order("RP2")])])
    assert [item.AccessionNumber for item in two] == ["", ""]


def test_an_order_of_another_study_keeps_its_study() -> None:
    source = source_radiograph(RequestAttributesSequence=[order("RP1", StudyInstanceUID="1.2.99"), order("RP2")])
    assert [item.StudyInstanceUID for item in referenced_requests([source])] == ["1.2.99", "1.2.3"]


def test_without_orders_there_is_no_reference() -> None:
    assert referenced_requests([source_radiograph()]) == []
    assert "ReferencedRequestSequence" not in build_structured_report(
        [source_radiograph()], report_on(source_radiograph())
    )


@pytest.mark.parametrize(
    ("character_set", "text"),
    [(["", "ISO 2022 IR 87"], "胸部"), ("ISO_IR 144", "Грудная клетка"), ("GB18030", "胸部正位"), ("ISO_IR 192", "胸")],
)
def test_texts_inside_an_order_survive_whatever_character_set_they_came_in(character_set: Any, text: str) -> None:
    source = source_radiograph(
        RequestAttributesSequence=[
            order("RP1", RequestedProcedureDescription=text, RequestedProcedureCodeSequence=[coded(text)])
        ]
    )
    source.SpecificCharacterSet = character_set
    source = dcmread(BytesIO(write_result(source)))
    written = write_result(build_structured_report([source], report_on(source)))
    (request,) = dcmread(BytesIO(written)).ReferencedRequestSequence
    assert request.RequestedProcedureDescription == text
    assert request.RequestedProcedureCodeSequence[0].CodeMeaning == text


def test_undeclared_bytes_inside_an_order_go_out_as_they_came_in() -> None:
    source = source_radiograph(RequestAttributesSequence=[order("RP1", RequestedProcedureDescription="Thörax")])
    del source.SpecificCharacterSet
    source = dcmread(BytesIO(write_result(source)))
    report = report_on(source, findings=(ReportedFinding("Mass", 0.9, 0.5),))
    assert b"Th\xf6rax" in write_result(build_structured_report([source], report))
