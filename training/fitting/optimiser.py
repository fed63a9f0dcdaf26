"""The optimiser that a recipe names."""

from __future__ import annotations

import torch
from torch import nn

from training.recipe import Recipe


def build_optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimiser of the weights that are trained.

    Weight decay is for convolution and linear weights only: on norms and biases it moves the statistics, not the
    function. The learning rate is set before every step.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    choices = recipe.optimiser
    if choices.kind == "sgd":
        return torch.optim.SGD(groups, lr=1e-3, momentum=choices.momentum)
    kind = torch.optim.AdamW if choices.kind == "adamw" else torch.optim.Adam
    fused = trained[0].device.type == "cuda"  # one kernel for all tensors; the CPU's sums stay as they were
    return kind(groups, lr=1e-3, betas=choices.betas, eps=choices.epsilon, fused=fused or None)
