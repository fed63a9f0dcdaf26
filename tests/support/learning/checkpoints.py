"""Checkpoints as the authors of published DenseNet-121s saved them, with random weights instead of theirs.

The layouts are those of the authors' code (``docs/models.md`` names it): what wrapped the network, how its tensors were
named at the time, in which of ``torch.save``'s two containers.
"""

from __future__ import annotations

import copy
import re
import sys
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import torch
from torch import nn
from torchvision.models.densenet import DenseNet, _DenseBlock, _DenseLayer, _Transition

Tensors = dict[str, torch.Tensor]
LAYER_CLASSES = (DenseNet, _DenseBlock, _DenseLayer, _Transition)


def torchvision_densenet121(outputs: int = 14, channels: int = 3, seed: int = 14) -> DenseNet:
    """torchvision's DenseNet-121 in evaluation mode, every tensor random, batch statistics too."""
    return copy.deepcopy(_drawn(outputs, channels, seed))


@lru_cache(maxsize=8)  # 28 MB each
def _drawn(outputs: int, channels: int, seed: int) -> DenseNet:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    network = _densenet121(outputs, channels)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, 0, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.8, 1.2)
            nn.init.normal_(layer.bias, 0, 0.1)
    nn.init.normal_(network.classifier.bias, 0, 0.5)
    return network.eval()


def _densenet121(outputs: int, channels: int) -> DenseNet:
    network = DenseNet(32, (6, 12, 24, 16), 64, num_classes=outputs)
    if channels != 3:
        network.features.conv0 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return network


def hollow_densenet121(outputs: int = 14, channels: int = 3) -> DenseNet:
    """The same layers and shapes, where each tensor shows a single number: its files are small and soon written."""
    with torch.device("meta"):
        network = _densenet121(outputs, channels)
    for layer in network.modules():
        layer._parameters |= {
            name: nn.Parameter(_single(each)) for name, each in layer._parameters.items() if each is not None
        }
        layer._buffers |= {name: _single(each) for name, each in layer._buffers.items() if each is not None}
    return network.eval()


def _single(tensor: torch.Tensor) -> torch.Tensor:
    return torch.ones((), dtype=tensor.dtype).expand(tensor.shape)


def of_2017(state: Tensors) -> Tensors:
    """Name tensors as in 2017: DataParallel, a wrapper's attribute, ``norm.1``, a Sequential head, no counters."""
    named = OrderedDict()
    for name, tensor in state.items():
        if not name.endswith("num_batches_tracked"):
            old = re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name)
            named[f"module.densenet121.{old.replace('classifier.', 'classifier.0.')}"] = tensor
    return named


def with_sigmoid(network: DenseNet) -> DenseNet:
    """Put the head there that most authors trained: a linear layer and a sigmoid."""
    network.classifier = nn.Sequential(network.classifier, nn.Sigmoid())
    return network


class OldBackend:
    """What every layer of torch before 1.4 carried; it is pickled as a call of torch's own, long empty, function."""

    def __reduce__(self) -> tuple[object, tuple[()]]:
        from torch.nn.backends.thnn import _get_thnn_function_backend

        return _get_thnn_function_backend, ()


def aged(network: DenseNet) -> DenseNet:
    """Make a network look as one pickled by torch 0.4: old layer names, old marks, newer attributes missing."""
    for layer in network.modules():
        for name in ("norm1", "relu1", "conv1", "norm2", "relu2", "conv2"):
            if isinstance(layer, _DenseLayer) and name in layer._modules:
                layer._modules[f"{name[:-1]}.{name[-1]}"] = layer._modules.pop(name)
        if isinstance(layer, nn.BatchNorm2d):
            del layer._buffers["num_batches_tracked"]
        for attribute in ("_non_persistent_buffers_set", "_is_full_backward_hook", "padding_mode"):
            layer.__dict__.pop(attribute, None)
        layer.__dict__["_backend"] = OldBackend()
    return network


@contextmanager
def as_torchxrayvision() -> Iterator[None]:
    """Let the layer classes call themselves torchxrayvision's while they are pickled; the library is not installed."""
    package, models = ModuleType("torchxrayvision"), ModuleType("torchxrayvision.models")
    owner = DenseNet.__module__
    sys.modules |= {"torchxrayvision": package, "torchxrayvision.models": models}
    try:
        for layer_class in LAYER_CLASSES:
            setattr(models, layer_class.__name__, layer_class)
            layer_class.__module__ = "torchxrayvision.models"
        yield
    finally:
        for layer_class in LAYER_CLASSES:
            layer_class.__module__ = owner
        del sys.modules["torchxrayvision"], sys.modules["torchxrayvision.models"]


def save(content: object, path: Path, *, legacy: bool) -> Path:
    """Save as ``torch.save`` does, in the container from before torch 1.6 or today's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a class's source text cannot be kept
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def saved_on_a_gpu(path: Path) -> Path:
    """Rename the storages in a legacy file to what torch wrote on a GPU, as all the published ones are."""
    content = path.read_bytes()
    content = content.replace(b"ctorch\nFloatStorage\n", b"ctorch.cuda\nFloatStorage\n")
    path.write_bytes(content.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"))
    return path
