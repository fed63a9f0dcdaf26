"""One optimiser step's gradients: which pictures, how they are changed, what they cost.

Nothing here has a state: the pictures come from (seed, epoch, step), augmentation and dropout from (seed, step, rank).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.densenet import DenseNet121Cam
from training.data.augment import box_shares, jitter, normalised, random_matrices, source_size_px, warp
from training.data.batches import batch_rows, box_batch
from training.fitting.losses import FindingLoss, place_loss
from training.fitting.pixels import Pixels
from training.fitting.plan import TrainingPlan
from training.fitting.schedule import Epoch
from training.networks.build import ChestNetwork
from training.parallel import Team
from training.recipe import Recipe

_AUGMENTATION, _DROPOUT = 3, 4  # keep the streams of random numbers of one seed apart


class Gradients:
    """Adds up the gradients of a step in the network's parameters."""

    def __init__(self, plan: TrainingPlan, network: ChestNetwork, team: Team, device: torch.device) -> None:
        self.plan, self.network, self.team, self.device = plan, network, team, device
        self.recipe = plan.recipe
        self.pixels = Pixels(plan.cache, plan.training.names, device)
        self.targets = torch.from_numpy(plan.training.targets).to(device)
        facts = plan.training.metadata
        self.metadata = None if facts is None else torch.from_numpy(facts).to(device)
        trained = torch.tensor(plan.trained, device=device)
        self.finding_loss = FindingLoss(self.recipe.loss, trained, self.targets.sum(0), len(self.targets))
        self.bf16 = uses_bf16(self.recipe, device)

    def of_step(self, epoch: Epoch, step: int, steps_done: int) -> Tensor:
        """Compute the gradients of this process's share of a batch; return the losses (finding, place), float32 [2].

        Parameters
        ----------
        step
            Within the epoch.
        steps_done
            Since the start of the run.
        """
        seed, rank = self.recipe.seed, self.team.rank
        rows = batch_rows(self.plan.training, epoch.stage.batch_size, seed, epoch.number, step, self.team)
        generator = torch.Generator().manual_seed(mixed_seed(seed, _AUGMENTATION, steps_done, rank))
        torch.manual_seed(mixed_seed(seed, _DROPOUT, steps_done, rank))
        pieces = self.recipe.accumulation_steps
        losses = torch.zeros(2, device=self.device)
        for piece in np.array_split(rows, pieces):
            finding, place = self._losses(piece, epoch.stage.size_px, generator)
            torch.autograd.backward((finding + self.recipe.box_weight * place) / pieces)
            losses += torch.stack([finding.detach(), place.detach()]) / pieces
        return losses

    def _losses(self, rows: NDArray[np.int64], size_px: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        choices = self.recipe.augmentation
        matrices = random_matrices(len(rows), choices, generator).to(self.device)
        pictures = warp(self.pixels.take(rows), matrices, size_px, source_size_px(size_px, choices))
        levels = jitter(pictures, choices, generator)
        beside = () if self.metadata is None else (self.metadata[rows],)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            logits, maps = self.network(normalised(levels).contiguous(memory_format=torch.channels_last), *beside)
            if isinstance(self.network, DenseNet121Cam):
                # The same but for rounding. This order of sums is the one the demonstration model was trained in.
                logits = maps.mean((2, 3)) + self.network.classifier.bias
        finding = self.finding_loss(logits.float(), self.targets[rows])
        if self.recipe.box_weight == 0:
            return finding, finding.detach() * 0
        boxes = box_batch(self.plan.training, rows, self.plan.trained).to(self.device)
        shares = box_shares(boxes, matrices, maps.shape[-1])
        return finding, place_loss(maps.float(), boxes, shares, self.recipe.box_sharpness)


def uses_bf16(recipe: Recipe, device: torch.device) -> bool:
    """Return whether training steps on this device are in bfloat16."""
    return recipe.precision == "bf16" or (recipe.precision == "auto" and _computes_bf16(device))


def _computes_bf16(device: torch.device) -> bool:
    """Return whether the device has bfloat16 arithmetic; a processor without it takes several times as long over it."""
    if device.type == "cuda":
        return True
    has: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch cannot tell
    return any(has.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # x86, x86, ARM


def mixed_seed(seed: int, stream: int, step: int, rank: int) -> int:
    """Return the seed of one process's random numbers of one step, 0 to 2**63 - 1."""
    return int(np.random.SeedSequence([seed, stream, step, rank]).generate_state(1, np.uint64)[0] >> 1)
