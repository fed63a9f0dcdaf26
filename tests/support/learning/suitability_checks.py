"""Suitability checks for tests: one with random weights, and one that says the same of every picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from model.suitability import OUTPUTS, SuitabilityCheck, SuitabilityFacts, Verdict
from model.suitability_network import FEATURES
from training.suitability.network import CheckNetwork, tensors_of

FACTS = SuitabilityFacts(score_limit=0.5, distance_limit=4.0, learned_from="nothing: random weights")


def random_network() -> CheckNetwork:
    """A network whose every tensor is random, so that no operation is the identity."""
    torch.manual_seed(3)
    network = CheckNetwork(len(OUTPUTS))
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.running_mean, 0, 0.2)
            torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.normal_(layer.bias, 0, 0.2)
    return network.eval()


def tensors(**replaced: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """The random network's tensors with the distance from 0, some replaced."""
    statistics = {"distance.mean": np.zeros(FEATURES), "distance.precision": np.eye(FEATURES)}
    return {
        name: np.asarray(values, np.float32)
        for name, values in (tensors_of(random_network()) | statistics | replaced).items()
    }


def always(verdict: Verdict, distance: float = 0.0, limit: float = 0.5, certainty: float = 20.0) -> SuitabilityCheck:
    """A check that gives one verdict whatever it sees, its features ``distance`` from the mean in every place."""
    bias = np.zeros(len(OUTPUTS))
    bias[OUTPUTS.index(verdict)] = certainty
    fixed = {
        "features.weight": np.zeros((FEATURES, 1024)),
        "features.bias": np.ones(FEATURES),
        "verdict.weight": np.zeros((len(OUTPUTS), FEATURES)),
        "verdict.bias": bias,
        "distance.mean": np.full(FEATURES, 1.0 - distance),
    }
    return SuitabilityCheck(replace(FACTS, score_limit=limit), tensors(**fixed))
