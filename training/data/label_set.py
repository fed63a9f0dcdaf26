"""What the outputs of a run mean: some or all of the fourteen findings, "No Finding", and the facts beside a picture.

Notation: N pictures, K outputs, M facts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.labels import LABELS
from training.data.batches import Examples
from training.data.radiographs import NO_FINDING, LabelledRadiographs, LayoutError
from training.data.split import finding_weights
from training.recipe import Data

_MIDDLE = 0.5  # of an unknown fact


def choose_labels(layout: LabelledRadiographs, names: tuple[str, ...], data: Data) -> tuple[str, ...]:
    """Return the K outputs in order.

    Parameters
    ----------
    names
        Pictures of all parts, in which ``fewest_cases`` is counted.

    Raises
    ------
    LayoutError
        No finding has enough cases.
    """
    wanted = data.labels or LABELS
    cases = dict(zip(LABELS, layout.targets(names).sum(0).astype(int).tolist(), strict=True))
    kept = tuple(label for label in wanted if cases[label] >= data.fewest_cases)
    if not kept:
        most = max(wanted, key=lambda label: cases[label])
        raise LayoutError(
            f"{layout.root}: no finding has the {data.fewest_cases} cases that data.fewest_cases asks for; the most "
            f"frequent, {most}, has {cases[most]}"
        )
    return (*kept, NO_FINDING) if data.no_finding else kept


def make_examples(
    layout: LabelledRadiographs, names: tuple[str, ...], labels: tuple[str, ...] = LABELS, facts: Sequence[str] = ()
) -> Examples:
    """Return pictures with their targets, boxes and facts, in the given order."""
    boxes = tuple(layout.boxes.get(name, ()) for name in names)
    metadata = facts_beside(layout, names, facts) if facts else None
    return Examples(names, targets_of(layout, names, labels), boxes, labels, metadata)


def drawing_weights(layout: LabelledRadiographs, names: tuple[str, ...], data: Data) -> NDArray[np.float64] | None:
    """Return how often each training picture is drawn; None where each comes once an epoch."""
    if data.sampling == "uniform" or data.subset:
        return None
    return finding_weights(layout, names, data)


def targets_of(layout: LabelledRadiographs, names: tuple[str, ...], labels: tuple[str, ...]) -> NDArray[np.float32]:
    """Return float32 [N, K] of 0 and 1; "No Finding" is 1 where none of the fourteen is."""
    fourteen = layout.targets(names)
    if labels == LABELS:
        return fourteen
    none = (fourteen.sum(1) == 0).astype(np.float32)
    columns = [none if label == NO_FINDING else fourteen[:, LABELS.index(label)] for label in labels]
    return np.stack(columns, axis=1)


def facts_beside(layout: LabelledRadiographs, names: tuple[str, ...], facts: Sequence[str]) -> NDArray[np.float32]:
    """Return float32 [N, M]: age in years / 100, sex (1 = M, 0 = F), view (1 = AP, 0 = PA); 0.5 where unknown."""
    rows = []
    for name in names:
        entry = layout.entries[name]
        known = {
            "age": _MIDDLE if entry.age_years is None else entry.age_years / 100,
            "sex": {"M": 1.0, "F": 0.0}.get(entry.sex, _MIDDLE),
            "view": {"AP": 1.0, "PA": 0.0}.get(entry.view, _MIDDLE),
        }
        rows.append([known[fact] for fact in facts])
    return np.array(rows, dtype=np.float32).reshape(len(names), len(facts))
