"""The model card: what the network is for, what it was made from, and what it is worth, in Markdown."""

from __future__ import annotations

import math

from model.bundle import BundleFacts
from training.evaluation.evaluate import Evaluation
from training.evaluation.metrics import Interval
from training.fitting.initial import Origin
from training.recipe import Recipe

_DEMONSTRATION = """\
**This is a demonstration model. It was trained on drawings of chests ("phantoms"), never on a radiograph of a person.**
It shows that the whole chain works, from picture to structured report. What it says of a real radiograph means nothing.
"""
_REAL_DEMONSTRATION = """\
**This is a demonstration model. It was trained on too few radiographs to be relied on for anything.** It shows that the
whole chain works on real films, from picture to structured report.
"""
_REAL = """\
Trained on ChestX-ray14 (NIH Clinical Center; Wang et al., CVPR 2017). Its labels were mined from reports by a program:
against radiologists, about half of the positive pneumothorax labels are right, and most of those show a chest drain
already, so the network partly detects treated pneumothorax. The official test part is another population than the
training part (more AP films, more findings).
"""


def model_card(
    facts: BundleFacts, evaluation: Evaluation, recipe: Recipe, pictures_seen: int, *, origin: Origin, drawn: bool
) -> str:
    """Return the text of ``MODEL_CARD.md``.

    Parameters
    ----------
    pictures_seen
        Pictures of training and validation together.
    origin
        Where the first weights came from.
    drawn
        The pictures are phantoms.
    """
    title = f"# {facts.name} {facts.version}{' - demonstration model' if facts.demonstration else ''}"
    untrained = [label for label, is_trained in zip(facts.labels, facts.trained, strict=True) if not is_trained]
    parts = [
        title,
        "**NOT FOR DIAGNOSTIC USE. Not a medical device.**",
        *_warnings(facts, drawn=drawn),
        "## Intended use\n\nOrdering a worklist in demonstrations, tests and research. A picture that is not flagged "
        "is not a normal picture.",
        _training(facts, recipe, pictures_seen, origin),
        _figures(evaluation),
        _operating_points(facts),
        _localisation(evaluation),
    ]
    if untrained:
        parts.append(
            "## Findings it was never taught\n\n"
            + ", ".join(untrained)
            + ". They have no probability (null) and never flag."
        )
    parts.append(
        "## Limits\n\nClass activation maps show where the evidence for a finding lies at a resolution of "
        "7 x 7 cells; they are not outlines. Calibration and thresholds hold for the population they were "
        "chosen on."
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _warnings(facts: BundleFacts, *, drawn: bool) -> list[str]:
    if drawn:
        return [_DEMONSTRATION.rstrip()]
    return [_REAL_DEMONSTRATION.rstrip(), _REAL.rstrip()] if facts.demonstration else [_REAL.rstrip()]


def _training(facts: BundleFacts, recipe: Recipe, pictures_seen: int, origin: Origin) -> str:
    stages = "; ".join(f"{s.epochs} epochs at {s.size_px} px, batch {s.batch_size}" for s in recipe.stages)
    boxes = f", boxes of findings with weight {recipe.box_weight}" if recipe.box_weight else ""
    return (
        f"## How it was made\n\n{facts.architecture}, from {origin}, seed {recipe.seed}; {stages}{boxes}. "
        f"{facts.trained_on.description} ({pictures_seen} in all, {recipe.validation_share:.0%} of the patients kept "
        f"for validation; list sha256 `{facts.trained_on.list_sha256}`). Selection, calibration (Platt) and thresholds "
        f"used validation only, never the test list. {recipe.remark}\n\n"
        + ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    )


def _figures(evaluation: Evaluation) -> str:
    lines = [
        f"## Test part\n\n{evaluation.pictures} pictures of {evaluation.patients} patients; 95 % intervals from "
        "resampled patients.\n",
        "| finding | positives | AUROC | average precision | ECE before -> after calibration |",
        "|---|---|---|---|---|",
    ]
    for label, f in evaluation.findings.items():
        lines.append(
            f"| {label} | {f.positives} | {_text(f.auroc)} | {_text(f.average_precision)} | "
            f"{f.ece_before:.3f} -> {f.ece_after:.3f} |"
        )
    lines.append(f"| **mean** | | **{_text(evaluation.mean_auroc)}** | {_text(evaluation.mean_average_precision)} | |")
    return "\n".join(lines)


def _operating_points(facts: BundleFacts) -> str:
    lines = [
        "## Operating points\n",
        "| finding | threshold | chosen by | validation sens / spec | test sens / spec |",
        "|---|---|---|---|---|",
    ]
    for label, point in facts.operating_points.items():
        test = facts.metrics["findings"][label]
        lines.append(
            f"| {label} | {point.threshold:.4f} | {point.chosen_by} | {_rate(point.sensitivity)} / "
            f"{_rate(point.specificity)} | {_rate(test['sensitivity'])} / {_rate(test['specificity'])} |"
        )
    return "\n".join(lines)


def _localisation(evaluation: Evaluation) -> str:
    rows = [(label, f.pointing) for label, f in evaluation.findings.items() if f.pointing]
    if not rows:
        return ""
    lines = [
        "## Where the maps point\n\nPointing game: the centre of the strongest of the 7 x 7 cells lies in a box of the "
        "finding. The ceiling is what a perfect pick among the cell centres reaches.\n",
        "| finding | cases | hit rate | ceiling | share of ceiling | random point | picture centre |",
        "|---|---|---|---|---|---|---|",
    ]
    for label, s in rows:
        lines.append(
            f"| {label} | {s.cases} | {s.hits / s.cases:.3f} | {s.ceiling_hits / s.cases:.3f} | "
            f"{_rate(s.of_ceiling)} | {s.random_rate:.3f} | {s.centre_hits / s.cases:.3f} |"
        )
    lines.append(f"\nAll cases together reach {_rate(evaluation.pointing_of_ceiling)} of the ceiling.")
    return "\n".join(lines)


def _text(interval: Interval) -> str:
    if math.isnan(interval.value):
        return "undefined (one class only)"
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _rate(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"
