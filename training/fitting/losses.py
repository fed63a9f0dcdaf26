"""What training minimises: cross entropy of the findings, and of the place of those that have a box.

Notation: N pictures, 14 findings, h = w cells of the class map, M boxes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from training.data.augment import BoxBatch


def finding_loss(logits: Tensor, targets: Tensor, trained: Tensor) -> Tensor:
    """Return the mean binary cross entropy over the trained findings.

    Parameters
    ----------
    logits, targets
        float32 [N, 14].
    trained
        bool [14]; the others take no part.
    """
    return functional.binary_cross_entropy_with_logits(logits[:, trained], targets[:, trained])


def place_loss(maps: Tensor, boxes: BoxBatch, shares: Tensor, sharpness: float) -> Tensor:
    """Return the cross entropy between where the class map looks and the cells that the box covers.

    A cell's contribution to the logit is ``map / (h * w)``; a softmax over the contributions (times ``sharpness``) says
    where the network looks, and the box's share of each cell, made to sum to one, says where it should.

    Parameters
    ----------
    maps
        float32 [N, 14, h, w].
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
