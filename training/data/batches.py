"""Batches of training pictures: which pictures come when, and their boxes.

The order comes from (seed, epoch) alone, so any step of any epoch can be found again without a sampler's state.
Notation: N pictures, K outputs, M facts beside the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from model.labels import LABELS
from training.data.augment import BoxBatch
from training.data.chestxray14 import BOX_FRAME_PX, Box
from training.parallel import Team

ALONE = Team(0, 1)


@dataclass(frozen=True)
class Examples:
    """The pictures of one part, in a fixed order."""

    names: tuple[str, ...]
    targets: NDArray[np.float32]
    """float32 [N, K] of 0 and 1."""
    boxes: tuple[tuple[Box, ...], ...]
    """Boxes of each picture, empty where there are none."""
    labels: tuple[str, ...] = LABELS
    """What each column of the targets means."""
    metadata: NDArray[np.float32] | None = None
    """float32 [N, M] facts beside the picture; None where the network takes none."""
    weights: NDArray[np.float64] | None = None
    """float64 [N], how often each is drawn; None = each once an epoch."""


def steps_per_epoch(count: int, batch_size: int, at_most: int = 0) -> int:
    """Return the whole batches in an epoch, at least one; the rest of the order waits for another epoch.

    ``at_most`` steps count as an epoch; 0 = no limit.
    """
    steps = max(1, count // batch_size)
    return min(steps, at_most) if at_most else steps


def batch_rows(
    examples: Examples, batch_size: int, seed: int, epoch: int, step: int, team: Team = ALONE
) -> NDArray[np.int64]:
    """Return the rows, int64 [B], of this process's share of a batch; a batch larger than the part repeats it."""
    order = _order(len(examples.names), None if examples.weights is None else examples.weights.tobytes(), seed, epoch)
    batch = order[step * batch_size : (step + 1) * batch_size]
    return np.resize(batch, batch_size)[team.rank :: team.size]


@lru_cache(maxsize=2)
def _order(count: int, weights: bytes | None, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the epoch's order: every row once, or as many rows drawn with replacement by float64 weights."""
    generator = np.random.default_rng([seed, 2, epoch])
    if weights is None:
        return generator.permutation(count)
    shares = np.frombuffer(weights)
    return generator.choice(count, count, p=shares / shares.sum())


def box_batch(examples: Examples, rows: NDArray[np.int64], trained: tuple[bool, ...]) -> BoxBatch:
    """Return the boxes of the rows whose finding is trained, in the coordinates of ``training.data.augment``."""
    picture, label, edges = [], [], []
    for place, row in enumerate(rows):
        for box in examples.boxes[row]:
            index = examples.labels.index(box.label) if box.label in examples.labels else -1
            if index >= 0 and trained[index] and examples.targets[row, index] == 1:
                picture.append(place)
                label.append(index)
                corners = (box.x_px, box.y_px, box.x_px + box.width_px, box.y_px + box.height_px)
                edges.append([corner * 2 / BOX_FRAME_PX - 1 for corner in corners])
    return BoxBatch(
        torch.tensor(picture, dtype=torch.int64),
        torch.tensor(label, dtype=torch.int64),
        torch.tensor(edges, dtype=torch.float32).reshape(-1, 4),
    )
