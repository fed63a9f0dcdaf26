"""Teaching the check: its network, then where its training pictures lie, then the limits, from pictures held back."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from model.suitability import OUTPUTS, SuitabilityCheck, SuitabilityFacts
from model.suitability_network import standardised
from training.suitability.alterations import still_frontal, unaltered
from training.suitability.examples import Material, Pictures, draw_example
from training.suitability.network import CheckNetwork, tensors_of

logger = logging.getLogger(__name__)

BATCH_SIZE = 128
_PEAK_LEARNING_RATE = 4e-3
_WEIGHT_DECAY = 1e-3
_MILD = 0.5  # strength of the alterations that limits must let through
_MILD_COPIES = 2
_LOST_TO_SCORE, _LOST_TO_DISTANCE = 0.002, 0.002
"""Share of the pictures held back that either limit may turn away."""
_SCORE_RANGE = (0.3, 0.7)
_LEAST_PASSED = 0.95
_DISTANCE_MARGIN = 2.0
"""Room (of the squared distance) for other devices and sicker patients than the few pictures held back show."""


def fit_check(
    material: Material,
    held_back: Pictures,
    learned_from: str,
    list_sha256: str | None,
    report: Callable[[int, int], None],
    *,
    steps: int,
    seed: int = 2017,
) -> SuitabilityCheck:
    """Return a check taught with the material; the same arguments give the same check on the same machine.

    Parameters
    ----------
    held_back
        Frontal chests of other patients, that choose the limits.
    learned_from
        What the material is, in words.
    report
        Called with (steps done, steps in all).
    """
    torch.manual_seed(seed)
    network = _taught(material, report, steps, np.random.default_rng([seed, 1]))
    rng = np.random.default_rng([seed, 2])
    features, _ = _outputs(network, _as_shown(material.chests, rng))
    mean, precision = _gaussian(features)
    features, scores = _outputs(network, _as_shown(held_back, rng))
    away = features - mean
    squared = np.einsum("ij,jk,ik->i", away, precision, away)
    score_limit = float(np.clip(np.quantile(scores, _LOST_TO_SCORE), *_SCORE_RANGE))
    passed = scores >= score_limit
    if passed.mean() < _LEAST_PASSED:
        logger.warning(
            "the check takes only %.0f %% of the frontal chests held back for such; teach it longer",
            100 * passed.mean(),
        )
    farthest = float(np.quantile(squared[passed] if passed.any() else squared, 1 - _LOST_TO_DISTANCE))
    distance_limit = _DISTANCE_MARGIN * farthest
    logger.info("limits: score %.3f, squared distance %.1f", score_limit, distance_limit)
    facts = SuitabilityFacts(
        score_limit=score_limit, distance_limit=distance_limit, learned_from=learned_from, list_sha256=list_sha256
    )
    check = SuitabilityCheck(facts, tensors_of(network) | {"distance.mean": mean, "distance.precision": precision})
    return SuitabilityCheck.from_bytes(facts, check.to_bytes())  # as it will be served, in half precision


def _taught(
    material: Material, report: Callable[[int, int], None], steps: int, rng: np.random.Generator
) -> CheckNetwork:
    network = CheckNetwork(len(OUTPUTS)).train()
    optimiser = torch.optim.AdamW(network.parameters(), _PEAK_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _PEAK_LEARNING_RATE, total_steps=steps, pct_start=0.15)
    for step in range(steps):
        examples = [draw_example(material, rng) for _ in range(BATCH_SIZE)]
        pictures = torch.from_numpy(standardised(np.stack([picture for picture, _ in examples])))
        answers = torch.tensor([answer for _, answer in examples])
        _, logits = network(pictures)
        loss: Tensor = functional.cross_entropy(logits, answers)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        report(step + 1, steps)
    return network.eval()


def _as_shown(chests: Pictures, rng: np.random.Generator) -> Pictures:
    """Return each chest as it is and mildly altered, at the check's size: what must pass."""
    shown = [unaltered(chest) for chest in chests]
    shown += [still_frontal(chest, rng, _MILD) for chest in chests for _ in range(_MILD_COPIES)]
    return np.stack(shown)


def _outputs(network: CheckNetwork, pictures: Pictures) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return features [N, FEATURES] and scores [N] of pictures at the check's size."""
    features, scores = [], []
    with torch.inference_mode():
        for start in range(0, len(pictures), BATCH_SIZE):
            found, logits = network(torch.from_numpy(standardised(pictures[start : start + BATCH_SIZE])))
            features.append(found.numpy())
            scores.append(torch.softmax(logits, 1)[:, 0].numpy())
    return np.concatenate(features).astype(np.float64), np.concatenate(scores).astype(np.float64)


def _gaussian(features: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and shrunken precision (Ledoit and Wolf 2004): features that never vary have no inverse variance."""
    from sklearn.covariance import LedoitWolf  # here: only the training extra brings it

    fitted = LedoitWolf().fit(features)
    return fitted.location_.astype(np.float32), fitted.precision_.astype(np.float32)
