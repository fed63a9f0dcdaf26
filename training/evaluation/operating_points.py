"""Thresholds for flagging, chosen on validation and frozen before the test part is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from model.bundle import OperatingPoint
from model.labels import LABELS

RuleKind = Literal["youden", "sensitivity", "specificity", "f1", "ppv"]
FEWEST_POSITIVES = 30
"""Findings with fewer positives in training and validation together are reported but never flag: neither the weights
nor a threshold rest on anything."""
_FEWEST_FLAGGED = 10
"""A positive predictive value of fewer flagged pictures is chance."""


@dataclass(frozen=True)
class OperatingRule:
    """How a threshold is chosen.

    ``youden``: the largest sensitivity + specificity. ``f1``: the largest F1 score. ``sensitivity``: the highest
    threshold that still reaches the target. ``specificity``, ``ppv``: the lowest that reaches it.
    """

    kind: RuleKind = "youden"
    target: float = 0.9
    """0..1, for the kinds that aim at a value."""

    @classmethod
    def parse(cls, text: str) -> OperatingRule:
        """Read ``youden``, ``f1``, ``sensitivity:0.9``, ``specificity:0.95`` or ``ppv:0.3``.

        Raises
        ------
        ValueError
            The text is no rule.
        """
        name, _, target = text.partition(":")
        known = [kind for kind in get_args(RuleKind) if kind == name]
        aims = name in ("sensitivity", "specificity", "ppv")
        if not known or bool(target) != aims:
            raise ValueError(f"no rule {text!r}; known: youden, f1, sensitivity:0.9, specificity:0.95, ppv:0.3")
        value = float(target) if aims else cls.target
        if not 0 < value < 1:
            raise ValueError(f"the target of {text!r} must lie between 0 and 1")
        return cls(known[0], value)

    def __str__(self) -> str:
        names = {"youden": "Youden's J", "f1": "F1", "ppv": f"PPV {self.target}"}
        return names.get(self.kind, f"{self.kind} {self.target}")


@dataclass(frozen=True)
class _Rates:
    """What each candidate threshold gives on validation, [C] in rising order of thresholds."""

    positives: int
    cuts: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    specificity: NDArray[np.float64]
    true_positives: NDArray[np.float64]
    flagged: NDArray[np.float64]

    @property
    def ppv(self) -> NDArray[np.float64]:
        """Return the share of flagged pictures that are positive."""
        return self.true_positives / self.flagged


def flagging_findings(trained: tuple[bool, ...], positives: NDArray[np.floating]) -> tuple[bool, ...]:
    """Return which trained findings may flag: those with enough positives [14] in training and validation together."""
    return tuple(bool(t and count >= FEWEST_POSITIVES) for t, count in zip(trained, positives, strict=True))


def choose_operating_points(
    probabilities: NDArray[np.floating],
    targets: NDArray[np.floating],
    flagging: tuple[bool, ...],
    rule: OperatingRule,
    rules: Mapping[str, OperatingRule] | None = None,
) -> dict[str, OperatingPoint]:
    """Return one threshold for each finding that may flag.

    Parameters
    ----------
    probabilities, targets
        [N, 14] of validation; calibrated probabilities in 0..1, targets 0 or 1.
    rules
        By finding, where another rule than ``rule`` is wanted.

    Notes
    -----
    A finding with one class only on validation gets the threshold 0.5 and says so.
    """
    chosen = rules or {}
    return {
        label: _choose(probabilities[:, index], targets[:, index], chosen.get(label, rule))
        for index, label in enumerate(LABELS)
        if flagging[index]
    }


def _choose(probability: NDArray[np.floating], truth: NDArray[np.floating], rule: OperatingRule) -> OperatingPoint:
    if not 0 < truth.sum() < len(truth):
        return OperatingPoint(threshold=0.5, chosen_by="0.5, since validation has one class only")
    rates = _rates(probability, truth)
    place, reached = _place(rates, rule)
    count = f"{rates.positives:,} positive{'' if rates.positives == 1 else 's'}"  # what the sensitivity there rests on
    return OperatingPoint(
        threshold=float(rates.cuts[place]),
        chosen_by=f"{rule}{'' if reached else ' (not reached)'} on the validation part, {count}",
        sensitivity=float(rates.sensitivity[place]),
        specificity=float(rates.specificity[place]),
    )


def _rates(probability: NDArray[np.floating], truth: NDArray[np.floating]) -> _Rates:
    levels = np.unique(probability)
    cuts = np.clip((levels[1:] + levels[:-1]) / 2, 1e-6, 1 - 1e-6) if len(levels) > 1 else np.array([0.5])
    positive, negative = np.sort(probability[truth == 1]), np.sort(probability[truth == 0])
    hits = len(positive) - np.searchsorted(positive, cuts)
    alarms = len(negative) - np.searchsorted(negative, cuts)
    return _Rates(
        len(positive),
        cuts,
        hits / len(positive),
        1 - alarms / len(negative),
        hits.astype(np.float64),
        np.maximum(hits + alarms, 1).astype(np.float64),
    )


def _place(rates: _Rates, rule: OperatingRule) -> tuple[int, bool]:
    """Return which candidate the rule picks, and whether it reaches its target."""
    if rule.kind == "youden":
        return int(np.argmax(rates.sensitivity + rates.specificity)), True
    if rule.kind == "f1":
        return int(np.argmax(2 * rates.true_positives / (rates.flagged + rates.positives))), True
    if rule.kind == "sensitivity":
        reached = np.flatnonzero(rates.sensitivity >= rule.target)
        return (int(reached[-1]), True) if len(reached) else (0, False)
    if rule.kind == "specificity":
        reached = np.flatnonzero(rates.specificity >= rule.target)
        return (int(reached[0]), True) if len(reached) else (len(rates.cuts) - 1, False)
    enough = rates.flagged >= min(_FEWEST_FLAGGED, rates.flagged.max())
    reached = np.flatnonzero((rates.ppv >= rule.target) & enough)
    return (int(reached[0]), True) if len(reached) else (int(np.argmax(np.where(enough, rates.ppv, -1))), False)
