"""Labels that radiologists agreed on: a second test set that does not share the mistakes of labels mined from reports.

Google Health's labels of ChestX-ray14 pictures (Majkowska et al., Radiology 2020; 294:421): 1,962 pictures of the
official test list (``Set Id`` test) and 2,414 of its train_val list (``val``), each judged by three radiologists for
four groups. A group's score is the largest probability of the findings in it:

=================== ==========================================================================
group               findings of ours
=================== ==========================================================================
Pneumothorax        Pneumothorax
Nodule or mass      Nodule, Mass
Airspace opacity    Atelectasis, Consolidation, Edema, Infiltration, Pneumonia
Fracture            none: ChestX-ray14 has no such finding, so no score exists
=================== ==========================================================================

The opacity group is the one whose mined labels have the positive predictive value .72 and the sensitivity .51 reported
for it. Mined and adjudicated labels agree on less than half of the pneumothoraces (238 of each, 109 in common), and
most mined ones show a chest drain: a network partly detects treated pneumothorax.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.labels import LABELS
from training.data.radiographs import LayoutError
from training.data.tables import column_places, table_rows
from training.evaluation.evaluate import Resampling
from training.evaluation.metrics import Interval, auroc, average_precision, patient_weights, with_interval
from training.evaluation.predictions import Predictions

GROUPS: dict[str, tuple[str, ...]] = {
    "Pneumothorax": ("Pneumothorax",),
    "Nodule or mass": ("Nodule", "Mass"),
    "Airspace opacity": ("Atelectasis", "Consolidation", "Edema", "Infiltration", "Pneumonia"),
    "Fracture": (),
}
"""Findings of ours by group of the file."""
_ANSWERS = {"YES": 1.0, "NO": 0.0}


@dataclass(frozen=True)
class AdjudicatedLabels:
    """What radiologists agreed on, by picture."""

    source: str
    truth: dict[str, dict[str, float]]
    """By picture name, then by group: 0 or 1."""


@dataclass(frozen=True)
class GroupFigures:
    """One group."""

    findings: tuple[str, ...]
    positives: int
    auroc: Interval
    """NaN where one class is absent or the model speaks of none of the findings."""
    average_precision: Interval
    label_sensitivity: float | None
    """Of the data set's own mined labels against the radiologists: what a model trained on them is taught."""
    label_ppv: float | None
    """The same: share of mined positives that the radiologists confirm."""
    remark: str = ""
    """Why there is no figure, or which findings the model does not speak of."""


@dataclass(frozen=True)
class AdjudicatedEvaluation:
    """A model against radiologists."""

    source: str
    pictures: int
    patients: int
    groups: dict[str, GroupFigures]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        groups = {
            name: {
                "findings": list(g.findings),
                "positives": g.positives,
                "auroc": g.auroc.rounded(),
                "average_precision": g.average_precision.rounded(),
                "mined_label_sensitivity": None if g.label_sensitivity is None else round(g.label_sensitivity, 4),
                "mined_label_ppv": None if g.label_ppv is None else round(g.label_ppv, 4),
                "remark": g.remark,
            }
            for name, g in self.groups.items()
        }
        return {"source": self.source, "pictures": self.pictures, "patients": self.patients, "groups": groups}


def read_google2019(path: Path) -> AdjudicatedLabels:
    """Read ``google2019_nih-chest-xray-labels.csv.gz``, or the same unpacked.

    Raises
    ------
    LayoutError
        It is not that file.
    """
    if not path.exists():
        raise LayoutError(f"{path}: no such file; give the labels as --labels google2019=FILE")
    rows = table_rows(path)
    _, header = next(rows, (1, []))
    name_place, *places = column_places(path, header, ("Image Index", *GROUPS))
    truth: dict[str, dict[str, float]] = {}
    for number, row in rows:
        if len(row) != len(header) or any(row[place] not in _ANSWERS for place in places):
            raise LayoutError(f"{path}, line {number}: expected {len(header)} columns with YES or NO for each group")
        truth[row[name_place]] = {group: _ANSWERS[row[place]] for group, place in zip(GROUPS, places, strict=True)}
    return AdjudicatedLabels(path.name, truth)


def evaluate_adjudicated(
    predictions: Predictions, mined: NDArray[np.floating], labels: AdjudicatedLabels, resampling: Resampling
) -> AdjudicatedEvaluation | None:
    """Score the pictures that radiologists judged; None where there are none.

    Parameters
    ----------
    mined
        [N, 14] of 0 and 1: the data set's own labels of the pictures of ``predictions``.
    """
    rows = np.array([row for row, name in enumerate(predictions.names) if name in labels.truth], dtype=np.int64)
    if not len(rows):
        return None
    chosen = predictions.only(tuple(predictions.names[row] for row in rows))
    weights = patient_weights(chosen.patients, resampling.samples, resampling.seed)
    groups = {}
    for group, findings in GROUPS.items():
        truth = np.array([labels.truth[name][group] for name in chosen.names])
        groups[group] = _group(findings, truth, chosen, mined[rows], weights)
    return AdjudicatedEvaluation(labels.source, len(rows), len(np.unique(chosen.patients)), groups)


def _group(
    findings: tuple[str, ...],
    truth: NDArray[np.float64],
    predictions: Predictions,
    mined: NDArray[np.floating],
    weights: NDArray[np.float32],
) -> GroupFigures:
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    if not findings:
        return GroupFigures(findings, int(truth.sum()), nothing, nothing, None, None, "no finding of ours is in it")
    columns = [LABELS.index(label) for label in findings]
    said = mined[:, columns].max(1) == 1
    confirmed = int((said & (truth == 1)).sum())
    sensitivity = confirmed / truth.sum() if truth.any() else None
    ppv = confirmed / said.sum() if said.any() else None
    spoken = [column for column in columns if predictions.trained[column]]
    missing = [LABELS[column] for column in columns if column not in spoken]
    remark = f"the model does not speak of {', '.join(missing)}" if missing else ""
    if not spoken or not 0 < truth.sum() < len(truth):
        why = remark if not spoken else "one class only"
        return GroupFigures(findings, int(truth.sum()), nothing, nothing, sensitivity, ppv, why)
    score = predictions.probabilities[:, spoken].max(1)
    figures = [with_interval(metric, truth, score, weights) for metric in (auroc, average_precision)]
    return GroupFigures(findings, int(truth.sum()), figures[0], figures[1], sensitivity, ppv, remark)
