"""Public PyTorch checkpoints of ChestX-ray14 DenseNet-121s, read without executing anything in them.

The canonical names are torchvision's (``features.*``, ``classifier.weight``, ``classifier.bias``). arnoweng's and
zoogzog's files (2017, ``module.densenet121...norm.1...``, ``classifier.0``) and plain torchvision state dicts are
brought to them by renaming alone; no tensor is ever left at a random value, which ``strict=False`` would do in silence.
"""

from __future__ import annotations

import pickle
import re
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.architecture import ARCHITECTURES
from model.labels import LABELS

_WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
_PREFIX = re.compile(r"^(module|model|net|backbone|densenet121|_orig_mod)\.")
_OLD_DENSE_LAYER = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.")
# What torch's restricted unpickler was seen to raise on cut or random bytes, beside its own UnpicklingError.
_DAMAGED = (
    OSError,
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
)
_LARGEST_FLOAT16 = float(np.finfo(np.float16).max)


class CheckpointError(Exception):
    """A checkpoint cannot be imported; the message says what in it does not fit."""


def read_checkpoint(path: Path) -> dict[str, NDArray[np.float16]]:
    """Return a checkpoint's tensors by torchvision's names, in float16, ready for ``write_bundle``.

    Parameters
    ----------
    path
        A file of ``torch.save``: a state dict, bare or under ``state_dict``, ``model``, ``model_state_dict`` or
        ``net``, with 14 outputs in the order of ``LABELS``.

    Raises
    ------
    CheckpointError
        Not a checkpoint, more than tensors inside, or tensors missing, left over or of another shape.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors, or is no PyTorch file; save its state_dict() where it was made"
        ) from error
    except _DAMAGED as error:
        raise CheckpointError(f"{path} cannot be read as a PyTorch file; fetch it again") from error
    state = _unwrap(content, path)
    tensors = {canonical_name(name): tensor for name, tensor in state.items()}
    if len(tensors) != len(state):
        raise CheckpointError(f"{path} names the same tensor twice; save one network's state_dict() alone")
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
    _require_densenet121(tensors, path)
    return {name: tensor.to(torch.float16).numpy() for name, tensor in tensors.items()}


def canonical_name(name: str) -> str:
    """Return torchvision's name of a tensor: wrappers stripped, 2017's ``norm.1`` and ``classifier.0`` renamed."""
    while (stripped := _PREFIX.sub("", name)) != name:
        name = stripped
    name = _OLD_DENSE_LAYER.sub(r"\1\2.", name)
    return re.sub(r"^classifier\.0\.", "classifier.", name)


def _unwrap(content: object, path: Path) -> Mapping[str, torch.Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path} holds no state dict, bare or under {', '.join(_WRAPPERS)}")
    others = [str(name) for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise CheckpointError(f"{path}: {others[0]} is not a tensor; expected a state dict")
    return content


def _require_densenet121(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    expected = ARCHITECTURES["densenet121"].weight_shapes()
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    outputs = found.get("classifier.weight", (0,))[0]
    if outputs != len(LABELS):
        raise CheckpointError(f"{path} has {outputs} outputs, not the {len(LABELS)} of ChestX-ray14 in its own order")
    wrong = sorted(name for name in expected | found if expected.get(name) != found.get(name))
    if wrong:
        raise CheckpointError(
            f"{path} is no DenseNet-121 of torchvision: {len(wrong)} tensors missing, left over or of another shape, "
            f"first {wrong[0]}"
        )
    large = [name for name, tensor in tensors.items() if not bool((tensor.abs() <= _LARGEST_FLOAT16).all())]
    if large:
        raise CheckpointError(f"{path}: {large[0]} holds values that float16 cannot ({len(large)} such tensors)")
