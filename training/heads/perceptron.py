"""The head: a multilayer perceptron from a row of features to 14 logits, and its file.

Notation: N rows, C columns (2,050 = 2,048 features, age, sex).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from model.labels import LABELS
from training.data.cache_index import write_whole
from training.heads.errors import HeadError

_FACTS = "head"
"""Key of the file's metadata."""
_ROWS_AT_A_TIME = 8192


class Perceptron(nn.Module):
    """Linear layers with ReLU between them; ``sigmoid`` of the 14 outputs is what the head says.

    Parameters
    ----------
    columns
        C.
    hidden
        Widths between C and 14; empty = logistic regression.
    standardised
        Subtract ``mean`` [C] and divide by ``deviation`` [C] first; both are part of the file.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, columns: int, hidden: tuple[int, ...], *, standardised: bool = False) -> None:
        super().__init__()
        widths = (columns, *hidden, len(LABELS))
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        self.standardised = standardised
        if standardised:
            self.register_buffer("mean", torch.zeros(columns))
            self.register_buffer("deviation", torch.ones(columns))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits float32 [N, 14] of float32 [N, C]."""
        if self.standardised:
            inputs = (inputs - self.mean) / self.deviation
        logits: Tensor = self.layers(inputs)
        return logits

    @property
    def parameter_count(self) -> int:
        """Return how many weights training changes."""
        return sum(parameter.numel() for parameter in self.parameters())


def logits_of(head: Perceptron, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32 [N, 14] of float32 [N, C]."""
    logits = [np.zeros((0, len(LABELS)), np.float32)]
    with torch.inference_mode():
        for start in range(0, len(inputs), _ROWS_AT_A_TIME):
            rows = np.array(inputs[start : start + _ROWS_AT_A_TIME])
            logits.append(head(torch.from_numpy(rows)).numpy())
    return np.concatenate(logits)


def write_head(path: Path, head: Perceptron, facts: Mapping[str, Any]) -> None:
    """Write the weights in float32 with plain facts about them, whole or not at all.

    Raises
    ------
    OSError
        The disk is full or the folder is not writable.
    """
    widths = [module.out_features for module in head.layers if isinstance(module, nn.Linear)]
    shape = {"columns": head.layers[0].in_features, "hidden": widths[:-1], "standardised": head.standardised}
    # One key, since safetensors writes several in an order that changes from run to run.
    metadata = {_FACTS: json.dumps({**facts, **shape, "labels": LABELS})}
    tensors = {name: tensor.contiguous() for name, tensor in head.state_dict().items()}
    write_whole(save(tensors, metadata), path)


def read_head(path: Path) -> tuple[Perceptron, dict[str, Any]]:
    """Return a head in evaluation mode and the facts written with it.

    Raises
    ------
    HeadError
        The file is missing, or no head with these labels.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            facts: dict[str, Any] = json.loads((opened.metadata() or {})[_FACTS])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
        head = Perceptron(facts["columns"], tuple(facts["hidden"]), standardised=facts["standardised"])
        head.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise HeadError(f"{path} is not a head made by `python -m training head` ({error})") from error
    if tuple(facts["labels"]) != LABELS:
        raise HeadError(f"{path} has other findings than {', '.join(LABELS)}")
    return head.eval(), facts
