"""The training loop: stages of growing pictures, averaged weights, a checkpoint that continues bit by bit.

Nothing random has a state: the order of pictures comes from (seed, epoch) and the augmentation from (seed, step, rank),
so model, averages, optimiser and position are all that a checkpoint needs.
"""

from __future__ import annotations

import copy
import logging
import signal
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.data.augment import box_shares, jitter, normalised, random_matrices, source_size_px, warp
from training.data.batches import Examples, batch_rows, box_batch
from training.data.cache import open_cache
from training.evaluation.selection import ValidationScore, validation_score
from training.fitting.checkpoint import load_checkpoint, save_checkpoint
from training.fitting.initial import initial_network
from training.fitting.losses import FindingLoss, place_loss
from training.fitting.schedule import Epoch, learning_rate, plan_epochs
from training.fitting.speedometer import Speedometer
from training.parallel import Team, training_device
from training.recipe import Recipe

logger = logging.getLogger(__name__)

_LARGEST_GRADIENT_NORM = 5.0


@dataclass(frozen=True)
class TrainingPlan:
    """All a training process needs; plain values, so that it can be handed to one."""

    recipe: Recipe
    fingerprint: str
    cache: Path
    out: Path
    """Folder of ``checkpoint.pt``."""
    training: Examples
    validation: Examples
    trained: tuple[bool, ...]
    """Which of the 14 findings are trained."""
    init_file: Path | None = None

    @property
    def checkpoint(self) -> Path:
        """Return the file that holds the state of the run, and at its end the chosen weights."""
        return self.out / "checkpoint.pt"


def train_member(plan: TrainingPlan, team: Team) -> bool:
    """Train as one process of a team; return False when asked to stop (the checkpoint is saved)."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    return Trainer(plan, team).run()


class Trainer:
    """The state of a run and the steps that change it."""

    def __init__(self, plan: TrainingPlan, team: Team) -> None:
        self.plan, self.team, self.recipe = plan, team, plan.recipe
        self.cache = open_cache(plan.cache)
        prevalence = plan.training.targets.mean(0)
        self.device = training_device()
        self.network = initial_network(plan.recipe, plan.init_file, prevalence).to(self.device)
        self.averaged = copy.deepcopy(self.network)
        self.optimiser = _optimiser(self.network, plan.recipe.weight_decay)
        self.epochs = plan_epochs(plan.recipe, len(plan.training.names))
        self.finding_loss = _finding_loss(plan, self.device)
        self.bf16 = _uses_bf16(plan.recipe, self.device)
        self.epoch_number, self.step, self.steps_done = 0, 0, 0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {"auroc": -1.0, "epoch": -1, "weights": {}}
        self.stop_asked = False
        self._restore()

    def run(self) -> bool:
        """Train to the end; return False when stopped early. A finished run returns at once."""
        earlier = {number: signal.signal(number, self._ask_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            return self._run()
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)

    def _run(self) -> bool:
        while self.epoch_number < len(self.epochs):
            epoch = self.epochs[self.epoch_number]
            if not self._run_epoch(epoch):
                self._save()
                return False
            self._close_epoch(epoch)
            self._save()
        return True

    def _run_epoch(self, epoch: Epoch) -> bool:
        meter = Speedometer(self.epochs, epoch, self.step, visible=self.team.rank == 0)
        while self.step < epoch.steps:
            losses, stop = self._one_step(epoch)
            self.step += 1
            self.steps_done += 1
            meter.advance(self.step, losses)
            if stop:
                return False
        return True

    def _one_step(self, epoch: Epoch) -> tuple[tuple[float, float], bool]:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(epoch, self.step)
        self.network.train()
        self.optimiser.zero_grad(set_to_none=True)
        finding, place = self._losses(epoch)
        torch.autograd.backward(finding + self.recipe.box_weight * place)
        stop = torch.tensor([float(self.stop_asked)])
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        statistics = [b for b in self.network.buffers() if b.is_floating_point()]
        self.team.average([*gradients, *statistics, stop])  # the wish to stop travels along, so all stop together
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT_NORM)
        self.optimiser.step()
        self._average_weights()
        return (float(finding.detach()), float(place.detach())), bool(stop.item() > 0)

    def _losses(self, epoch: Epoch) -> tuple[Tensor, Tensor]:
        examples, choices = self.plan.training, self.recipe.augmentation
        place = (self.recipe.seed, epoch.number, self.step)
        rows = batch_rows(len(examples.names), epoch.stage.batch_size, *place, self.team)
        generator = torch.Generator().manual_seed(_mixed(self.recipe.seed, self.steps_done, self.team.rank))
        pictures = torch.from_numpy(self.cache.gather(tuple(examples.names[row] for row in rows))).to(self.device)
        matrices = random_matrices(len(rows), choices, generator).to(self.device)
        size_px = epoch.stage.size_px
        levels = jitter(warp(pictures, matrices, size_px, source_size_px(size_px, choices)), choices, generator)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            logits, maps = self.network(normalised(levels).contiguous(memory_format=torch.channels_last))
        targets = torch.from_numpy(examples.targets[rows]).to(self.device)
        finding = self.finding_loss(logits.float(), targets)
        if self.recipe.box_weight == 0:
            return finding, finding.detach() * 0
        boxes = box_batch(examples, rows, self.plan.trained).to(self.device)
        shares = box_shares(boxes, matrices, maps.shape[-1])
        return finding, place_loss(maps.float(), boxes, shares, self.recipe.box_sharpness)

    def _average_weights(self) -> None:
        decay = min(self.recipe.ema_decay, (1 + self.steps_done) / (10 + self.steps_done))
        own = [t for t in self.network.state_dict().values() if t.is_floating_point()]
        kept = [t for t in self.averaged.state_dict().values() if t.is_floating_point()]
        torch._foreach_lerp_(kept, own, 1 - decay)

    def _close_epoch(self, epoch: Epoch) -> None:
        score: ValidationScore = validation_score(
            self.averaged, self.cache, self.plan.validation, epoch.stage.size_px, self.plan.trained, self.team
        )
        if self.team.rank == 0:
            place = (epoch.number + 1, len(self.epochs), epoch.stage.size_px)
            logger.info("epoch %d/%d at %d px: validation %s", *place, score)
        self.history.append({"epoch": epoch.number, "size_px": epoch.stage.size_px, **score.as_dict()})
        if epoch.last_stage and score.mean_auroc > self.best["auroc"]:
            weights = {name: tensor.clone() for name, tensor in self.averaged.state_dict().items()}
            self.best = {"auroc": score.mean_auroc, "epoch": epoch.number, "weights": weights}
        self.epoch_number, self.step = epoch.number + 1, 0

    def _save(self) -> None:
        if self.team.rank != 0:
            return
        save_checkpoint(
            self.plan.checkpoint,
            {
                "fingerprint": self.plan.fingerprint,
                "network": self.network.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "epoch_number": self.epoch_number,
                "step": self.step,
                "steps_done": self.steps_done,
                "history": self.history,
                "best": self.best,
                "finished": self.epoch_number == len(self.epochs),
            },
        )
        logger.info("checkpoint at epoch %d, step %d: %s", self.epoch_number + 1, self.step, self.plan.checkpoint)

    def _restore(self) -> None:
        saved = load_checkpoint(self.plan.checkpoint, self.plan.fingerprint)
        if saved is None:
            return
        self.network.load_state_dict(saved["network"])
        self.averaged.load_state_dict(saved["averaged"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.epoch_number, self.step, self.steps_done = saved["epoch_number"], saved["step"], saved["steps_done"]
        self.history, self.best = saved["history"], saved["best"]

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.stop_asked = True


def _optimiser(network: torch.nn.Module, weight_decay: float) -> torch.optim.AdamW:
    """Decay convolution and linear weights only: decay on norms and biases moves the statistics, not the function."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-3)


def _finding_loss(plan: TrainingPlan, device: torch.device) -> FindingLoss:
    trained = torch.tensor(plan.trained, device=device)
    positives = torch.from_numpy(plan.training.targets.sum(0)).to(device)
    return FindingLoss(plan.recipe.loss, trained, positives, len(plan.training.names))


def _uses_bf16(recipe: Recipe, device: torch.device) -> bool:
    return recipe.precision == "bf16" or (recipe.precision == "auto" and device.type == "cuda")


def _mixed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, 3, step, rank]).generate_state(1, np.uint64)[0] >> 1)
