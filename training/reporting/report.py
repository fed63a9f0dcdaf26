"""The run's report: one HTML file without references to anything outside it."""

from __future__ import annotations

import base64
import html
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.calibration import Calibration
from training.data.batches import Examples
from training.data.cache import PictureCache
from training.evaluation.evaluate import Evaluation, FindingFigures
from training.evaluation.inference import Outputs
from training.evaluation.metrics import Interval
from training.reporting.plots import curve_plots, history_plot, map_plots, reliability_plot

_MAPS_PER_FINDING = 4

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1d2329; }
table { border-collapse: collapse; }
td, th { padding: .25rem .7rem; border-bottom: 1px solid #d5dae0; text-align: right; }
td:first-child, th:first-child { text-align: left; } img { max-width: 100%; } .warning { background: #fff3cd;
padding: .6rem 1rem; border-left: 4px solid #b8860b; }
"""


@dataclass(frozen=True)
class ReportMaterial:
    """All that a report shows."""

    title: str
    demonstration: bool
    calibration: Calibration
    notes: tuple[str, ...]
    """Sentences that a reader must see first: where the parts come from, why there is no bundle."""
    evaluation: Evaluation
    history: list[dict[str, Any]]
    examples: Examples
    """The test part."""
    outputs: Outputs
    """Of the test part."""
    cache: PictureCache
    more: tuple[tuple[str, bytes], ...] = ()
    """Further pictures: heading and PNG."""


def write_report(material: ReportMaterial, path: Path) -> None:
    """Write the HTML file."""
    evaluation = material.evaluation
    labels = list(evaluation.findings)
    targets, logits = material.examples.targets, material.outputs.logits
    before = Calibration.identity().probabilities(logits)
    after = material.calibration.probabilities(logits)
    warning = ("Demonstration model. " if material.demonstration else "") + "NOT FOR DIAGNOSTIC USE."
    sections = [
        f"<h1>{html.escape(material.title)}</h1>",
        f'<p class="warning">{warning}</p>',
        *(f"<p>{html.escape(note)}</p>" for note in material.notes),
        f"<p>{evaluation.pictures} test pictures of {evaluation.patients} patients. Mean AUROC "
        f"{_text(evaluation.mean_auroc)}; intervals are 95 %, patients resampled.</p>",
        _table(evaluation),
        "<h2>Training</h2>",
        _image(history_plot(material.history), "validation by epoch"),
        "<h2>ROC and precision-recall, test part</h2>",
        _image(curve_plots(after, targets, labels), "curves"),
        "<h2>Calibration, test part</h2>",
        _image(reliability_plot(before, after, targets, labels), "reliability"),
        *_maps(material),
        *(f"<h2>{html.escape(heading)}</h2>{_image(png, heading)}" for heading, png in material.more),
    ]
    text = f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(material.title)}</title>"
    path.write_text(f"{text}<style>{_STYLE}</style>{''.join(sections)}</html>", encoding="utf-8")


def _table(evaluation: Evaluation) -> str:
    head = (
        "finding",
        "positives",
        "AUROC",
        "average precision",
        "ECE",
        "sensitivity",
        "specificity",
        "pointing hit rate",
        "ceiling",
        "random point",
        "centre",
    )
    rows = ["<tr>" + "".join(f"<th>{name}</th>" for name in head) + "</tr>"]
    for label, figures in evaluation.findings.items():
        cells = (
            label,
            str(figures.positives),
            _text(figures.auroc),
            _text(figures.average_precision),
            f"{figures.ece_after:.3f}",
            _rate(figures.sensitivity),
            _rate(figures.specificity),
            *_pointing(figures),
        )
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    return f"<table>{''.join(rows)}</table>"


def _pointing(figures: FindingFigures) -> tuple[str, str, str, str]:
    score = figures.pointing
    if score is None:
        return ("-", "-", "-", "-")
    return (
        _rate(score.hits / score.cases),
        _rate(score.ceiling_hits / score.cases),
        _rate(score.random_rate),
        _rate(score.centre_hits / score.cases),
    )


def _maps(material: ReportMaterial) -> list[str]:
    rows: list[tuple[int, str]] = []
    for label in material.evaluation.findings:
        boxed = [row for row, boxes in enumerate(material.examples.boxes) if any(b.label == label for b in boxes)]
        rows += [(row, label) for row in boxed[:_MAPS_PER_FINDING]]
    if not rows or not material.outputs.maps.shape[-1]:
        return []
    pictures: NDArray[np.uint8] = material.cache.gather(tuple(material.examples.names[row] for row, _ in rows))
    image = map_plots(pictures, material.outputs.maps, material.examples, rows)
    caption = "<p>The first boxed test pictures of each finding, not the best ones. Cyan: the box.</p>"
    return ["<h2>Where the maps point</h2>", caption, _image(image, "class maps")]


def _image(png: bytes, alt: str) -> str:
    return f'<img alt="{alt}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _text(interval: Interval) -> str:
    if math.isnan(interval.value):
        return "undefined"
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _rate(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"
