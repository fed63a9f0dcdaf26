"""Logits and class maps of many pictures, shared out over the processes of a team."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from model.densenet import DenseNet121Cam
from training.data.augment import normalised, warp
from training.data.cache import PictureCache
from training.parallel import Team

ALONE = Team(0, 1)
_BATCH = 32
_IDENTITY = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])


@dataclass(frozen=True)
class Outputs:
    """What the network says of N pictures."""

    logits: NDArray[np.float32]
    """float32 [N, 14]."""
    maps: NDArray[np.float32]
    """float32 [N, 14, h, w]."""


def outputs_of(
    network: DenseNet121Cam, cache: PictureCache, names: tuple[str, ...], size_px: int, team: Team = ALONE
) -> Outputs:
    """Run the network in evaluation mode; every process of the team gets the outputs of all pictures.

    At the cache's own size the pictures reach the network exactly as in serving.
    """
    network.eval()
    device = network.classifier.weight.device
    mine = [part.tolist() for part in np.array_split(np.arange(len(names)), team.size)][team.rank]
    logits, maps = [torch.zeros(0, 14)], []
    with torch.inference_mode():
        for start in range(0, len(mine), _BATCH):
            chosen = tuple(names[i] for i in mine[start : start + _BATCH])
            pictures = torch.from_numpy(cache.gather(chosen)).to(device)
            levels = warp(pictures, _IDENTITY.to(device).expand(len(chosen), 2, 3), size_px)
            some_logits, some_maps = network(normalised(levels).contiguous(memory_format=torch.channels_last))
            logits.append(some_logits.float().cpu())
            maps.append(some_maps.float().cpu())
    cells = size_px // 32
    all_maps = torch.cat(maps) if maps else torch.zeros(0, 14, cells, cells)
    return Outputs(team.collect(torch.cat(logits)).numpy(), team.collect(all_maps).numpy())
