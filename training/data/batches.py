"""Batches of training pictures: which pictures come when, and their boxes.

The order is a permutation of (seed, epoch), so any step of any epoch can be found again without a sampler's state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from model.labels import LABELS
from training.data.augment import BoxBatch
from training.data.chestxray14 import BOX_FRAME_PX, Box
from training.parallel import Team


@dataclass(frozen=True)
class Examples:
    """The pictures of one part, in a fixed order."""

    names: tuple[str, ...]
    targets: NDArray[np.float32]
    """float32 [N, 14] of 0 and 1."""
    boxes: tuple[tuple[Box, ...], ...]
    """Boxes of each picture, empty where there are none."""


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Return the whole batches in an epoch, at least one; the rest of the permutation waits for another epoch."""
    return max(1, count // batch_size)


def batch_rows(count: int, batch_size: int, seed: int, epoch: int, step: int, team: Team) -> NDArray[np.int64]:
    """Return the rows of this process's share of a batch."""
    order = np.random.default_rng([seed, 2, epoch]).permutation(count)
    batch = order[step * batch_size : (step + 1) * batch_size]
    return batch[team.rank :: team.size]


def box_batch(examples: Examples, rows: NDArray[np.int64], trained: tuple[bool, ...]) -> BoxBatch:
    """Return the boxes of the rows whose finding is trained, in the coordinates of ``training.data.augment``."""
    picture, label, edges = [], [], []
    for place, row in enumerate(rows):
        for box in examples.boxes[row]:
            index = LABELS.index(box.label)
            if trained[index] and examples.targets[row, index] == 1:
                picture.append(place)
                label.append(index)
                corners = (box.x_px, box.y_px, box.x_px + box.width_px, box.y_px + box.height_px)
                edges.append([corner * 2 / BOX_FRAME_PX - 1 for corner in corners])
    return BoxBatch(
        torch.tensor(picture, dtype=torch.int64),
        torch.tensor(label, dtype=torch.int64),
        torch.tensor(edges, dtype=torch.float32).reshape(-1, 4),
    )
