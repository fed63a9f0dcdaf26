"""The training loop: stages of growing pictures, validation after each epoch, a checkpoint that continues bit by bit.

Nothing random has a state: the order of pictures comes from (seed, epoch), augmentation and dropout from (seed, step,
rank), so network, averages, optimiser, patience and position are all that a checkpoint needs.
"""

from __future__ import annotations

import logging
import math
import signal
import time
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from training.data.cache import open_cache
from training.evaluation.selection import ValidationScore, validation_score
from training.fitting.checkpoint import load_checkpoint, save_checkpoint
from training.fitting.learner import Learner
from training.fitting.patience import Patience, Plateau
from training.fitting.plan import TrainingPlan
from training.fitting.schedule import Epoch, learning_rate, plan_epochs
from training.fitting.speedometer import Speedometer
from training.parallel import Team

logger = logging.getLogger(__name__)

_STEPS_BETWEEN_LOOKS = 50
"""After so many steps the losses are looked at: a GPU has to be waited for then, and an epoch may take hours."""
_SECONDS_BETWEEN_CHECKPOINTS = 600.0
"""A machine that loses its power loses no more than this and the step under way."""


class DivergedError(Exception):
    """The loss is not a number any more; the message says where and what to change."""


class Trainer:
    """The position of a run, what it has found, and the steps that take it on."""

    def __init__(self, plan: TrainingPlan, team: Team) -> None:
        self.plan, self.team, self.recipe = plan, team, plan.recipe
        self.cache = open_cache(plan.cache)
        self.learner = Learner(plan, team)
        self.epochs = plan_epochs(plan.recipe, len(plan.training.names))
        self.epoch_number, self.step = 0, 0
        self.loss_sum = torch.zeros(2, device=self.learner.device)
        self.patience, self.plateau, self.ended_early = Patience(), Plateau(), False
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {"score": -math.inf, "auroc": -1.0, "epoch": -1, "weights": {}}
        self.stop_asked, self.last_saved = False, time.monotonic()
        self._restore()

    @property
    def finished(self) -> bool:
        """Return whether there is nothing left to train."""
        return self.ended_early or self.epoch_number == len(self.epochs)

    def run(self) -> bool:
        """Train to the end; return False when stopped early. A finished run returns at once.

        Raises
        ------
        DivergedError, CheckpointError
        """
        earlier = {number: signal.signal(number, self._ask_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            return self._run()
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)

    def _run(self) -> bool:
        while not self.finished:
            epoch = self.epochs[self.epoch_number]
            if not self._run_epoch(epoch):
                self._save()
                return False
            self._close_epoch(epoch)
            self._save()
        return True

    def _run_epoch(self, epoch: Epoch) -> bool:
        meter = Speedometer(self.epochs, epoch, self.step, visible=self.team.rank == 0)
        try:
            while self.step < epoch.steps:
                rate = learning_rate(epoch, self.step, self.recipe.schedule, self.plateau.share)
                losses, stop = self.learner.learn(epoch, self.step, rate, stop_asked=self.stop_asked)
                self.loss_sum += losses
                self.step += 1
                meter.advance(self.step, losses)
                if stop:
                    return False
                if self.step % _STEPS_BETWEEN_LOOKS == 0:
                    self._insist_on_numbers(self.loss_sum.tolist())
                if time.monotonic() - self.last_saved > _SECONDS_BETWEEN_CHECKPOINTS:
                    self._save()
        finally:
            meter.close()
        return True

    def _close_epoch(self, epoch: Epoch) -> None:
        training_loss: list[float] = (self.loss_sum / epoch.steps).tolist()
        self._insist_on_numbers(training_loss)
        score = self._validated(epoch)
        self._insist_on_numbers([score.loss])  # the last step may have broken the weights, after its own loss was known
        losses = {"training_loss": training_loss[0], "place_loss": training_loss[1]}
        place = {"epoch": epoch.number, "size_px": epoch.stage.size_px}
        self.history.append({**place, **losses, **score.as_dict()})
        self._note(epoch, score)
        self.loss_sum.zero_()
        self.epoch_number, self.step = epoch.number + 1, 0

    def _insist_on_numbers(self, losses: list[float]) -> None:
        if not all(map(math.isfinite, losses)):
            raise DivergedError(
                f"the loss of epoch {self.epoch_number + 1} is not a number; lower the learning rate, or set "
                f"precision = 'fp32'. Then delete {self.plan.checkpoint}, where there is one, or give another --out"
            )

    def _validated(self, epoch: Epoch) -> ValidationScore:
        device, finding_loss = self.learner.device, self.learner.gradients.finding_loss

        def loss(logits: Tensor, targets: Tensor) -> Tensor:
            return finding_loss(logits.to(device), targets.to(device))

        averaged, trained, size_px = self.learner.averaged, self.plan.trained, epoch.stage.size_px
        score = validation_score(averaged, self.cache, self.plan.validation, size_px, trained, loss, self.team)
        if self.team.rank == 0:
            place = (epoch.number + 1, len(self.epochs), size_px)
            logger.info("epoch %d/%d at %d px: validation %s", *place, score)
        return score

    def _note(self, epoch: Epoch, score: ValidationScore) -> None:
        """Keep the epoch's weights if they are the best, and lose patience if they are not."""
        value = score.value(self.recipe.selection)
        schedule = self.recipe.schedule
        self.plateau.note(value)
        if schedule.kind == "plateau" and self.plateau.lower(schedule.plateau_patience, schedule.plateau_factor):
            logger.info("no better for a while: the learning rate is now %.3g of the stage's", self.plateau.share)
        if not epoch.last_stage:
            return
        if value > self.best["score"]:
            weights = {name: tensor.clone() for name, tensor in self.learner.averaged.state_dict().items()}
            self.best = {"score": value, "auroc": score.mean_auroc, "epoch": epoch.number, "weights": weights}
        self.patience.note(value)
        allowed = self.recipe.early_stopping_patience
        if allowed and self.patience.epochs_without >= allowed:
            logger.info("no better for %d epochs: training ends", allowed)
            self.ended_early = True

    def _save(self) -> None:
        self._insist_on_numbers(self.loss_sum.tolist())
        self.last_saved = time.monotonic()
        if self.team.rank != 0:
            return
        save_checkpoint(self.plan.checkpoint, self._state())
        logger.info("checkpoint after epoch %d, step %d: %s", self.epoch_number, self.step, self.plan.checkpoint)

    def _state(self) -> dict[str, Any]:
        return {
            **self.learner.state(),
            "fingerprint": self.plan.fingerprint,
            "epoch_number": self.epoch_number,
            "step": self.step,
            "loss_sum": self.loss_sum,
            "patience": self.patience.state(),
            "plateau": self.plateau.state(),
            "history": self.history,
            "best": self.best,
            "ended_early": self.ended_early,
            "finished": self.finished,
        }

    def _restore(self) -> None:
        saved = load_checkpoint(self.plan.checkpoint, self.plan.fingerprint)
        if saved is None:
            return
        self.learner.restore(saved)
        self.epoch_number, self.step = saved["epoch_number"], saved["step"]
        self.loss_sum.copy_(saved["loss_sum"])
        self.patience, self.plateau = Patience(**saved["patience"]), Plateau(**saved["plateau"])
        self.history, self.best, self.ended_early = saved["history"], saved["best"], saved["ended_early"]

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.stop_asked = True
