"""Tables of two models on the same pictures."""

from __future__ import annotations

from training.evaluation.comparison import Difference, ModelComparison
from training.reporting.grid import Grid, share, with_bounds


def comparison_grids(comparison: ModelComparison) -> list[Grid]:
    """Return AUROC and average precision, finding by finding, with what the interval of the difference says."""
    left_out = "; ".join(f"{label}: {reason}" for label, reason in comparison.left_out.items())
    note = (
        f"A = {comparison.model_a}; B = {comparison.model_b}. {comparison.pictures:,} pictures of "
        f"{comparison.patients:,} patients; both models on the same resampled patients. A difference is shown where "
        "its 95 % interval leaves out 0; of 14 findings without any true difference, one does so by chance every other "
        "time, so the mean is what decides."
    )
    if left_out:
        note += f" Not compared: {left_out}."
    return [
        _grid("AUROC, B against A", comparison.auroc, comparison.mean_auroc, note),
        _grid("Average precision, B against A", comparison.average_precision, comparison.mean_average_precision, ""),
    ]


def _grid(title: str, findings: dict[str, Difference], mean: Difference | None, note: str) -> Grid:
    rows = tuple(_row(label, difference) for label, difference in findings.items())
    return Grid(title, ("finding", "A", "B", "B - A", "verdict"), rows, note, _row("mean", mean) if mean else ())


def _row(name: str, difference: Difference) -> tuple[str, ...]:
    return (
        name,
        share(difference.a.value),
        share(difference.b.value),
        with_bounds(difference.difference),
        difference.verdict,
    )
