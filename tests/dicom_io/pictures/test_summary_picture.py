"""The picture of a whole study: every flagged finding has its panel, or at least its name."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from reports import report_on, source_radiograph

from dicom_io.pictures.summary_picture import MAXIMUM_PANELS, Panel, draw_summary
from dicom_io.results.reporting import Report, ReportedFinding
from model.labels import LABELS


def study(count: int, images: int = 1) -> Report:
    sources = [source_radiograph(f"1.2.3.{10 + number}") for number in range(images)]
    findings = tuple(
        ReportedFinding(label, 0.9 - 0.02 * place, 0.5, place % images) for place, label in enumerate(LABELS[:count])
    )
    return report_on(*sources, findings=findings, demonstration=False)


def panels(report: Report, *radiographs: NDArray[np.uint8]) -> list[Panel]:
    spot = np.zeros((7, 7), np.float32)
    spot[3, 3] = 1.0
    return [Panel(finding, radiographs[finding.source_index], spot) for finding in report.flagged]


def grey(rows: int, columns: int, value: int = 100) -> NDArray[np.uint8]:
    return np.full((rows, columns), value, np.uint8)


@pytest.mark.parametrize("count", [1, 2, 5, MAXIMUM_PANELS, 14])
@pytest.mark.parametrize("shape", [(2000, 1600), (600, 1500), (900, 380)])
def test_any_number_of_findings_fits_into_the_largest_picture(count: int, shape: tuple[int, int]) -> None:
    report = study(count)
    picture = draw_summary(report, panels(report, grey(*shape)))
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert max(picture.shape) <= 1024
    assert picture.shape[1] >= 512


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_each_finding_has_one_coloured_spot(count: int) -> None:
    report = study(count)
    picture = draw_summary(report, panels(report, grey(1000, 1000))).astype(int)
    warm = (picture[..., 0] - picture[..., 2] > 45)[120:-80]
    assert spots(warm) == count


def spots(mask: NDArray[np.bool_]) -> int:
    """Return how many coloured regions there are; letters and the scale are too small or outside."""
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8))  # the dark casing parts the line from its spot
    count, _labels, sizes, _centres = cv2.connectedComponentsWithStats(grown)
    return sum(1 for number in range(1, count) if sizes[number][cv2.CC_STAT_AREA] > 400)


def test_findings_of_two_images_are_shown_each_on_its_own() -> None:
    report = study(2, images=2)
    picture = draw_summary(report, panels(report, grey(800, 800, 60), grey(1000, 700, 200)))
    middle = picture[picture.shape[0] // 2]
    assert (middle == 60).all(axis=1).any()
    assert (middle == 200).all(axis=1).any()


def test_what_has_no_panel_is_named() -> None:
    nine, eleven = study(MAXIMUM_PANELS), study(MAXIMUM_PANELS + 2)
    with_names, without = (draw_summary(report, panels(report, grey(1000, 1000, 0))) for report in (eleven, nine))
    rows = [int((picture[-100:] > 120).any(axis=2).any(axis=1).sum()) for picture in (with_names, without)]
    assert rows[0] > rows[1] + 8  # one more line of text above the legend


def test_the_same_summary_is_drawn_twice() -> None:
    report = study(3)
    first, second = (draw_summary(report, panels(report, grey(500, 400))) for _ in range(2))
    assert np.array_equal(first, second)


def test_a_summary_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        draw_summary(study(1), [])
