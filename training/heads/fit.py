"""Training of a head: Adam, a learning rate that falls on a plateau, the epoch with the lowest validation loss.

Nothing random has a state (the order of rows comes from seed and epoch), so the checkpoint written after every epoch
continues bit by bit.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.fitting.checkpoint import load_checkpoint, save_checkpoint
from training.fitting.losses import FindingLoss
from training.heads.errors import HeadDivergedError
from training.heads.perceptron import Perceptron, logits_of
from training.heads.recipe import HeadChoices
from training.heads.split import TRAINING, VALIDATION
from training.heads.table import HeadTable

_SMALLEST_DEVIATION = 1e-6


@dataclass(frozen=True)
class FittedHead:
    """What training leaves."""

    initial: Perceptron
    """Before the first step."""
    best: Perceptron
    """After the epoch with the lowest validation loss."""
    best_epoch: int
    """Counted from 1; 0 = no epoch was better than the start."""
    history: list[dict[str, float]]
    """By epoch, the start first (epoch 0): ``epoch``, ``training_loss``, ``validation_loss``, ``learning_rate``."""

    @property
    def best_validation_loss(self) -> float:
        """Return the lowest validation loss."""
        return self.history[self.best_epoch]["validation_loss"]


def fit_head(
    table: HeadTable,
    choices: HeadChoices,
    seed: int,
    report: Callable[[dict[str, float]], None],
    checkpoint: Path | None = None,
    fingerprint: str = "",
) -> FittedHead:
    """Train a head on the training part of a table.

    Parameters
    ----------
    report
        Called with the history's entry of every finished epoch.
    checkpoint
        File that holds the state after every epoch and is continued from; None: none.
    fingerprint
        Hash of everything the result depends on; a checkpoint of another is refused.

    Raises
    ------
    CheckpointError
        The checkpoint belongs to another run.
    HeadDivergedError
        A loss is not a number; what was trained before stays in the checkpoint.
    """
    with _one_thread():
        return _fitted(HeadTrainer(table, choices, seed), report, checkpoint, fingerprint)


def _fitted(
    trainer: HeadTrainer, report: Callable[[dict[str, float]], None], checkpoint: Path | None, fingerprint: str
) -> FittedHead:
    saved = load_checkpoint(checkpoint, fingerprint) if checkpoint is not None else None
    if saved is not None:
        trainer.restore(saved)
    while trainer.epochs_done < trainer.choices.epochs:
        trainer.run_epoch()
        if not all(map(math.isfinite, trainer.history[-1].values())):
            raise HeadDivergedError(trainer.epochs_done)
        if checkpoint is not None:
            save_checkpoint(checkpoint, {"fingerprint": fingerprint, **trainer.state()})
        report(trainer.history[-1])
    best = copy.deepcopy(trainer.head)
    best.load_state_dict(trainer.best)
    return FittedHead(trainer.initial, best.eval(), trainer.best_epoch, trainer.history)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: faster for batches of ten, and the same bits whatever the machine's cores."""
    earlier = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(earlier)


class HeadTrainer:
    """The state of a run and the steps that change it."""

    def __init__(self, table: HeadTable, choices: HeadChoices, seed: int) -> None:
        self.table, self.choices, self.seed = table, choices, seed
        self.training, self.validation = table.rows(TRAINING), table.rows(VALIDATION)
        torch.manual_seed(seed)
        self.head = Perceptron(table.inputs.shape[1], choices.hidden, standardised=choices.standardise)
        if choices.standardise:
            self._measure_columns()
        self.initial = copy.deepcopy(self.head).eval()
        targets = torch.from_numpy(np.array(table.targets[self.training]))
        everything = torch.ones(targets.shape[1], dtype=torch.bool)
        self.loss = FindingLoss(choices.loss, everything, targets.sum(0), len(targets))
        self.optimiser = torch.optim.Adam(
            self.head.parameters(),
            lr=choices.learning_rate,
            betas=choices.betas,
            eps=choices.epsilon,
            weight_decay=choices.weight_decay,
            fused=True,
        )
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimiser, factor=choices.plateau_factor, patience=choices.plateau_patience
        )
        self.best, self.best_epoch = self._weights(), 0
        self.history: list[dict[str, float]] = []
        self._note(self._loss_on(self.training))

    @property
    def epochs_done(self) -> int:
        """Return the finished epochs."""
        return len(self.history) - 1

    def run_epoch(self) -> None:
        """Pass over the training part once, validate, and let the learning rate fall where it must."""
        order = np.random.default_rng([self.seed, 9, self.epochs_done]).permutation(self.training)
        total = 0.0
        for start in range(0, len(order), self.choices.batch_size):
            rows = order[start : start + self.choices.batch_size]
            total += self._step(rows) * len(rows)
        self._note(total / len(order))
        validation_loss = self.history[-1]["validation_loss"]
        if validation_loss < self.history[self.best_epoch]["validation_loss"]:
            self.best, self.best_epoch = self._weights(), self.epochs_done
        self.plateau.step(validation_loss)

    def state(self) -> dict[str, Any]:
        """Return tensors and plain values from which ``restore`` continues."""
        return {
            "head": self.head.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "plateau": self.plateau.state_dict(),
            "best": self.best,
            "best_epoch": self.best_epoch,
            "history": self.history,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Continue where ``state`` was taken."""
        self.head.load_state_dict(saved["head"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.plateau.load_state_dict(saved["plateau"])
        self.best, self.best_epoch, self.history = saved["best"], saved["best_epoch"], saved["history"]

    def _step(self, rows: NDArray[np.int64]) -> float:
        loss = self.loss(self.head(self._inputs(rows)), self._targets(rows))
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimiser.step()
        return float(loss.detach())

    def _loss_on(self, rows: NDArray[np.int64]) -> float:
        logits = torch.from_numpy(logits_of(self.head, self.table.inputs[rows]))
        return float(self.loss(logits, self._targets(rows)))

    def _note(self, training_loss: float) -> None:
        self.history.append(
            {
                "epoch": len(self.history),
                "training_loss": training_loss,
                "validation_loss": self._loss_on(self.validation),
                "learning_rate": float(self.optimiser.param_groups[0]["lr"]),
            }
        )

    def _measure_columns(self) -> None:
        inputs = np.array(self.table.inputs[self.training], dtype=np.float64)
        deviation = np.maximum(inputs.std(0), _SMALLEST_DEVIATION)
        self.head.mean.copy_(torch.from_numpy(inputs.mean(0)))
        self.head.deviation.copy_(torch.from_numpy(deviation))

    def _inputs(self, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.table.inputs[rows])

    def _targets(self, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.table.targets[rows])

    def _weights(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.head.state_dict().items()}
