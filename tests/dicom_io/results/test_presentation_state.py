"""The line over the original image: valid, in the image's own grey scale, and in its coordinates."""

from __future__ import annotations

import shutil
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from factories import chest_radiograph, computed_radiograph, write_dicom
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from reports import QUIET, report_on, source_radiograph
from validators import dcentvfy_errors, dciodvfy_errors, need

from dicom_io.pixels.radiograph import read_radiograph
from dicom_io.results.presentation_state import build_presentation_state, can_be_presented
from dicom_io.results.reporting import DEMONSTRATION_NOTICE, InvalidReportError
from dicom_io.results.result_file import write_result

SQUARE = np.array([[10, 20], [40, 20], [40, 50.5], [10, 50.5], [10, 20]], np.float32)


def state_of(source: Dataset, rank: int = 0, lines: tuple[NDArray[np.float32], ...] = (SQUARE,)) -> Dataset:
    """Return the state of the finding at that rank, written and read back."""
    report = report_on(source)
    state = build_presentation_state(source, report, report.flagged[rank], lines, site_zone=ZoneInfo("Europe/Berlin"))
    return dcmread(BytesIO(write_result(state)))


def save(dataset: Dataset, path: Path) -> Path:
    path.write_bytes(write_result(dataset))
    return path


def voi_lut(entries: NDArray[np.uint16], first: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, 16]
    item.LUTData = entries.astype("<u2").tobytes()
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
    return item


CURVE = np.rint(65535 * (np.arange(4096) / 4095) ** 1.7).astype(np.uint16)
SOURCES: dict[str, Any] = {
    "digital": chest_radiograph,
    "digital, window": lambda: chest_radiograph(WindowCenter="1500", WindowWidth="2000"),
    "digital, several windows": lambda: chest_radiograph(WindowCenter=["1800", "900"], WindowWidth=["2500", "700"]),
    "digital, sigmoid": lambda: chest_radiograph(VOILUTFunction="SIGMOID"),
    "digital, VOI LUT": lambda: chest_radiograph(VOILUTSequence=[voi_lut(CURVE, 0)]),
    "digital, inverse": lambda: chest_radiograph(
        PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE"
    ),
    "computed, MONOCHROME1": computed_radiograph,
    "computed, rescaled": lambda: computed_radiograph(RescaleIntercept="-100", RescaleSlope="0.5", WindowCenter="900"),
}


@pytest.mark.parametrize("name", [name for name in SOURCES if "sigmoid" not in name])  # dcmpstat knows lines only
def test_dcmtk_shows_the_image_under_our_state_as_our_own_pictures_do(name: str, tmp_path: Path) -> None:
    need(shutil.which("dcmp2pgm") is not None, "dcmp2pgm (Debian package dcmtk)")
    source = SOURCES[name]()
    source_path = write_dicom(source, tmp_path / "source.dcm")
    path = save(state_of(source), tmp_path / "state.dcm")
    picture = tmp_path / "picture.pgm"
    subprocess.run(["dcmp2pgm", "-p", str(path), str(source_path), str(picture)], check=True, capture_output=True)
    shown, ours = np.asarray(Image.open(picture)).astype(int), read_radiograph(source).pixels.astype(int)
    assert np.abs(shown - ours).max() <= 1  # dcmtk cuts off where we round


@pytest.mark.parametrize("name", SOURCES)
def test_three_validators_find_no_error(name: str, tmp_path: Path) -> None:
    source = SOURCES[name]()
    source_path, path = write_dicom(source, tmp_path / "source.dcm"), save(state_of(source), tmp_path / "state.dcm")
    assert dciodvfy_errors(path) == []
    assert dcentvfy_errors(source_path, path) == []
    need(shutil.which("dcmpschk") is not None, "dcmpschk (Debian package dcmtk)")
    checked = subprocess.run(["dcmpschk", "-v", str(path)], capture_output=True, text=True, check=False)
    assert "Test passed" in checked.stdout + checked.stderr, checked.stderr


def test_a_window_that_is_a_curve_is_repeated_as_one() -> None:
    (voi,) = state_of(SOURCES["digital, sigmoid"]()).SoftcopyVOILUTSequence
    assert (voi.VOILUTFunction, voi.WindowCenter, voi.WindowWidth) == ("SIGMOID", 2048, 4096)


def test_the_line_is_in_the_coordinates_of_the_image_and_closed() -> None:
    state = state_of(source_radiograph(), lines=(SQUARE, SQUARE + 3))
    (annotation,) = state.GraphicAnnotationSequence
    assert annotation.ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.10"
    first, second = annotation.GraphicObjectSequence
    assert (first.GraphicAnnotationUnits, first.GraphicType, first.GraphicFilled) == ("PIXEL", "POLYLINE", "N")
    assert np.array_equal(np.reshape(first.GraphicData, (-1, 2)), SQUARE)
    assert np.array_equal(np.reshape(second.GraphicData, (-1, 2)), SQUARE + 3)
    assert first.NumberOfGraphicPoints == 5


def test_the_words_say_what_the_line_is_and_name_nobody() -> None:
    source = source_radiograph()
    (annotation,) = state_of(source).GraphicAnnotationSequence
    text = annotation.TextObjectSequence[0].UnformattedTextValue
    assert text.split("\r\n") == [
        "AI: Pneumothorax 91 %",
        DEMONSTRATION_NOTICE,
        "NOT A MEDICAL DEVICE - NOT FOR DIAGNOSTIC USE",
        "line = model attention, not lesion extent",
        "phantom-densenet121 0.1.0+weights.3f9c1a7e",
    ]
    assert str(source.PatientName) not in text


def test_each_finding_has_a_state_of_its_own_in_one_series() -> None:
    first, second, third = (state_of(source_radiograph(), rank) for rank in (0, 1, 2))
    assert [state.ContentLabel for state in (first, second, third)] == [
        "AI PNEUMOTHORAX", "AI EFFUSION", "AI PLEURAL_THICK",
    ]  # fmt: skip
    assert len({state.SeriesInstanceUID for state in (first, second, third)}) == 1
    assert len({state.SOPInstanceUID for state in (first, second, third)}) == 3
    assert (first.Modality, first.SeriesNumber) == ("PR", 9003)


def test_without_a_line_the_words_stand_alone(tmp_path: Path) -> None:
    state = state_of(source_radiograph(), lines=())
    assert "GraphicObjectSequence" not in state.GraphicAnnotationSequence[0]
    assert dciodvfy_errors(save(state, tmp_path / "state.dcm")) == []


def test_the_whole_image_is_shown_and_pixels_that_are_not_square_stay_so() -> None:
    (area,) = state_of(chest_radiograph(ImagerPixelSpacing=["0.2", "0.1"])).DisplayedAreaSelectionSequence
    assert list(area.DisplayedAreaBottomRightHandCorner) == [80, 96]  # columns, rows
    vertical, horizontal = area.PresentationPixelAspectRatio
    assert vertical / horizontal == 2


@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"])
@pytest.mark.parametrize("written", [b"0,2\\0,1 ", b"2 ", b"0\\0 ", b"wide"])
def test_spacing_and_aspect_that_cannot_be_read_leave_pixels_square(keyword: str, written: bytes) -> None:
    source, tag = source_radiograph(ImagerPixelSpacing=None), Tag(keyword)
    source[tag] = RawDataElement(tag, dictionary_VR(tag), len(written), written, 0, False, True)
    (area,) = state_of(source).DisplayedAreaSelectionSequence
    assert list(area.PresentationPixelAspectRatio) == [1, 1]


def test_what_the_image_hides_behind_a_shutter_stays_hidden(tmp_path: Path) -> None:
    edges = dict(zip(("Left", "Right", "Upper", "Lower"), (5, 70, 4, 90), strict=True))
    names = {"Left": "Vertical", "Right": "Vertical", "Upper": "Horizontal", "Lower": "Horizontal"}
    shutter = {f"Shutter{side}{names[side]}Edge": value for side, value in edges.items()}
    state = state_of(chest_radiograph(ShutterShape="RECTANGULAR", **shutter))
    assert {keyword: state[keyword].value for keyword in shutter} == shutter
    assert (state.ShutterShape, state.ShutterPresentationValue) == ("RECTANGULAR", 0)
    assert dciodvfy_errors(save(state, tmp_path / "state.dcm")) == []


def test_an_image_that_does_not_say_how_it_is_shown_gets_no_state() -> None:
    silent = chest_radiograph(WindowCenter=None, WindowWidth=None)
    assert not can_be_presented(silent)
    report = report_on(silent)
    with pytest.raises(InvalidReportError, match="grey scale"):
        build_presentation_state(silent, report, report.flagged[0], [SQUARE])
    assert not can_be_presented(chest_radiograph(WindowCenter="0", WindowWidth="0"))
    assert not can_be_presented(chest_radiograph(SamplesPerPixel=3, PhotometricInterpretation="RGB"))
    assert not can_be_presented(chest_radiograph(PhotometricInterpretation="PALETTE COLOR"))
    assert can_be_presented(source_radiograph(WindowCenter=None, WindowWidth=None))  # 8 bits, made for the screen


def test_a_state_that_cannot_be_is_refused() -> None:
    source = source_radiograph()
    report = report_on(source)
    with pytest.raises(InvalidReportError, match="not a flagged finding"):
        build_presentation_state(source, report, QUIET[0], [SQUARE])
    with pytest.raises(InvalidReportError, match="not the image"):
        build_presentation_state(source_radiograph("1.2.3.99"), report, report.flagged[0], [SQUARE])


def test_equal_input_gives_equal_bytes() -> None:
    first, second = (write_result(state_of(source_radiograph())) for _ in range(2))
    assert first == second
