"""Random changes of a whole batch at once: one affine matrix a picture, then brightness and contrast.

Coordinates follow ``torch.nn.functional.affine_grid``: x right, y down, -1..1 over the picture's outer edges
(``align_corners=False``). A matrix maps a point of the result to the point of the source that it shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from model.preprocess import GREY_MEAN, GREY_STD
from training.recipe import Augmentation

_SAMPLES_PER_CELL = 8  # along each axis, to measure how much of a cell a (possibly rotated) box covers


@dataclass(frozen=True)
class BoxBatch:
    """The boxes of one batch, M in all."""

    picture: Tensor
    """int64 [M], place in the batch."""
    label: Tensor
    """int64 [M], index in ``LABELS``."""
    edges: Tensor
    """float32 [M, 4]: left, top, right, bottom in -1..1 of the source picture."""

    def to(self, device: torch.device) -> BoxBatch:
        """Return the same boxes on a device."""
        return BoxBatch(self.picture.to(device), self.label.to(device), self.edges.to(device))


def random_matrices(count: int, choices: Augmentation, generator: torch.Generator) -> Tensor:
    """Return float32 [count, 2, 3], result -> source."""
    draw = torch.rand((count, 5), generator=generator) * 2 - 1
    angle = draw[:, 0] * math.radians(choices.rotation_degrees)
    scale = 1 + draw[:, 1] * choices.scale_share
    shift = draw[:, 2:4] * 2 * choices.translate_share
    mirror = torch.where((draw[:, 4] + 1) / 2 < choices.flip_probability, -1.0, 1.0)
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    top = torch.stack([cos * mirror, -sin, shift[:, 0]], dim=1)
    bottom = torch.stack([sin * mirror, cos, shift[:, 1]], dim=1)
    matrices = torch.stack([top, bottom], dim=1)
    # Each draws from the generator only when asked for, so that a recipe without it keeps its random numbers.
    if choices.shear_degrees > 0 or choices.vertical_flip_probability > 0:
        matrices = _after(matrices, _slants(count, choices, generator))
    if choices.crop_smallest_area < 1:
        matrices = _after(matrices, _crops(count, choices, generator))
    return matrices


def _slants(count: int, choices: Augmentation, generator: torch.Generator) -> Tensor:
    """Return float32 [count, 2, 3] that slant upright lines and turn some pictures upside down."""
    draw = torch.rand((count, 2), generator=generator)
    slant = torch.tan((draw[:, 0] * 2 - 1) * math.radians(choices.shear_degrees))
    turned = torch.where(draw[:, 1] < choices.vertical_flip_probability, -1.0, 1.0)
    matrices = torch.eye(2, 3).repeat(count, 1, 1)
    matrices[:, 0, 1] = slant
    matrices[:, 1, 1] = turned
    return matrices


def _crops(count: int, choices: Augmentation, generator: torch.Generator) -> Tensor:
    """Return float32 [count, 2, 3] from the whole result to a random window of the picture.

    Area uniform, aspect uniform in its logarithm, place uniform (Szegedy et al. 2015; torchvision's
    ``RandomResizedCrop``); a window wider or higher than the picture is cut to it.
    """
    draw = torch.rand((count, 4), generator=generator)
    area = choices.crop_smallest_area + draw[:, 0] * (1 - choices.crop_smallest_area)
    aspect = torch.exp((draw[:, 1] * 2 - 1) * math.log(choices.crop_largest_aspect))
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    matrices = torch.zeros((count, 2, 3))
    matrices[:, 0, 0], matrices[:, 1, 1] = width, height
    matrices[:, 0, 2], matrices[:, 1, 2] = (draw[:, 2] * 2 - 1) * (1 - width), (draw[:, 3] * 2 - 1) * (1 - height)
    return matrices


def _after(outer: Tensor, inner: Tensor) -> Tensor:
    """Return the matrices that apply ``inner`` first, then ``outer``; float32 [N, 2, 3] each."""
    linear = outer[:, :, :2] @ inner[:, :, :2]
    return torch.cat([linear, outer[:, :, :2] @ inner[:, :, 2:] + outer[:, :, 2:]], dim=2)


def source_size_px(size_px: int, choices: Augmentation) -> int:
    """Return the side a picture is reduced to before it is warped: large enough that the smallest crop keeps detail."""
    return math.ceil(size_px / math.sqrt(choices.crop_smallest_area))


def warp(pictures: Tensor, matrices: Tensor, size_px: int, source_px: int | None = None) -> Tensor:
    """Return float32 [N, 1, size_px, size_px] in 0..1 of uint8 [N, S, S]; outside the picture is black.

    Parameters
    ----------
    source_px
        Side that larger pictures are reduced to first (``source_size_px``); None: ``size_px``, exactly.
    """
    levels = pictures[:, None].float() / 255
    side = max(size_px, min(source_px or size_px, levels.shape[-1]))
    if levels.shape[-1] != side:
        levels = functional.interpolate(levels, (side, side), mode="bilinear", antialias=True)
    grid = functional.affine_grid(matrices, [len(levels), 1, size_px, size_px], align_corners=False)
    return functional.grid_sample(levels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def jitter(levels: Tensor, choices: Augmentation, generator: torch.Generator) -> Tensor:
    """Return levels [N, C, H, W] with random contrast (around mid grey) and brightness, kept in 0..1."""
    draw = (torch.rand((2, levels.shape[0], 1, 1, 1), generator=generator) * 2 - 1).to(levels.device)
    changed = (levels - 0.5) * (1 + draw[0] * choices.contrast) + 0.5 + draw[1] * choices.brightness
    return changed.clamp(0, 1)


def normalised(levels: Tensor) -> Tensor:
    """Return the network's input of levels [N, C, H, W], 0..1, as ``model.preprocess.normalise`` makes it of uint8."""
    return (levels - GREY_MEAN) / GREY_STD


def box_shares(boxes: BoxBatch, matrices: Tensor, cells: int) -> Tensor:
    """Return float32 [M, cells, cells]: the share of each cell of the result that the box covers, 0..1."""
    if len(boxes.picture) == 0:
        return boxes.edges.new_zeros((0, cells, cells))
    side = cells * _SAMPLES_PER_CELL
    grid = functional.affine_grid(matrices[boxes.picture], [len(boxes.picture), 1, side, side], align_corners=False)
    left, top, right, bottom = (edge[:, None, None] for edge in boxes.edges.unbind(1))
    x, y = grid.unbind(-1)
    inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    return functional.avg_pool2d(inside.float()[:, None], _SAMPLES_PER_CELL)[:, 0]
