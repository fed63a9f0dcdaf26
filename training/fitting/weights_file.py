"""Files of weights that ``--init`` names: a network's state dict as torch or safetensors writes it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model.checkpoint import DAMAGED


class InitError(Exception):
    """The weights to start from are not at hand; the message names every way on."""


def read_weights_file(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by the names it has for them; nothing in it is executed.

    Parameters
    ----------
    path
        ``.safetensors``, or what ``torch.save`` made of a state dict, bare or under ``state_dict``.

    Raises
    ------
    InitError
        There is no such file, it is damaged, or it holds no state dict.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InitError(f"--init {path}: no such file; give torchvision's weights, or --init random") from error
    except (*DAMAGED, SafetensorError) as error:
        raise InitError(f"--init {path} cannot be read as a file of weights; fetch it again") from error
    weights = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise InitError(f"--init {path} holds no state dict; save the network's state_dict() alone")
    return dict(weights)
