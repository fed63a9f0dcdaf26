"""How fast each part of a training step is on this machine, and which one the others wait for.

The parts are the very ones that training uses: pictures from the cache to the device, random changes, the network's
step in each arithmetic and memory layout, and a whole step as the recipe runs it.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
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
        self.network = initial_network(self.recipe, None, targets.mean(0)).to(self.device)
        self.gradients = Gradients(self.plan, self.network, ALONE, self.device)
        self.optimiser = build_optimiser(self.network, self.recipe)
        self.network.train()

    def report(self) -> BenchReport:
        """Measure every part in turn."""
        rows = np.random.default_rng(2).integers(0, len(self.plan.training.names), self.stage.batch_size)
        loader = self._timed(lambda: self.gradients.pixels.take(rows))
        pictures = self.gradients.pixels.take(rows)
        augmentation = self._timed(lambda: self._changed(pictures))
        changed, targets = self._changed(pictures), self.gradients.targets[rows]
        steps = {
            f"{precision} {layout}": self._step_speed(changed, targets, bf16=bf16, memory_format=memory_format)
            for layout, memory_format in _FORMATS.items()
            for precision, bf16 in _PRECISIONS.items()
        }
        self.network.to(memory_format=torch.channels_last)
        whole = self._timed(self._whole_step)
        bf16 = uses_bf16(self.recipe, self.device)
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
            whole,
            f"{'bf16' if bf16 else 'fp32'} channels_last",
            torch.cuda.max_memory_allocated(self.device) if cuda else 0,
        )

    def _changed(self, pictures: Tensor) -> Tensor:
        choices, size_px = self.recipe.augmentation, self.stage.size_px
        generator = torch.Generator().manual_seed(3)
        matrices = random_matrices(len(pictures), choices, generator).to(self.device)
        levels = jitter(warp(pictures, matrices, size_px, source_size_px(size_px, choices)), choices, generator)
        return normalised(levels)

    def _step_speed(
        self, changed: Tensor, targets: Tensor, *, bf16: bool, memory_format: torch.memory_format
    ) -> PartSpeed:
        self.network.to(memory_format=memory_format)
        inputs = changed.contiguous(memory_format=memory_format)
        facts = self.gradients.metadata
        beside = () if facts is None else (facts[: len(inputs)],)

        def step() -> None:
            self.optimiser.zero_grad(set_to_none=True)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
                logits, _ = self.network(inputs, *beside)
            torch.autograd.backward(self.gradients.finding_loss(logits.float(), targets))
            self.optimiser.step()

        return self._timed(step)

    def _whole_step(self) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        epoch = plan_epochs(self.recipe, len(self.plan.training.names))[0]
        self.gradients.of_step(epoch, 0, 0)
        self.optimiser.step()

    def _timed(self, work: Callable[[], object]) -> PartSpeed:
        """Return the median time of some work, the first time (allocation, choice of kernels) left out."""
        work()
        self._wait()
        seconds: list[float] = []
        while len(seconds) < FEWEST_REPETITIONS or sum(seconds) < self.seconds:
            started = time.perf_counter()
            work()
            self._wait()
            seconds.append(time.perf_counter() - started)
        median = statistics.median(seconds)
        return PartSpeed(median, len(seconds), self.stage.batch_size / median)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@contextmanager
def noise_cache(size_px: int, pictures: int) -> Iterator[Path]:
    """Make a cache of noise for the time of a measurement: uint8 pictures of size_px x size_px."""
    rng = np.random.default_rng(4)
    with tempfile.TemporaryDirectory(prefix="training-bench-") as parent:
        folder = Path(parent, "cache")
        folder.mkdir()
        names = tuple(f"noise{number}.png" for number in range(pictures))
        with closing(UnfinishedCache(folder, cache_settings(size_px, dicom=False), names)) as cache:
            for row in range(pictures):
                pixels = rng.integers(0, 256, (size_px, size_px), dtype=np.uint8)
                record = np.zeros((), RECORD)
                record["done"], record["pixels_crc32"] = 1, zlib.crc32(pixels.data)
                cache.write(row, pixels, record)
            cache.finish({})
        yield folder
