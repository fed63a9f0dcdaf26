"""Logits and class maps of many pictures, shared out over the processes of a team."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.data.augment import normalised, warp
from training.data.cache import PictureCache
from training.evaluation.views import WHOLE, TestTime, joined_logits, view_matrices
from training.parallel import Team

ALONE = Team(0, 1)
_BATCH = 32


@dataclass(frozen=True)
class Outputs:
    """What the network says of N pictures."""

    logits: NDArray[np.float32]
    """float32 [N, K]; K = 14 for a served network."""
    maps: NDArray[np.float32]
    """float32 [N, K, h, w] of the whole picture; h = w = 0 where the network has none."""


def outputs_of(
    network: nn.Module,
    cache: PictureCache,
    names: tuple[str, ...],
    size_px: int,
    team: Team = ALONE,
    *,
    metadata: NDArray[np.float32] | None = None,
    test_time: TestTime = "none",
    told: Callable[[int], object] = lambda _done: None,
) -> Outputs:
    """Run the network in evaluation mode; every process of the team gets the outputs of all pictures.

    At the cache's own size the pictures reach the network exactly as in serving.

    Parameters
    ----------
    network
        Takes float32 [N, 1, S, S] and gives ``(logits, maps)``.
    metadata
        float32 [N, M] facts beside each picture, where the network takes them.
    test_time
        Views whose probabilities are averaged.
    told
        Called with how many of this process's pictures are done, after each batch.
    """
    network.eval()
    mine = [part.tolist() for part in np.array_split(np.arange(len(names)), team.size)][team.rank]
    found = []
    with torch.inference_mode():
        # A process without pictures still runs one of no size, for the shapes of its part.
        for start in range(0, max(len(mine), 1), _BATCH):
            rows = mine[start : start + _BATCH]
            pictures = torch.from_numpy(cache.gather(tuple(names[row] for row in rows)))
            facts = None if metadata is None else torch.from_numpy(metadata[rows])
            found.append(_outputs_of_batch(network, pictures, size_px, facts, test_time))
            told(start + len(rows))
    logits, maps = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Outputs(team.collect(logits).numpy(), team.collect(maps).numpy())


def _outputs_of_batch(
    network: nn.Module, pictures: Tensor, size_px: int, facts: Tensor | None, test_time: TestTime
) -> tuple[Tensor, Tensor]:
    """Return float32 logits and maps of uint8 [N, S, S] on the CPU."""
    device = next(network.parameters()).device
    pictures, beside = pictures.to(device), () if facts is None else (facts.to(device),)

    def seen_as(matrix: Tensor) -> tuple[Tensor, Tensor]:
        levels = warp(pictures, matrix.to(device).expand(len(pictures), 2, 3), size_px)
        logits, maps = network(normalised(levels).contiguous(memory_format=torch.channels_last), *beside)
        return logits.float(), maps.float()

    logits, maps = seen_as(WHOLE)  # boxes lie in the whole picture, so its maps are the ones to keep
    if test_time != "none":
        logits = joined_logits(torch.stack([seen_as(matrix)[0] for matrix in view_matrices(test_time)]))
    return logits.cpu(), maps.cpu()
