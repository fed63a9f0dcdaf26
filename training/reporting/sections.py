"""The sections of a report: headings, sentences, tables and pictures, in the order they are read."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from model.calibration import Calibration
from model.labels import LABELS
from training.data.cache import PictureCache
from training.evaluation.assessment import Assessment, Judged
from training.evaluation.audit_figures import Audit
from training.evaluation.box_protocol import BoxFigures
from training.evaluation.localise import PointingScore
from training.reporting.audit_grids import finding_grids, group_grid, intersection_grid
from training.reporting.audit_plots import finding_plot, group_plot
from training.reporting.case_plots import Case, case_plot
from training.reporting.figure_grids import (
    adjudicated_grid,
    calibration_grid,
    evaluation_grid,
    operating_grid,
    published_grids,
)
from training.reporting.grid import Grid
from training.reporting.map_grids import box_grids, pointing_grid
from training.reporting.plots import curve_plots, history_plot, reliability_plot

CASES_PER_FINDING = 4
_LIMITS = (
    "Labels of ChestX-ray14 were mined from reports by a program; many are wrong, and the same mistakes are in "
    "training and test. Class activation maps show where the evidence for a finding lies at the resolution of a few "
    "cells; they are not outlines, and evidence may be a drain, a marker or the edge of the film. Calibration and "
    "thresholds hold for the population they were chosen on. A picture that is not flagged is not a normal picture.",
    "ChestX-ray14 was provided by the NIH Clinical Center (Wang et al., ChestX-ray8, CVPR 2017).",
)


@dataclass(frozen=True)
class Picture:
    """A PNG and what it shows."""

    alt: str
    png: bytes

    @property
    def base64(self) -> str:
        """Return the bytes as they stand in a page."""
        return base64.b64encode(self.png).decode()


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    heading: str
    texts: Sequence[str] = ()
    grids: Sequence[Grid] = ()
    pictures: Sequence[Picture] = ()
    folded: Sequence[Grid] = ()
    """Tables that open on a click."""
    folded_summary: str = "More"
    anchor: str = field(init=False)

    def __post_init__(self) -> None:
        """Make the anchor from the heading."""
        object.__setattr__(self, "anchor", "".join(c if c.isalnum() else "-" for c in self.heading.lower()))


def evaluation_sections(assessment: Assessment) -> list[Section]:
    """Return figures, calibration, thresholds, published figures and radiologists' labels."""
    evaluation, judged = assessment.evaluation, assessment.judged
    predictions, targets = judged.predictions, judged.examples.targets
    raw = Calibration.identity().probabilities(predictions.logits)
    curves = curve_plots(predictions.scores, targets, evaluation)
    reliability = reliability_plot(raw, predictions.probabilities, targets, evaluation)
    beside = published_grids(evaluation, assessment.beside)
    sections = [
        Section("Findings", (), [evaluation_grid(evaluation)], [Picture("ROC and precision-recall curves", curves)]),
        Section("Calibration", (), [calibration_grid(evaluation)], [Picture("reliability diagrams", reliability)]),
        Section("Operating points", (), [operating_grid(evaluation, assessment.points)]),
        Section("Beside others", () if beside else [f"{_capital(assessment.beside.reason)}."], beside),
    ]
    if assessment.adjudicated is not None:
        sections.append(Section("Against radiologists", (), [adjudicated_grid(assessment.adjudicated)]))
    return sections


def localisation_section(
    judged: Judged,
    pointing: Mapping[str, PointingScore],
    boxes: Mapping[str, BoxFigures],
    cache: PictureCache | None,
) -> Section:
    """Return where the maps point, with pictures where the films are at hand."""
    heading, table = "Where the maps point", pointing_grid(pointing)
    if table is None:
        return Section(heading, ["None of these pictures has boxes, or the model has no maps."])
    cases = boxed_cases(judged, list(pointing), cache)
    pictures = [Picture("cases", case_plot(cases))] if cases else []
    text = (
        f"The first {CASES_PER_FINDING} boxed pictures of each finding, not the best ones. Cyan: the radiologist's "
        "box; green, dashed: the box around the map's peak (above 180, the map's own range being 0 to 255); p: "
        "calibrated probability. Colours show evidence for the finding; a map without any has a box all the same."
    )
    return Section(heading, [text] if cases else [], [table], pictures, box_grids(boxes), "Boxes from the maps")


def audit_section(audit: Audit) -> Section:
    """Return the audit."""
    single = [attribute for attribute in audit.attributes if " x " not in attribute]
    pictures = [Picture("groups", group_plot(audit))]
    pictures += [Picture(f"findings by {attribute}", finding_plot(audit, attribute)) for attribute in single]
    folded = [intersection_grid(audit), *finding_grids(audit)]
    heading = "Audit by sex, age and view"
    return Section(heading, (), [group_grid(audit)], pictures, folded, "Two attributes; every finding")


def history_section(history: list[dict[str, Any]]) -> Section:
    """Return validation by epoch."""
    return Section("Training", (), (), [Picture("validation by epoch", history_plot(history))])


def limits_section() -> Section:
    """Return what a reader must not conclude."""
    return Section("Limits", _LIMITS)


def boxed_cases(judged: Judged, labels: Sequence[str], cache: PictureCache | None) -> list[Case]:
    """Return the first boxed pictures of every finding; none without films or maps."""
    if cache is None or not judged.maps.shape[-1]:
        return []
    cases = []
    for label in labels:
        column = LABELS.index(label)
        rows = [row for row, found in enumerate(judged.examples.boxes) if any(b.label == label for b in found)]
        for row in rows[:CASES_PER_FINDING]:
            boxes = tuple(box for box in judged.examples.boxes[row] if box.label == label)
            pixels = cache.gather((judged.examples.names[row],))[0]
            probability = float(judged.predictions.probabilities[row, column])
            cases.append(Case(label, pixels, judged.maps[row, column], boxes, probability))
    return cases


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
