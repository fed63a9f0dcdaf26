"""Results are written in their source's character set, to the byte; in UTF-8 only where that cannot be."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from reports import report_on, source_radiograph
from validators import dcentvfy_errors, dciodvfy_errors, dsrdump

from dicom_io.results.result_file import write_result
from dicom_io.results.structured_report import build_structured_report

# character set, name, study description: PS3.5 annexes H to K have these scripts
WRITTEN: list[tuple[Any, str, str]] = [
    ("ISO_IR 144", "Люкceмбypг^Иван", "Рентген грудной клетки"),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", "胸部 X-ray 正面"),
    (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", "흉부"),
    ("GB18030", "Wang^XiaoDong=王^小东", "胸部正位"),
    ("ISO_IR 100", "Äneas^Rüdiger", "Röntgen Thorax"),
    ("ISO_IR 192", "Wang^XiaoDong=王^小東", "胸部"),
]


def stored(source: Dataset) -> Dataset:
    return dcmread(BytesIO(write_result(source)))


def source_in(character_set: Any, name: str, description: str) -> Dataset:
    source = source_radiograph(PatientName=name, StudyDescription=description)
    source.SpecificCharacterSet = character_set
    return stored(source)


def bytes_of(content: bytes, keyword: str) -> bytes:
    """Return the bytes of one element of a file, undecoded."""
    element = dcmread(BytesIO(content)).get_item(keyword)
    assert element is not None
    assert isinstance(element.value, bytes)
    return element.value


@pytest.mark.parametrize(("character_set", "name", "description"), WRITTEN)
def test_texts_go_out_in_the_bytes_they_came_in(
    character_set: Any, name: str, description: str, tmp_path: Path
) -> None:
    source = source_in(character_set, name, description)
    content, original = write_result(build_structured_report([source], report_on(source))), write_result(source)
    for keyword in ("PatientName", "StudyDescription"):
        assert bytes_of(content, keyword) == bytes_of(original, keyword)
    assert dcmread(BytesIO(content)).SpecificCharacterSet == source.SpecificCharacterSet
    path, source_path = tmp_path / "report.dcm", tmp_path / "source.dcm"
    path.write_bytes(content)
    source_path.write_bytes(original)
    assert dcentvfy_errors(source_path, path) == []
    assert dciodvfy_errors(path) == []
    assert "AI summary" in dsrdump(path)


def test_a_text_of_another_image_makes_it_utf_8_rather_than_question_marks() -> None:
    order = Dataset()
    order.RequestedProcedureID, order.RequestedProcedureDescription = "RP1", "胸部正位"
    latin = source_in("ISO_IR 100", "Äneas^Rüdiger", "Röntgen")
    chinese = source_radiograph("1.2.3.11", RequestAttributesSequence=[order])
    chinese.SpecificCharacterSet = "GB18030"
    sources = [latin, stored(chinese)]
    document = stored(build_structured_report(sources, report_on(*sources)))
    assert document.SpecificCharacterSet == "ISO_IR 192"
    assert document.ReferencedRequestSequence[0].RequestedProcedureDescription == "胸部正位"
    assert (str(document.PatientName), document.StudyDescription) == ("Äneas^Rüdiger", "Röntgen")


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, on reading what was damaged
def test_damaged_text_is_written_as_it_reads() -> None:
    source = source_in("ISO_IR 144", "Иван", "Рентген")
    damaged = dcmread(BytesIO(write_result(source).replace(b"ISO_IR 144", b"ISO_IR 192")))
    name = str(damaged.PatientName)
    document = stored(build_structured_report([damaged], report_on(damaged)))
    assert str(document.PatientName) == name


def test_a_source_without_a_declared_character_set_gets_results_without_one() -> None:
    source = source_radiograph()
    del source.SpecificCharacterSet
    assert "SpecificCharacterSet" not in build_structured_report([stored(source)], report_on(source))
