"""Whole networks that were pickled as objects: read through stand-ins, so that none of their code ever runs.

torch's restricted unpickler is given a list of class names. Each name makes an empty stand-in that only takes what the
file says it holds; the tensors are then collected by hand. Old files lack attributes that today's layers need, and
``torchxrayvision`` need not be installed: neither matters to a stand-in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

_DENSENET = ("DenseNet", "_DenseBlock", "_DenseLayer", "_Transition")
_LAYERS = (
    "container.Sequential",
    "conv.Conv2d",
    "batchnorm.BatchNorm2d",
    "activation.ReLU",
    "activation.Sigmoid",
    "pooling.MaxPool2d",
    "pooling.AvgPool2d",
    "linear.Linear",
    "upsampling.Upsample",  # of models that torchxrayvision's users saved again; it holds no tensor
)
_NAMES = (
    *(f"torchvision.models.densenet.{name}" for name in _DENSENET),
    *(f"torchxrayvision.models.{name}" for name in _DENSENET),
    *(f"torch.nn.modules.{name}" for name in _LAYERS),
    "torch.nn.backends.thnn._get_thnn_function_backend",  # a mark in every layer before torch 1.4
)
_DEEPEST = 8
"""Layers inside layers; a DenseNet has five."""


class UnknownNetworkError(ValueError):
    """The object is no DenseNet as torchvision builds it; the message says what in it is different."""


class PickledModule:
    """Stand-in for a layer: holds what the file says, computes nothing."""

    path = ""
    """Full name of the class it stands for."""


def stand_ins() -> list[tuple[type[PickledModule], str]]:
    """Return a stand-in for each allowed class with its full name, for ``torch.serialization.safe_globals``."""
    return [(type(name.rpartition(".")[2], (PickledModule,), {"path": name}), name) for name in _NAMES]


def tensors_of(network: PickledModule) -> dict[str, torch.Tensor]:
    """Return a pickled DenseNet's tensors by the names of its state dict.

    Raises
    ------
    UnknownNetworkError
        It is no DenseNet, its classifier is not one linear layer with or without a sigmoid, or a layer has settings
        that torchvision's DenseNet does not have.
    """
    if type(network).__name__ != "DenseNet":
        raise UnknownNetworkError(f"holds a {type(network).__name__}, not a DenseNet")
    _require_head(_children(network).get("classifier"))
    return dict(_walk(network, "", 0))


def _walk(layer: PickledModule, prefix: str, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    if depth > _DEEPEST:
        raise UnknownNetworkError("has layers inside layers without end")
    _require_usual_settings(layer, prefix)
    for name, value in (_held(layer, "_parameters") | _held(layer, "_buffers")).items():
        if value is None:
            continue
        if not isinstance(value, torch.Tensor):
            raise UnknownNetworkError(f"has no tensor at {prefix}{name}")
        yield f"{prefix}{name}", value
    for name, child in _children(layer).items():
        yield from _walk(child, f"{prefix}{name}.", depth + 1)


def _held(layer: PickledModule, kind: str) -> dict[str, Any]:
    held = vars(layer).get(kind)
    if not isinstance(held, Mapping) or not all(isinstance(name, str) for name in held):
        raise UnknownNetworkError(f"has a {type(layer).__name__} without {kind}")
    return dict(held)


def _children(layer: PickledModule) -> dict[str, PickledModule]:
    children = {name: child for name, child in _held(layer, "_modules").items() if child is not None}
    strange = [name for name, child in children.items() if not isinstance(child, PickledModule)]
    if strange:
        raise UnknownNetworkError(f"has no layer at {strange[0]}")
    return children


def _require_head(head: PickledModule | None) -> None:
    kinds = [] if head is None else [type(head).__name__]
    if kinds == ["Sequential"] and head is not None:
        kinds = [type(child).__name__ for child in _children(head).values()]
    if kinds not in (["Linear"], ["Linear", "Sigmoid"]):
        raise UnknownNetworkError(
            f"ends in {' and '.join(kinds) or 'nothing'}, not in one Linear layer (and a Sigmoid)"
        )


def _require_usual_settings(layer: PickledModule, prefix: str) -> None:
    """Raise UnknownNetworkError where a layer computes something else than the same layer of torchvision's DenseNet."""
    settings = vars(layer)
    usual: dict[str, Any] = {}
    if type(layer).__name__ == "BatchNorm2d":
        usual = {"eps": 1e-5}
    elif type(layer).__name__ == "Conv2d":
        side = _one(settings.get("kernel_size"))
        usual = {"stride": 2 if side == 7 else 1, "padding": {7: 3, 3: 1}.get(side, 0), "dilation": 1, "groups": 1}
    elif type(layer).__name__ == "MaxPool2d":
        usual = {"kernel_size": 3, "stride": 2, "padding": 1}
    elif type(layer).__name__ == "AvgPool2d":
        usual = {"kernel_size": 2, "stride": 2, "padding": 0}
    for name, value in usual.items():
        if _one(settings.get(name)) != value:
            raise UnknownNetworkError(f"has {name} {settings.get(name)!r} at {prefix.rstrip('.')}, not {value}")


def _one(value: object) -> Any:
    """Return the side of a square given as one number or as two equal ones."""
    return value[0] if isinstance(value, tuple) and len(value) == 2 and value[0] == value[1] else value
