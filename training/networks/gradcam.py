"""Grad-CAM (Selvaraju et al. 2017): where the evidence for a class lies, for any head.

The gradient of a class's logit with respect to the last feature map, averaged over its cells, weighs the channels. For
a network that ends in mean pooling and one linear layer this is the class activation map up to a positive factor, so
no such network needs the backward pass.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from training.networks.finding_network import FindingNetwork


def grad_cam(network: FindingNetwork, x: Tensor, metadata: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return ``(logits [N, K], maps [N, K, h, w])``; maps are 0 and above.

    Parameters
    ----------
    network
        In evaluation mode.
    x, metadata
        As ``FindingNetwork.forward``.
    """
    features = network.feature_map(x).detach().requires_grad_(True)
    with torch.enable_grad():
        logits = network.logits_of(features, metadata)
        maps = [_map_of(features, logits[:, output]) for output in range(logits.shape[1])]
    return logits.detach(), torch.stack(maps, dim=1)


def _map_of(features: Tensor, logit: Tensor) -> Tensor:
    """Return [N, h, w] of one class; the pictures of a batch do not touch each other in evaluation mode."""
    (gradient,) = torch.autograd.grad(logit.sum(), features, retain_graph=True)
    weights = gradient.mean((2, 3), keepdim=True)
    return functional.relu((weights * features.detach()).sum(1))
