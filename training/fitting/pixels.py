"""The training part's pictures on the device: all of them at once where a GPU has the room, else batch by batch."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.cache import open_cache

logger = logging.getLogger(__name__)

_CHUNK = 1024


class Pixels:
    """Pictures of a list by row, on a device.

    Parameters
    ----------
    cache
        Folder of the picture cache.
    names
        The list.
    device
        A GPU with at least twice the list's size free holds it whole (112,120 pictures of 256 px are 7.4 GB): then no
        step waits for the disk or the bus. Otherwise each batch is read and sent; since kernels are only queued, that
        happens while the GPU computes the step before.
    resident
        Decide otherwise.
    """

    def __init__(
        self, cache: Path, names: tuple[str, ...], device: torch.device, *, resident: bool | None = None
    ) -> None:
        self.cache, self.names, self.device = open_cache(cache), names, device
        size_bytes = len(names) * self.cache.size_px**2
        keep = _fits(device, size_bytes) if resident is None else resident
        self.whole = self._send_all() if keep else None

    def take(self, rows: NDArray[np.int64]) -> Tensor:
        """Return uint8 [len(rows), S, S] on the device."""
        if self.whole is not None:
            return self.whole[torch.from_numpy(rows).to(self.device)]
        pictures = self._gathered(rows)
        if self.device.type == "cuda":
            return pictures.pin_memory().to(self.device, non_blocking=True)
        return pictures

    def _gathered(self, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.cache.gather(tuple(self.names[row] for row in rows)))

    def _send_all(self) -> Tensor:
        logger.info("the training part's %d pictures are kept on the GPU", len(self.names))
        side = self.cache.size_px
        whole = torch.empty((len(self.names), side, side), dtype=torch.uint8, device=self.device)
        for start in range(0, len(self.names), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(self.names)))
            whole[start : start + len(rows)] = self._gathered(rows).to(self.device)
        return whole


def _fits(device: torch.device, size_bytes: int) -> bool:
    return device.type == "cuda" and torch.cuda.mem_get_info(device)[0] > 2 * size_bytes
