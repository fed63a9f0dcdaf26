"""What a training process is handed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from training.data.batches import Examples
from training.networks.build import GREY_LEVELS
from training.networks.inputs import Levels
from training.recipe import Recipe


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
    """Which of the K outputs are trained."""
    init_file: Path | None = None
    levels: Levels = GREY_LEVELS
    """Mean and deviation of the training part's grey levels, where the recipe normalises by them."""

    @property
    def checkpoint(self) -> Path:
        """Return the file that holds the state of the run, and at its end the chosen weights."""
        return self.out / "checkpoint.pt"
