"""What a model card says of the arithmetic its network may be served in."""

from __future__ import annotations

from model.precision import (
    FEWEST_PICTURES,
    MOST_AUROC_DIFFERENCE,
    MOST_CROSSINGS,
    MOST_DIFFERENCE,
    PrecisionTrial,
)
from training.reporting.card_section import with_section
from training.reporting.grid import Grid

HEADING = "## Arithmetic"


def with_precision(card: str, trial: PrecisionTrial) -> str:
    """Return a card with this section in the place of its earlier one, or before its limits, or at its end."""
    return with_section(card, HEADING, precision_section(trial))


def precision_section(trial: PrecisionTrial) -> str:
    """Return the section, Markdown with its heading."""
    served = "It was not passed, so this bundle is served in float32 only." if trial.obstacle else "It was passed."
    text = (
        f'Served in float32. In bfloat16 (`precision = "bf16"`) only after a trial. {served} Tried on {trial.part}, '
        f"on {trial.processor}."
    )
    return "\n\n".join([HEADING, text, trial_grid(trial).markdown(level=3)])


def trial_grid(trial: PrecisionTrial) -> Grid:
    """Return the table of the trial: what was found, and what would still pass."""
    rows = (
        ("pictures", f"{trial.pictures:,}", f"at least {FEWEST_PICTURES}"),
        ("largest change of a probability", f"{trial.largest_difference:.5f}", f"{MOST_DIFFERENCE}"),
        ("largest change of an AUROC", f"{trial.largest_auroc_difference:.5f}", f"{MOST_AUROC_DIFFERENCE}"),
        (
            "decisions that come out otherwise",
            f"{trial.crossings:,} of {trial.decisions:,}",
            f"{MOST_CROSSINGS:.1%}",
        ),
    )
    return Grid("Trial of bfloat16 beside float32", ("what", "found", "passes up to"), rows, "")
