"""The audit: does the model serve every group alike? AUROC, AP, misses and calibration by sex, age and view.

Seyyed-Kalantari et al. (Nature Medicine 2021; 27:2176) found that chest radiograph classifiers pass over the ill of
some groups more often than of others. Their measure is here as ``underdiagnosis_rate``: the false positive rate of "no
finding", that is the share of pictures with a finding on which nothing is flagged. It is the figure that matters for
triage: such a study waits.

Findings with few positives in a group are suppressed: their figures would be chance, and could point at persons.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from model.bundle import OperatingPoint
from model.labels import LABELS
from training.data.radiographs import Entry
from training.evaluation.audit_figures import FEWEST_POSITIVES, Audit, CellFigures, GroupAudit
from training.evaluation.evaluate import Resampling
from training.evaluation.groups import Group, groups_of
from training.evaluation.metrics import (
    UNDEFINED,
    Interval,
    auroc,
    average_precision,
    expected_calibration_error,
    mean_interval,
    patient_weights,
    percentile_interval,
    resampled,
)
from training.evaluation.predictions import Predictions

_EXACT_TAIL = 0.025
Drawn = dict[str, NDArray[np.float64]]
"""AUROCs of the resamples by finding."""


def run_audit(
    predictions: Predictions,
    targets: NDArray[np.floating],
    entries: list[Entry],
    points: Mapping[str, OperatingPoint],
    resampling: Resampling,
    *,
    part: str,
) -> Audit:
    """Compute every group's figures.

    Parameters
    ----------
    targets
        [N, 14] of 0 and 1.
    entries
        Who is on each of the N pictures.
    points
        Operating points by finding; findings without one never flag.
    part
        Which pictures these are, in words.
    """
    weights = patient_weights(predictions.patients, resampling.samples, resampling.seed)
    ill, flagged = _ill_and_flagged(predictions, targets, points)
    everyone = Group("everyone", "everyone", np.arange(len(predictions.names)))
    groups = [everyone, *groups_of(entries)]
    cells = [_cells(group, predictions, targets, points, weights) for group in groups]
    compared = _compared(groups, [figures for figures, _ in cells])
    audits = []
    for group, (figures, drawn) in zip(groups, cells, strict=True):
        labels = [label for label in compared[group.attribute] if figures[label] is not None]
        complete = bool(labels) and len(labels) == len(compared[group.attribute])
        audits.append(
            GroupAudit(
                group,
                len(group.rows),
                len(np.unique(predictions.patients[group.rows])),
                figures,
                _mean(figures, drawn, labels) if complete else UNDEFINED,
                int(ill[group.rows].sum()),
                _rate(~flagged, ill, group.rows, weights, predictions.patients) if points else UNDEFINED,
                _rate(flagged, ~ill, group.rows, weights, predictions.patients).value if points else float("nan"),
            )
        )
    left_out = {
        attribute: len(entries) - sum(len(g.rows) for g in groups if g.attribute == attribute)
        for attribute in compared
        if attribute != "everyone"
    }
    return Audit(part, audits[0], tuple(audits[1:]), compared, left_out, bool(points))


def _cells(
    group: Group,
    predictions: Predictions,
    targets: NDArray[np.floating],
    points: Mapping[str, OperatingPoint],
    weights: NDArray[np.float32],
) -> tuple[dict[str, CellFigures | None], Drawn]:
    """Return the figures of every finding in a group, and the resampled AUROCs."""
    cells: dict[str, CellFigures | None] = {}
    drawn: Drawn = {}
    rows = group.rows
    group_weights = weights.T[rows].T
    for column, label in enumerate(LABELS):
        if not predictions.trained[column]:
            continue
        truth = targets[rows, column]
        positives = int(truth.sum())
        if min(positives, len(truth) - positives) < FEWEST_POSITIVES:
            cells[label] = None
            continue
        score, probability = predictions.scores[rows, column], predictions.probabilities[rows, column]
        once, point = np.ones(len(rows)), points.get(label)
        drawn[label] = resampled(auroc, truth, score, group_weights)
        cells[label] = CellFigures(
            positives,
            positives / len(truth),
            percentile_interval(float(auroc(truth, score, once)), drawn[label]),
            float(average_precision(truth, score, once)),
            expected_calibration_error(truth, probability),
            None if point is None else float((probability[truth == 1] < point.threshold).mean()),
        )
    return cells, drawn


def _compared(groups: list[Group], cells: list[dict[str, CellFigures | None]]) -> dict[str, tuple[str, ...]]:
    """Return by attribute the findings that each of its groups has figures of; groups without any are passed over."""
    compared: dict[str, tuple[str, ...]] = {}
    for attribute in dict.fromkeys(group.attribute for group in groups):
        of_it = [figures for group, figures in zip(groups, cells, strict=True) if group.attribute == attribute]
        known = [{label for label, figures in cell.items() if figures} for cell in of_it]
        large = [labels for labels in known if labels]
        common = set.intersection(*large) if large else set()
        compared[attribute] = tuple(label for label in LABELS if label in common)
    return compared


def _mean(figures: dict[str, CellFigures | None], drawn: Drawn, labels: list[str]) -> Interval:
    values = [cell.auroc.value for label in labels if (cell := figures[label])]
    return mean_interval(values, [drawn[label] for label in labels])


def _ill_and_flagged(
    predictions: Predictions, targets: NDArray[np.floating], points: Mapping[str, OperatingPoint]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return for each picture whether it has a finding that can flag, and whether anything is flagged."""
    columns = [LABELS.index(label) for label in points]
    thresholds = np.array([point.threshold for point in points.values()])
    ill = np.asarray(targets[:, columns].any(1), bool)
    return ill, np.asarray((predictions.probabilities[:, columns] >= thresholds).any(1), bool)


def _rate(
    happened: NDArray[np.bool_],
    among: NDArray[np.bool_],
    rows: NDArray[np.int64],
    weights: NDArray[np.float32],
    patients: NDArray[np.str_],
) -> Interval:
    """Return how often something happens among some pictures of a group; undefined among fewer than 20.

    Where it never or always happens, resampling knows no other outcome; the exact binomial bound over patients stands
    in (Clopper & Pearson 1934).
    """
    chosen = rows[among[rows]]
    if len(chosen) < FEWEST_POSITIVES:
        return UNDEFINED
    value = float(happened[chosen].mean())
    if value in (0.0, 1.0):
        bound = _EXACT_TAIL ** (1 / len(np.unique(patients[chosen])))
        return Interval(value, 0.0, 1 - bound) if value == 0.0 else Interval(value, bound, 1.0)
    drawn = weights.T[chosen].astype(np.float64)
    total, part = drawn.sum(0), drawn[happened[chosen]].sum(0)
    shares = np.divide(part, total, out=np.full(len(total), np.nan), where=total > 0)
    return percentile_interval(value, shares)
