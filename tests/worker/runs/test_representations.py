"""Known elements under another value representation than PS3.6 gives them: read as what they are, ignored, or named."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pydicom
import pytest
from benches import SILENT_ARCHIVE, Bench, dicom_bytes
from factories import chest_radiograph, drawn_chest
from one_database import database_url  # noqa: F401 (a fixture; what is special to PostgreSQL has tests of its own)
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_io.data_sets.header import text
from dicom_io.results.readable import settle_header
from worker.rows.states import ResultKind

pytestmark = pytest.mark.either_database
NOT_NUMBERS = b"A-4711"


@pytest.fixture
def bench(bench_with: Callable[..., Bench]) -> Bench:
    return bench_with(hl7_destinations=[{"name": "ris", "host": "127.0.0.1", "port": 1}])


def written(keyword: str, representation: str, value: bytes, **keywords: object) -> Dataset:
    """Return an image whose element, or that of its order, has this representation and these bytes."""
    image = pydicom.dcmread(BytesIO(dicom_bytes(chest_radiograph(**keywords))))  # which is written as it was read
    tag = Tag(tag_for_keyword(keyword) or 0)
    holder = image.RequestAttributesSequence[0] if keywords else image
    holder[tag] = RawDataElement(tag, representation, len(value), value, 0, False, True)
    return image


@pytest.mark.parametrize("representation", ["DS", "IS", "UT", "OB", "UN"])
@pytest.mark.parametrize("keyword", ["AccessionNumber", "PatientID", "PatientName"])
def test_text_under_another_representation_is_read_and_carried(bench: Bench, keyword: str, representation: str) -> None:
    image = written(keyword, representation, NOT_NUMBERS)
    assert text(image, keyword) == NOT_NUMBERS.decode()
    study = bench.triage(written(keyword, representation, NOT_NUMBERS))
    assert study.state == "triaged", study.reason
    of_run = bench.results(bench.runs(study.study_instance_uid)[0])
    paths = [bench.workplace.results.open_path(each.path) for each in of_run if each.kind != ResultKind.HL7_MESSAGE]
    results = [pydicom.dcmread(path) for path in paths]
    assert results
    assert {(str(result[keyword].value), str(result[keyword].VR)) for result in results} == {
        (NOT_NUMBERS.decode(), str(chest_radiograph()[keyword].VR))
    }


@pytest.mark.parametrize("representation", ["UL", "AT"])
@pytest.mark.parametrize("keyword", ["PatientID", "PatientName", "PatientBirthDate", "AccessionNumber"])
def test_what_results_must_carry_and_nobody_can_read_ends_the_run_by_name(
    bench: Bench, keyword: str, representation: str
) -> None:
    study = bench.triage(written(keyword, representation, b"12"))
    assert (study.state, study.reason_code) == ("failed", "result_invalid")
    assert f"{keyword} of an image has the value representation {representation}" in (study.reason or "")
    assert bench.runs(study.study_instance_uid)[0].attempts == 1


@pytest.mark.parametrize("representation", ["UL", "AT"])
@pytest.mark.parametrize("keyword", ["BurnedInAnnotation", "DeidentificationMethod", "StudyDescription", "PatientAge"])
def test_what_results_need_not_carry_is_left_out_where_nobody_can_read_it(
    bench: Bench, keyword: str, representation: str
) -> None:
    study = bench.triage(written(keyword, representation, b"12"))
    assert study.state == "triaged", study.reason


@pytest.mark.parametrize("representation", ["OB", "UN", "LO", "US"])
@pytest.mark.parametrize("keyword", ["ProcedureCodeSequence", "ViewCodeSequence", "OtherPatientIDsSequence"])
def test_a_sequence_that_is_none_is_ignored(bench: Bench, keyword: str, representation: str) -> None:
    study = bench.triage(written(keyword, representation, b"\x01\x02\x03\x04"))
    assert study.state == "triaged", study.reason


def test_orders_that_nobody_can_read_end_the_run_by_name(bench: Bench) -> None:
    study = bench.triage(written("RequestAttributesSequence", "OB", b"\x01\x02\x03\x04"))
    assert (study.state, study.reason_code) == ("failed", "result_invalid")
    assert "RequestAttributesSequence of an image has the value representation OB" in (study.reason or "")


@pytest.mark.parametrize("representation", ["DS", "UL", "OB"])
def test_an_order_with_an_element_under_another_representation_is_carried(bench: Bench, representation: str) -> None:
    order = Dataset()
    order.RequestedProcedureID = "RP-1"
    orders = {"RequestAttributesSequence": [order]}
    study = bench.triage(written("ReasonForTheRequestedProcedure", representation, NOT_NUMBERS, **orders))
    assert study.state == "triaged", study.reason


@pytest.mark.parametrize("representation", ["DS", "UL"])
def test_an_image_that_comes_again_is_compared_all_the_same(bench: Bench, representation: str) -> None:
    image = written("DeidentificationMethod", representation, b"12")
    assert bench.triage(image).state == "triaged"
    image.InstitutionName = "Another"
    study = bench.triage(image)
    assert (study.state, study.reason_code) == ("triaged", None)
    assert [run.state for run in bench.runs(study.study_instance_uid)] == ["done", "done"]


@pytest.mark.parametrize(
    ("keyword", "representation", "value"), [("RescaleSlope", "FD", -0.5), ("SeriesNumber", "US", 7)]
)
def test_a_number_under_another_representation_of_numbers_stays_one(
    keyword: str, representation: str, value: float
) -> None:
    image = chest_radiograph()
    image.add_new(Tag(tag_for_keyword(keyword) or 0), representation, value)
    header = pydicom.dcmread(BytesIO(dicom_bytes(image)))
    settle_header(header)
    assert header[keyword].value == value
    assert float(text(header, keyword)) == value


TWICE = {"BitsStored": 8, "PixelRepresentation": 0, "Rows": 96, "Columns": 80, "ShutterPresentationValue": 0}


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        *((keyword, b"") for keyword in ("BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel")),
        *((keyword, number.to_bytes(2, "little") * 2) for keyword, number in TWICE.items()),
    ],
)
def test_an_image_whose_layout_is_read_gets_all_its_results(
    bench_with: Callable[..., Bench], keyword: str, value: bytes
) -> None:
    """Empty or twice, where one value belongs: what the pixels are decoded by, results are made by."""
    bench = bench_with(destinations=[SILENT_ARCHIVE | {"pictures": "sc+gsps"}])
    grey = (drawn_chest() >> 4).astype(np.uint8)
    layout = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "WindowCenter": None, "WindowWidth": None}
    plain = chest_radiograph(grey, ShutterShape="RECTANGULAR", PixelData=grey.tobytes(), **layout)
    image = pydicom.dcmread(BytesIO(dicom_bytes(plain)))
    tag = Tag(tag_for_keyword(keyword) or 0)
    image[tag] = RawDataElement(tag, "US", len(value), value, 0, False, True)
    study = bench.triage(image)
    assert study.state == "triaged", study.reason
    kinds = {result.kind for result in bench.results(bench.runs(study.study_instance_uid)[0])}
    assert kinds >= {ResultKind.STRUCTURED_REPORT, ResultKind.SECONDARY_CAPTURE, ResultKind.PRESENTATION_STATE}
