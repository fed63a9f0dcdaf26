"""What training minimises: the cost of the findings, and of the place of those that have a box.

Notation: N pictures, K findings (14), h = w cells of the class map, M boxes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from training.data.augment import BoxBatch
from training.recipe import Loss

_FEWEST = 0.5
"""Cases that a class without any is counted as, so that its weight is finite."""


class FindingLoss:
    """The loss of the findings that a recipe asks for.

    Parameters
    ----------
    choices
        The recipe's ``[loss]`` table.
    trained
        bool [K]; the others take no part.
    positives
        float32 [K], positives of each finding in the training part.
    pictures
        Pictures of the training part.
    """

    def __init__(self, choices: Loss, trained: Tensor, positives: Tensor, pictures: int) -> None:
        self.choices = choices
        self.trained = trained.nonzero()[:, 0]  # numbers, not a mask: a GPU would have to be waited for to count it
        self.plain = choices == Loss()
        self.positive_weight, self.negative_weight = class_weights(choices, positives[trained], pictures)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of float32 logits and targets, both [N, K]: a scalar."""
        if self.plain:
            return finding_loss(logits, targets, self.trained)
        logits, targets = logits[:, self.trained], targets[:, self.trained]
        smoothing = self.choices.label_smoothing
        targets = targets * (1 - smoothing) + smoothing / 2
        if self.choices.kind == "cross-entropy":
            costs = -self.positive_weight * _shares(targets) * torch.log_softmax(logits, dim=1)
            return costs.sum(1).mean()
        positive, negative = _costs(logits, self.choices)
        costs = self.positive_weight * targets * positive + self.negative_weight * (1 - targets) * negative
        return costs.sum(1).mean() if self.choices.reduction == "sum" else costs.mean()


def finding_loss(logits: Tensor, targets: Tensor, trained: Tensor) -> Tensor:
    """Return the mean binary cross entropy over the trained findings.

    Parameters
    ----------
    logits, targets
        float32 [N, K].
    trained
        bool [K], or the numbers of the columns, int64; the others take no part.
    """
    return functional.binary_cross_entropy_with_logits(logits[:, trained], targets[:, trained])


def class_weights(choices: Loss, positives: Tensor, pictures: int) -> tuple[Tensor, Tensor]:
    """Return what a positive and a negative of each finding weighs, float32 [K] each."""
    p = positives.float().clamp(_FEWEST, pictures - _FEWEST)
    n = pictures - p
    if choices.weighting == "positives":
        return (n / p) ** choices.positive_weight_power, torch.ones_like(p)
    if choices.weighting == "frequency":
        return n / pictures, p / pictures
    if choices.weighting == "inverse-frequency":
        return pictures / p, pictures / n
    return torch.ones_like(p), torch.ones_like(p)


def _costs(logits: Tensor, choices: Loss) -> tuple[Tensor, Tensor]:
    """Return what each logit costs if the label is 1 and if it is 0, [N, K] each."""
    if choices.kind == "hinge":
        return functional.relu(1 - logits), functional.relu(1 + logits)
    probability = torch.sigmoid(logits)
    if choices.kind == "euclidean":
        return (1 - probability) ** 2, probability**2
    positive, negative = functional.softplus(-logits), functional.softplus(logits)
    if choices.kind == "focal":
        return (1 - probability) ** choices.focal_gamma * positive, probability**choices.focal_gamma * negative
    if choices.kind == "asl":
        shifted = (probability - choices.asl_margin).clamp(0, 1 - 1e-6)  # short of 1: its cost must stay finite
        easy = shifted**choices.asl_gamma_negative
        return (1 - probability) ** choices.asl_gamma_positive * positive, -easy * torch.log1p(-shifted)
    return positive, negative


def _shares(targets: Tensor) -> Tensor:
    """Return each picture's labels as shares that sum to one; a picture without any costs nothing."""
    return targets / targets.sum(1, keepdim=True).clamp(min=1e-6)


def place_loss(maps: Tensor, boxes: BoxBatch, shares: Tensor, sharpness: float) -> Tensor:
    """Return the cross entropy between where the class map looks and the cells that the box covers.

    A cell's contribution to the logit is ``map / (h * w)``; a softmax over the contributions (times ``sharpness``) says
    where the network looks, and the box's share of each cell, made to sum to one, says where it should.

    Parameters
    ----------
    maps
        float32 [N, K, h, w].
    shares
        float32 [M, h, w] of ``box_shares``; boxes that left the picture (all zero) take no part.
    """
    total = shares.sum((1, 2))
    kept = total > 0
    if not bool(kept.any()):
        return maps.sum() * 0
    wanted = (shares[kept] / total[kept, None, None]).flatten(1)
    looked = maps[boxes.picture[kept], boxes.label[kept]].flatten(1)
    contributions = looked * (sharpness / looked.shape[1])
    return -(wanted * torch.log_softmax(contributions, dim=1)).sum(1).mean()
