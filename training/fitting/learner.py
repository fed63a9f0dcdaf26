"""A network and what changes it: gradients, optimiser, and the averaged weights that follow behind."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from training.fitting.gradients import Gradients
from training.fitting.initial import initial_network
from training.fitting.optimiser import build_optimiser
from training.fitting.plan import TrainingPlan
from training.fitting.schedule import Epoch
from training.parallel import Team, training_device

_STEPS_BETWEEN_STOPS = 16
"""A GPU in a team asks the others whether to stop this often only: the answer has to be waited for."""


class Learner:
    """One process's copy of the network; all of a team hold the same.

    Parameters
    ----------
    plan
        Says where the weights start and what is learnt.
    team
        Those that share every batch.
    """

    def __init__(self, plan: TrainingPlan, team: Team) -> None:
        self.team, self.recipe, self.device = team, plan.recipe, training_device()
        _choose_algorithms(deterministic=plan.recipe.deterministic)
        prevalence = plan.training.targets.mean(0)
        network = initial_network(plan.recipe, plan.init_file, prevalence, plan.training.labels, plan.levels)
        self.network = network.to(self.device)
        self.averaged = copy.deepcopy(self.network)
        self._own, self._kept = _weights_of(self.network), _weights_of(self.averaged)
        self.network.train()
        if self.recipe.network.freeze:
            self.network.features.eval()
        self.optimiser = build_optimiser(self.network, plan.recipe)
        self.gradients = Gradients(plan, self.network, team, self.device)
        self.steps_done = 0

    def learn(self, epoch: Epoch, step: int, learning_rate: float, *, stop_asked: bool) -> tuple[Tensor, bool]:
        """Do one step; return the team's losses (finding, place), float32 [2], and whether all are to stop.

        Parameters
        ----------
        step
            Within the epoch.
        stop_asked
            This process was asked to stop.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.zero_grad(set_to_none=True)
        losses = self.gradients.of_step(epoch, step, self.steps_done)
        stop = torch.tensor([float(stop_asked)], device=self.device)
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        # The wish to stop travels along, so all stop together.
        self.team.average([*gradients, *_batch_statistics(self.network), losses, stop])
        if self.recipe.optimiser.gradient_clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.optimiser.gradient_clip)
        self.optimiser.step()
        self._average_weights()
        self.steps_done += 1
        return losses, self._all_stop(stop, stop_asked=stop_asked)

    def state(self) -> dict[str, Any]:
        """Return tensors and plain values for a checkpoint."""
        return {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "steps_done": self.steps_done,
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        self.network.load_state_dict(saved["network"])
        self.averaged.load_state_dict(saved["averaged"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.steps_done = saved["steps_done"]

    def _all_stop(self, stop: Tensor, *, stop_asked: bool) -> bool:
        if self.team.size == 1:
            return stop_asked
        if self.device.type == "cuda" and self.steps_done % _STEPS_BETWEEN_STOPS:
            return False
        return bool(stop.item() > 0)

    def _average_weights(self) -> None:
        decay = min(self.recipe.ema_decay, (1 + self.steps_done) / (10 + self.steps_done))
        torch._foreach_lerp_(self._kept, self._own, 1 - decay)


def _choose_algorithms(*, deterministic: bool) -> None:
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS' condition for equal bits
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic


def _weights_of(network: torch.nn.Module) -> list[Tensor]:
    """Return the tensors that are averaged: weights and batch statistics, as the network holds them."""
    return [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]


def _batch_statistics(network: torch.nn.Module) -> list[Tensor]:
    """Return the running means and variances, which each process sees its own share of."""
    return [t for name, t in network.named_buffers() if name.endswith(("running_mean", "running_var"))]
