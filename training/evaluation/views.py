"""Views of one picture whose probabilities are averaged at test time: mirrored, or ten crops."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

TestTime = Literal["none", "flip", "ten-crop"]

WHOLE = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
"""The matrix of the picture as it is."""
_CROP_SIDE = 224 / 256  # of arnoweng's TenCrop(224) after Resize(256)
_LARGEST_LOGIT = 15.0  # beyond it float32 probabilities are 0 or 1 and have no logit


def view_matrices(kind: TestTime) -> Tensor:
    """Return float32 [V, 2, 3], one affine matrix (``training.data.augment``) for each view."""
    if kind == "none":
        return WHOLE[None]
    if kind == "flip":
        return torch.stack([WHOLE, _mirrored(WHOLE)])
    room = 1 - _CROP_SIDE
    places = ((0.0, 0.0), (-room, -room), (room, -room), (-room, room), (room, room))
    crops = [torch.tensor([[_CROP_SIDE, 0, x], [0, _CROP_SIDE, y]]) for x, y in places]
    return torch.stack([*crops, *map(_mirrored, crops)])


def joined_logits(logits: Tensor) -> Tensor:
    """Return the logits [N, K] of the mean probability over the views of [V, N, K]."""
    mean = torch.sigmoid(logits.double()).mean(0)
    return torch.logit(mean).clamp(-_LARGEST_LOGIT, _LARGEST_LOGIT).float()


def _mirrored(matrix: Tensor) -> Tensor:
    """Return the matrix whose result is the mirror image of this one's."""
    return matrix * torch.tensor([-1.0, 1.0, 1.0])
