"""Tables of a model's figures: each finding, the thresholds, what others published, what radiologists say."""

from __future__ import annotations

from collections.abc import Mapping

from model.bundle import OperatingPoint
from training.evaluation.adjudicated import AdjudicatedEvaluation
from training.evaluation.evaluate import Evaluation
from training.evaluation.operating_points import FEWEST_POSITIVES
from training.evaluation.published import SideBySide
from training.reporting.grid import NOTHING, Grid, percent, share, with_bounds

_SHAKY = " *"
_WHERE = " on the validation part"
_SEEN = {"source": "in the source", "quoted": "in another paper"}


def evaluation_grid(evaluation: Evaluation) -> Grid:
    """Return every finding's figures and their means."""
    rows = []
    for label, f in evaluation.findings.items():
        mark = _SHAKY if f.shaky else ""
        rows.append(
            (
                label,
                f"{f.positives:,} ({f.positive_patients:,})",
                with_bounds(f.auroc, mark=mark),
                with_bounds(f.average_precision, mark=mark),
                percent(f.prevalence),
            )
        )
    means = ("mean", "", with_bounds(evaluation.mean_auroc), with_bounds(evaluation.mean_average_precision), "")
    return Grid(
        "Findings",
        ("finding", "positives (patients)", "AUROC", "average precision", "prevalence"),
        tuple(rows),
        _evaluation_note(evaluation),
        means,
    )


def _evaluation_note(evaluation: Evaluation) -> str:
    note = (
        f"{evaluation.pictures:,} pictures of {evaluation.patients:,} patients; {evaluation.part}. 95 % intervals, "
        "patients resampled. Guessing gives an AUROC of 0.5 and an average precision of the prevalence."
    )
    if evaluation.undefined:
        note += f" Undefined, one class being absent, and in no mean: {', '.join(evaluation.undefined)}."
    if any(f.shaky and f.auroc.defined for f in evaluation.findings.values()):
        note += " * Fewer than 10 positive patients: the interval cannot be relied on."
    return note


def calibration_grid(evaluation: Evaluation) -> Grid:
    """Return the calibration errors."""
    rows = tuple(
        (label, share(f.ece_before), share(f.ece_after), share(f.ece_at_prevalence), percent(f.prevalence))
        for label, f in evaluation.findings.items()
    )
    return Grid(
        "Calibration",
        ("finding", "ECE before", "ECE after", "ECE at this prevalence", "prevalence"),
        rows,
        "Expected calibration error in 15 bins: of the network's own sigmoid, of the calibrated probability, and of "
        "the latter moved to the prevalence of this part, which a site would have to know. What is left there is not "
        "due to prevalence.",
    )


def operating_grid(evaluation: Evaluation, points: Mapping[str, OperatingPoint]) -> Grid:
    """Return the thresholds, where they were chosen and what they give here."""
    rows: list[tuple[str, ...]] = []
    for label, f in evaluation.findings.items():
        point, rates = points.get(label), f.flagging
        if point is None or rates is None:
            rows.append((label, "never flags", *[NOTHING] * 9))
            continue
        chosen = f"{share(point.sensitivity)} / {share(point.specificity)}"
        values = (rates.sensitivity, rates.specificity, rates.ppv, rates.npv, rates.f1)
        accuracies = (percent(rates.accuracy), percent(rates.all_negative_accuracy))
        rows.append(
            (
                label,
                f"{point.threshold:.4f}",
                point.chosen_by.replace(_WHERE, ""),
                chosen,
                *map(share, values),
                *accuracies,
            )
        )
    accuracy = evaluation.accuracy
    last: tuple[str, ...] = ()
    if accuracy is not None:
        last = ("all labels", *("",) * 8, percent(accuracy[0]), percent(accuracy[1]))
    return Grid(
        "Operating points",
        (
            "finding",
            "threshold",
            "chosen by",
            "there: sens. / spec.",
            "sensitivity",
            "specificity",
            "PPV",
            "NPV",
            "F1",
            "accuracy",
            "accuracy of never flagging",
        ),
        tuple(rows),
        "Chosen on validation and frozen; what stands right of that is measured here. A sensitivity there that rests "
        "on few positives says little. Predictive values depend on the prevalence. Accuracy means nothing without the "
        f"last column beside it. A finding that was taught but has fewer than {FEWEST_POSITIVES} positives in training "
        "and validation together is reported and never flags.",
        last,
    )


def published_grids(evaluation: Evaluation, beside: SideBySide) -> list[Grid]:
    """Return this model's mean, and its findings, beside those published on the same pictures; none without such."""
    if beside.split is None:
        return []
    means = [(table.name, share(table.mean_auroc), _SEEN[table.seen], table.source) for table in beside.tables]
    telling = [table for table in beside.tables if table.aurocs]
    findings = tuple(
        (label, share(f.auroc.value), *(share(table.auroc(label)) for table in telling))
        for label, f in evaluation.findings.items()
    )
    grids = [
        Grid(
            "Published mean AUROCs on the same pictures",
            ("model", "mean AUROC", "read", "source"),
            tuple(means),
            f"Split: {beside.split}, {beside.reason}. Figures of other splits are of other patients and are not shown.",
            ("this model", with_bounds(evaluation.mean_auroc), "", ""),
        )
    ]
    if telling:
        grids.append(
            Grid(
                "Published AUROCs of the findings, same pictures",
                ("finding", "this model", *(table.name for table in telling)),
                findings,
                "",
                ("mean", share(evaluation.mean_auroc.value), *(share(table.mean_auroc) for table in telling)),
            )
        )
    return grids


def adjudicated_grid(figures: AdjudicatedEvaluation) -> Grid:
    """Return the figures against radiologists' labels."""
    rows = [
        (
            group,
            ", ".join(g.findings) or NOTHING,
            f"{g.positives:,}",
            with_bounds(g.auroc),
            with_bounds(g.average_precision),
            f"{share(g.label_ppv)} / {share(g.label_sensitivity)}",
            g.remark or NOTHING,
        )
        for group, g in figures.groups.items()
    ]
    return Grid(
        "Against radiologists",
        ("group", "findings", "positives", "AUROC", "average precision", "mined labels: PPV / sens.", "remark"),
        tuple(rows),
        f"{figures.pictures:,} pictures of {figures.patients:,} patients that several radiologists judged "
        f"({figures.source}). A group's score is the largest probability of its findings. The mined labels are those "
        "the network learnt from; against radiologists many are wrong, and most mined pneumothoraces show a chest "
        "drain: the network partly detects treated pneumothorax.",
    )
