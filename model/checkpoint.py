"""Public PyTorch checkpoints of DenseNet-121s for chest radiographs, read without executing anything in them.

The canonical names are torchvision's (``features.*``, ``classifier.weight``, ``classifier.bias``). Wrappers' prefixes
are stripped and 2017's names (``norm.1``, ``classifier.0``) brought to today's; no tensor is ever left at a random
value, which the usual advice ``strict=False`` would do in silence. Files hold a state dict, bare or wrapped, or a whole
pickled DenseNet of torchvision or torchxrayvision (``model.pickled_module``); both containers of ``torch.save`` are
read, always with ``weights_only=True``.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.architecture import ARCHITECTURES
from model.legacy_container import without_class_records
from model.pickled_module import PickledModule, UnknownNetworkError, stand_ins, tensors_of

MAXIMUM_BYTES = 2_000_000_000
"""Size above which a file is not read; a checkpoint with the optimiser's state has 100 MB."""

_WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
_PREFIX = re.compile(r"^(module|model|net|backbone|densenet121|_orig_mod)\.")
_OLD_DENSE_LAYER = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.")
_UNUSED = re.compile(r"(^|\.)(num_batches_tracked|op_threshs)$")
"""Counters that inference does not use and 2017's files lack, and torchxrayvision's thresholds."""
_UNSUPPORTED = re.compile(r"GLOBAL (\S+)")
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
DAMAGED = (
    pickle.UnpicklingError,
    OSError,
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
    RecursionError,
    MemoryError,
)
"""What ``torch.load(weights_only=True)`` was seen to raise on cut or random bytes."""


class CheckpointError(Exception):
    """A checkpoint cannot be imported; the message says what in it does not fit."""


@dataclass(frozen=True)
class Checkpoint:
    """A DenseNet-121 found in a file."""

    tensors: dict[str, NDArray[np.float32]]
    """By torchvision's names, float32, counters left out; any number of outputs, 1 or 3 input channels."""
    prefix: str
    """What wrapped the network's names, e.g. ``module.densenet121.``."""
    module: str | None
    """Full name of the class where the file holds a whole network; None for a state dict."""
    sequential_head: bool
    """Whether the classifier was the first of a sequence; a sigmoid after it is left out, outputs are always logits."""
    sha256: str
    """Of the file, 64 hexadecimal digits."""

    @property
    def outputs(self) -> int:
        """Outputs of the classifier."""
        return len(self.tensors["classifier.bias"])

    @property
    def channels(self) -> int:
        """Channels of the first convolution, 1 or 3."""
        return int(self.tensors["features.conv0.weight"].shape[1])


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a DenseNet-121 from a file of ``torch.save``.

    Parameters
    ----------
    path
        A state dict or a whole DenseNet, bare or under ``state_dict``, ``model``, ``model_state_dict`` or ``net``.

    Raises
    ------
    CheckpointError
        Not a checkpoint, more than tensors and layers inside, or tensors missing, left over or of another shape.
    """
    content = _load(path)
    state, module = _unwrapped(content, path)
    names = {name: canonical_name(name) for name in state if not _UNUSED.search(name)}
    if len(set(names.values())) != len(names):
        raise CheckpointError(f"{path} names the same tensor twice; save one network's state_dict() alone")
    tensors = {names[name]: _dense(state[name], name, path) for name in names}
    _require_densenet121(tensors, path)
    own_name = {canonical: name for name, canonical in names.items()}
    values = {name: _as_float32(tensor, name, path) for name, tensor in tensors.items()}
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Checkpoint(
        tensors=values,
        prefix=own_name["features.conv0.weight"].removesuffix("features.conv0.weight"),
        module=module,
        sequential_head=own_name["classifier.bias"].endswith("classifier.0.bias"),
        sha256=digest,
    )


def canonical_name(name: str) -> str:
    """Return torchvision's name of a tensor: wrappers stripped, 2017's ``norm.1`` and ``classifier.0`` renamed."""
    while (stripped := _PREFIX.sub("", name)) != name:
        name = stripped
    name = _OLD_DENSE_LAYER.sub(r"\1\2.", name)
    return re.sub(r"^classifier\.0\.", "classifier.", name)


def _load(path: Path) -> object:
    """Return what the file holds: plain values, tensors, and stand-ins where it holds layers."""
    try:
        _require_readable_size(path)
        is_zip = zipfile.is_zipfile(path)
        source = path if is_zip else BytesIO(without_class_records(path.read_bytes()))
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(stand_ins())):
            warnings.simplefilter("ignore")  # about old pickles; what matters is checked below
            return torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = _UNSUPPORTED.search(str(error))
        what = f"holds {found[1][:100]}, which is not a tensor," if found else "holds more than tensors"
        raise CheckpointError(
            f"{path} {what} or is no PyTorch file; save its state_dict() where it was made"
        ) from error
    except DAMAGED as error:
        raise CheckpointError(f"{path} cannot be read as a PyTorch file; fetch it again") from error


def _require_readable_size(path: Path) -> None:
    size_bytes = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as container:
            size_bytes = max(size_bytes, sum(entry.file_size for entry in container.infolist()))
    if size_bytes > MAXIMUM_BYTES:
        raise CheckpointError(f"{path} holds {size_bytes} bytes, more than the {MAXIMUM_BYTES} of any DenseNet-121")


def _unwrapped(content: object, path: Path) -> tuple[Mapping[str, torch.Tensor], str | None]:
    """Return the tensors by the file's own names, and the class of a whole network."""
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping | PickledModule):
            content = content[wrapper]
            break
    if isinstance(content, PickledModule):
        try:
            return tensors_of(content), type(content).path
        except UnknownNetworkError as error:
            raise CheckpointError(f"{path} {error}; save its state_dict() where it was made") from error
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path} holds no state dict and no network, bare or under {', '.join(_WRAPPERS)}")
    others = [str(name)[:100] for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if others or not all(isinstance(name, str) for name in content):
        raise CheckpointError(f"{path}: {(others or ['a name'])[0]} is not a tensor; expected a state dict")
    return content, None


def _dense(tensor: torch.Tensor, name: str, path: Path) -> torch.Tensor:
    if tensor.layout != torch.strided or tensor.dtype not in _FLOATS or tensor.device.type != "cpu":
        raise CheckpointError(f"{path}: {name} is not a dense tensor of floating-point numbers")
    return tensor


def _require_densenet121(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    channels = (*found.get("features.conv0.weight", ()), 3, 3)[1]
    outputs = (*found.get("classifier.weight", ()), 14)[0]
    expected = ARCHITECTURES["densenet121"].weight_shapes(1 if channels == 1 else 3, outputs)
    wrong = sorted(name for name in expected | found if expected.get(name) != found.get(name))
    if wrong:
        raise CheckpointError(
            f"{path} is no DenseNet-121 of torchvision: {len(wrong)} tensors missing, left over or of another shape, "
            f"first {wrong[0][:100]}"
        )


def _as_float32(tensor: torch.Tensor, name: str, path: Path) -> NDArray[np.float32]:
    values: NDArray[np.float32] = tensor.detach().to(torch.float32).contiguous().numpy()
    if not np.isfinite(values).all():
        raise CheckpointError(f"{path}: {name} holds values that float32 cannot, or no numbers")
    return values
