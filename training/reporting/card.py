"""The model card: what the network is for, what it was made from, and what it is worth, in Markdown."""

from __future__ import annotations

from model.bundle import BundleFacts
from training.data.chestxray14 import CHESTXRAY14, PHANTOMS
from training.evaluation.assessment import Assessment
from training.evaluation.operating_points import FEWEST_POSITIVES
from training.fitting.initial import Origin
from training.recipe import Recipe
from training.recipe_tables import Stage
from training.reporting.audit_grids import group_grid
from training.reporting.figure_grids import (
    adjudicated_grid,
    calibration_grid,
    evaluation_grid,
    operating_grid,
    published_grids,
)
from training.reporting.map_grids import box_grids, pointing_grid
from training.reporting.suitability_section import suitability_section

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
_USE = """\
## Intended use

Ordering a worklist in demonstrations, tests and research. A picture that is not flagged is not a normal picture."""
_LIMITS = """\
## Limits

Class activation maps show where the evidence for a finding lies at the resolution of a few cells; they are not
outlines, and the evidence may be a drain, a marker or the edge of the film. AP films are of sicker patients than PA
films, and a network uses that: within one view it ranks worse than over both. Calibration and thresholds hold for the
population they were chosen on."""
MAKING = "## How it was made"
_NEVER = "## Findings it was never taught"


def model_card(facts: BundleFacts, assessment: Assessment, making: str) -> str:
    """Return the text of ``MODEL_CARD.md``.

    Parameters
    ----------
    making
        How the weights came about, in Markdown without a heading (``making_of``, ``making_in``).
    """
    title = f"# {facts.name} {facts.version}{' - demonstration model' if facts.demonstration else ''}"
    parts = [
        title,
        "**NOT FOR DIAGNOSTIC USE. Not a medical device.**",
        *_warnings(facts),
        _USE,
        f"{MAKING}\n\n{making}",
        *_figures(facts, assessment),
        _untaught(facts),
        suitability_section(facts.suitability),
        _LIMITS,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def making_of(facts: BundleFacts, recipe: Recipe, pictures_seen: int, origin: Origin) -> str:
    """Return how a recipe made the weights.

    Parameters
    ----------
    pictures_seen
        Pictures of training and validation together.
    origin
        Where the first weights came from.
    """
    stages = "; ".join(f"{_epochs(stage)} at {stage.size_px} px, batch {stage.batch_size}" for stage in recipe.stages)
    patience = recipe.early_stopping_patience
    early = f" (it may have ended after {patience} epochs without a better score)" if patience else ""
    by_patient = f", {recipe.validation_share:.0%} of the patients kept for validation"
    share = by_patient if recipe.data.split == "official" else ""
    boxes = f", boxes of findings with weight {recipe.box_weight}" if recipe.box_weight else ""
    text = (
        f"{facts.architecture}, from {origin}, seed {recipe.seed}; {stages}{early}{boxes}. "
        f"{facts.trained_on.description} ({pictures_seen} in all{share}; "
        f"list sha256 `{facts.trained_on.list_sha256}`). Selection, calibration ({facts.calibration.kind}) and "
        f"thresholds used validation only, never the test list. {recipe.remark}"
    )
    return f"{text.rstrip()}\n\n{_software(facts)}"


def _epochs(stage: Stage) -> str:
    epochs = f"{stage.epochs} epoch{'s' if stage.epochs > 1 else ''}"
    return f"{epochs} of at most {stage.steps_per_epoch} steps" if stage.steps_per_epoch else epochs


def making_in(card: str, facts: BundleFacts) -> str:
    """Return how the weights came about as an earlier card says it, or what the bundle itself knows."""
    _, found, rest = card.partition(f"{MAKING}\n")
    text = rest.partition("\n## ")[0].strip() if found else ""
    return text or f"{facts.trained_on.description}\n\n{_software(facts)}"


def _software(facts: BundleFacts) -> str:
    return ", ".join(f"{name} {version}" for name, version in facts.versions.items())


def _warnings(facts: BundleFacts) -> list[str]:
    if PHANTOMS in facts.trained_on.description:
        return [_DEMONSTRATION.rstrip()]
    warnings = [_REAL_DEMONSTRATION.rstrip()] if facts.demonstration else []
    if CHESTXRAY14 in facts.trained_on.description or facts.imported is not None:
        warnings.append(_REAL.rstrip())
    return warnings


def _figures(facts: BundleFacts, assessment: Assessment) -> list[str]:
    evaluation, leak = assessment.evaluation, assessment.judged.leak
    beside = published_grids(evaluation, assessment.beside)
    grids = [evaluation_grid(evaluation), calibration_grid(evaluation), operating_grid(evaluation, assessment.points)]
    guard = "" if leak is None else f"**{leak.sentence}** " if leak.marked else f"{leak.sentence} "
    parts = [f"## What it is worth\n\n{guard}{evaluation.summary}", *(grid.markdown() for grid in grids)]
    if facts.reported_only:
        parts.append(
            f"Reported, but never flagged, for lack of {FEWEST_POSITIVES} positives in training and validation "
            f"together: {', '.join(facts.reported_only)}."
        )
    parts += [grid.markdown() for grid in beside] or [f"Published figures: {assessment.beside.reason}."]
    if assessment.adjudicated is not None:
        parts.append(adjudicated_grid(assessment.adjudicated).markdown())
    pointing = pointing_grid(evaluation.pointing)
    maps = [*([pointing] if pointing else []), *box_grids(assessment.boxes)]
    return [*parts, *(grid.markdown() for grid in (*maps, group_grid(assessment.audit)))]


def _untaught(facts: BundleFacts) -> str:
    untaught = [label for label, is_trained in zip(facts.labels, facts.trained, strict=True) if not is_trained]
    if not untaught:
        return ""
    return f"{_NEVER}\n\n{', '.join(untaught)}. They have no probability (null) and never flag."
