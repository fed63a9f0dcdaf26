"""How fast each part of a training step is on this machine, and which one the others wait for.

The parts are the very ones that training uses: pictures from the cache to the device, random changes, the network's
step in each arithmetic and memory layout, and a whole step as the recipe runs it.
"""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.labels import LABELS
from training.data.augment import jitter, normalised, random_matrices, source_size_px, warp
from training.data.batches import ALONE, Examples
from training.data.cache import open_cache
from training.data.cache_index import RECORD, cache_settings
from training.data.unfinished_cache import UnfinishedCache
from training.fitting.gradients import Gradients, uses_bf16
from training.fitting.initial import initial_network
from training.fitting.optimiser import build_optimiser
from training.fitting.plan import TrainingPlan
from training.fitting.schedule import plan_epochs
from training.networks.build import ChestNetwork
from training.parallel import training_device
from training.recipe import Recipe

FEWEST_REPETITIONS = 3
_PREVALENCE = 0.05
_FORMATS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
_PRECISIONS = {"fp32": False, "bf16": True}


@dataclass(frozen=True)
class PartSpeed:
    """One part of a step, for a whole batch."""

    seconds: float
    """Median."""
    repetitions: int
    images_per_second: float


@dataclass(frozen=True)
class BenchReport:
    """What was measured."""

    device: str
    threads: int
    """Of torch, on a CPU."""
    architecture: str
    size_px: int
    batch_size: int
    resident: bool
    """The pictures are kept on the GPU."""
    loader: PartSpeed
    augmentation: PartSpeed
    steps: dict[str, PartSpeed]
    """Forward, backward and optimiser, by arithmetic and layout, such as ``bf16 channels_last``."""
    whole: PartSpeed
    """Everything, as the recipe runs it."""
    recipe_step: str
    """Which of ``steps`` the recipe runs here."""
    peak_gpu_bytes: int

    @property
    def input_share(self) -> float:
        """Return loading and changing pictures as a share of the network's step; above 1 they are the limit."""
        return (self.loader.seconds + self.augmentation.seconds) / self.steps[self.recipe_step].seconds

    @property
    def limiting(self) -> str:
        """Return the part that takes longest: ``loader``, ``augmentation`` or ``step``."""
        parts = {"loader": self.loader, "augmentation": self.augmentation, "step": self.steps[self.recipe_step]}
        return max(parts, key=lambda part: parts[part].seconds)


class Bench:
    """The parts of one recipe's step, ready to be timed.

    Parameters
    ----------
    recipe
        Its last stage is measured, from random weights.
    cache
        Folder of a finished picture cache; the labels are drawn.
    seconds
        For each part, at least; and never fewer than three repetitions.
    """

    def __init__(self, recipe: Recipe, cache: Path, seconds: float) -> None:
        self.recipe = recipe.model_copy(update={"stages": recipe.stages[-1:], "init": "random"})
        self.stage, self.seconds, self.device = self.recipe.stages[0], seconds, training_device()
        names = tuple(open_cache(cache).rows)
        targets = (np.random.default_rng(1).random((len(names), len(LABELS))) < _PREVALENCE).astype(np.float32)
        facts = len(recipe.network.metadata)
        examples = Examples(
            names, targets, ((),) * len(names), metadata=np.zeros((len(names), facts), np.float32) if facts else None
        )
        trained = (True,) * len(LABELS)
        self.plan = TrainingPlan(self.recipe, "", cache, cache.parent, examples, examples, trained)
        self.network = initial_network(self.recipe, None, targets.mean(0)).to(self.device).train()
        self.gradients = Gradients(self.plan, self.network, ALONE, self.device)
        self.rows = np.random.default_rng(2).integers(0, len(names), self.stage.batch_size)

    @property
    def recipe_step(self) -> str:
        """Return which of the steps the recipe runs here."""
        return f"{'bf16' if uses_bf16(self.recipe, self.device) else 'fp32'} channels_last"

    def steps(self) -> dict[str, Callable[[], object]]:
        """Return forward, backward and optimiser on a batch that is there already, by arithmetic and layout."""
        changed, targets = self.augmentation(), self.gradients.targets[self.rows]
        steps: dict[str, Callable[[], object]] = {}
        for layout, memory_format in _FORMATS.items():
            network = copy.deepcopy(self.network).to(memory_format=memory_format)
            inputs = changed.contiguous(memory_format=memory_format)
            for precision, bf16 in _PRECISIONS.items():
                steps[f"{precision} {layout}"] = self._step(network, inputs, targets, bf16=bf16)
        return steps

    def loader(self) -> Tensor:
        """Return a batch of pictures on the device, uint8 [N, S, S]."""
        return self.gradients.pixels.take(self.rows)

    def augmentation(self) -> Tensor:
        """Return a batch as the network is handed it, float32 [N, 1, s, s]; the loader is not in it."""
        choices, size_px = self.recipe.augmentation, self.stage.size_px
        generator = torch.Generator().manual_seed(3)
        matrices = random_matrices(len(self.pictures), choices, generator).to(self.device)
        levels = warp(self.pictures, matrices, size_px, source_size_px(size_px, choices))
        return normalised(jitter(levels, choices, generator))

    @cached_property
    def pictures(self) -> Tensor:
        """The batch that is changed and stepped on, uint8 [N, S, S]."""
        return self.loader()

    def whole_step(self) -> Callable[[], object]:
        """Return everything, as the recipe runs it."""
        optimiser = build_optimiser(self.network, self.recipe)
        epoch = plan_epochs(self.recipe, len(self.plan.training.names))[0]

        def step() -> None:
            optimiser.zero_grad(set_to_none=True)
            self.gradients.of_step(epoch, 0, 0)
            optimiser.step()

        return step

    def report(self) -> BenchReport:
        """Measure every part in turn."""
        loader, augmentation = self._timed(self.loader), self._timed(self.augmentation)
        steps = {name: self._timed(step) for name, step in self.steps().items()}
        cuda = self.device.type == "cuda"
        return BenchReport(
            torch.cuda.get_device_name(self.device) if cuda else "CPU",
            torch.get_num_threads(),
            self.recipe.architecture,
            self.stage.size_px,
            self.stage.batch_size,
            self.gradients.pixels.whole is not None,
            loader,
            augmentation,
            steps,
            self._timed(self.whole_step()),
            self.recipe_step,
            torch.cuda.max_memory_allocated(self.device) if cuda else 0,
        )

    def wait(self) -> None:
        """Return when a GPU has done what was asked of it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _step(self, network: ChestNetwork, inputs: Tensor, targets: Tensor, *, bf16: bool) -> Callable[[], object]:
        optimiser, facts = build_optimiser(network, self.recipe), self.gradients.metadata
        beside = () if facts is None else (facts[: len(inputs)],)

        def step() -> None:
            optimiser.zero_grad(set_to_none=True)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
                logits, _ = network(inputs, *beside)
            torch.autograd.backward(self.gradients.finding_loss(logits.float(), targets))
            optimiser.step()

        return step

    def _timed(self, work: Callable[[], object]) -> PartSpeed:
        """Return the median time of some work, the first time (allocation, choice of kernels) left out."""
        work()
        self.wait()
        seconds: list[float] = []
        while len(seconds) < FEWEST_REPETITIONS or sum(seconds) < self.seconds:
            started = time.perf_counter()
            work()
            self.wait()
            seconds.append(time.perf_counter() - started)
        median = statistics.median(seconds)
        return PartSpeed(median, len(seconds), self.stage.batch_size / median)


@contextmanager
def noise_cache(size_px: int, pictures: int) -> Iterator[Path]:
    """Make a cache of noise for the time of a measurement: uint8 pictures of size_px x size_px."""
    rng = np.random.default_rng(4)
    with tempfile.TemporaryDirectory(prefix="training-bench-") as parent:
        folder = Path(parent, "cache")
        folder.mkdir()
        names = tuple(f"noise{number}.png" for number in range(pictures))
        with closing(UnfinishedCache(folder, cache_settings(size_px, dicom=False), names, folder)) as cache:
            for row in range(pictures):
                pixels = rng.integers(0, 256, (size_px, size_px), dtype=np.uint8)
                record = np.zeros((), RECORD)
                record["done"], record["pixels_crc32"] = 1, zlib.crc32(pixels.data)
                cache.write(row, pixels, record)
            cache.finish({})
        yield folder
