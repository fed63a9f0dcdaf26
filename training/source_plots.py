"""The pictures that a recipe's ``plots`` asks for, made from a finished run."""

from __future__ import annotations

from itertools import compress

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.augment import normalised, warp
from training.data.batches import Examples
from training.data.label_set import targets_of
from training.evaluation.inference import Outputs
from training.evaluation.views import WHOLE
from training.fitting.losses import class_weights
from training.networks.build import ChestNetwork
from training.networks.finding_network import FindingNetwork
from training.networks.gradcam import grad_cam
from training.parallel import training_device
from training.prepare import Prepared
from training.reporting.heat_plots import heat_plot
from training.reporting.label_plots import class_plot, prediction_plot, sample_plot

_SAMPLES, _HEATED = 12, 4

Picture = tuple[str, bytes]
"""Heading and PNG."""


def asked_for_plots(network: ChestNetwork, prepared: Prepared, outputs: Outputs) -> list[Picture]:
    """Return the pictures, in the recipe's order; of the trained outputs only.

    Parameters
    ----------
    network
        With the chosen weights.
    outputs
        Of the test part, [N, K].
    """
    examples = prepared.examples(prepared.parts.test)
    pictures: list[Picture] = []
    for name in prepared.plan.recipe.plots:
        if name == "classes":
            pictures.append(("Labels of the training part", _classes(prepared)))
        elif name == "grad-cam":
            pictures.append(("Where the evidence lies: the top class, then all", _heat(network, prepared, examples)))
        else:
            pictures += _samples(prepared, examples, _probabilities(outputs.logits))
    return pictures


def telling_rows(examples: Examples, count: int) -> list[int]:
    """Return the first pictures of the part, those with findings and those without in turn."""
    found = examples.targets.sum(1) > 0
    kinds = [np.flatnonzero(found).tolist(), np.flatnonzero(~found).tolist()]
    in_turn = [kind[place] for place in range(count) for kind in kinds if place < len(kind)]
    return in_turn[:count]


def _classes(prepared: Prepared) -> bytes:
    plan, trained = prepared.plan, list(prepared.plan.trained)
    targets, labels = plan.training.targets, plan.training.labels
    weights = class_weights(plan.recipe.loss, torch.from_numpy(targets.sum(0)), len(targets))
    positive, negative = (weight.numpy()[trained] for weight in weights)
    everywhere = targets_of(prepared.layout, prepared.layout.listed, labels).mean(0)[trained]
    drawn = np.average(targets, axis=0, weights=plan.training.weights)[trained]
    return class_plot(_named(labels, trained), everywhere, drawn, positive, negative)


def _samples(prepared: Prepared, examples: Examples, probabilities: NDArray[np.float64]) -> list[Picture]:
    rows, trained = telling_rows(examples, _SAMPLES), list(prepared.plan.trained)
    labels, targets, said = _named(examples.labels, trained), examples.targets[:, trained], probabilities[:, trained]
    shown = prepared.cache.gather(tuple(examples.names[row] for row in rows))
    return [
        ("Predicted and true shares", prediction_plot(labels, said, targets)),
        ("Test pictures, true and predicted", sample_plot(shown, labels, said[rows], targets[rows])),
    ]


def _heat(network: ChestNetwork, prepared: Prepared, examples: Examples) -> bytes:
    rows, trained = telling_rows(examples, _HEATED), list(prepared.plan.trained)
    pixels = prepared.cache.gather(tuple(examples.names[row] for row in rows))
    device = training_device()
    network = network.eval().to(device)
    size_px = prepared.plan.recipe.stages[-1].size_px
    levels = warp(torch.from_numpy(pixels).to(device), WHOLE.to(device).expand(len(rows), 2, 3), size_px)
    facts = None if examples.metadata is None else torch.from_numpy(examples.metadata[rows]).to(device)
    logits, maps = _maps(network, normalised(levels), facts)
    said = _probabilities(logits)[:, trained]
    return heat_plot(pixels, maps[:, trained], said, _named(examples.labels, trained))


def _named(labels: tuple[str, ...], trained: list[bool]) -> tuple[str, ...]:
    return tuple(compress(labels, trained))


def _probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    probabilities: NDArray[np.float64] = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return probabilities


def _maps(
    network: ChestNetwork, x: torch.Tensor, facts: torch.Tensor | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return logits and maps: Grad-CAM, or the class map where the network gives the same without a backward pass."""
    with torch.no_grad():
        if isinstance(network, FindingNetwork):
            logits, maps = grad_cam(network, x, facts)
        else:
            logits, maps = network(x)
    return logits.float().cpu().numpy(), maps.float().cpu().numpy()
