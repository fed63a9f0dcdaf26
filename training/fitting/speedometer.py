"""Progress of training: images a second, time left, running losses; a live bar on a terminal, lines in a log."""

from __future__ import annotations

import logging
import time

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from torch import Tensor

from training.fitting.schedule import Epoch

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 30.0
_SECONDS_BETWEEN_UPDATES = 0.5
_SMOOTHING = 0.95


class Speedometer:
    """Progress within one epoch, and the time left for all of them."""

    def __init__(self, epochs: list[Epoch], epoch: Epoch, first_step: int, *, visible: bool) -> None:
        self.epochs, self.epoch, self.visible = epochs, epoch, visible
        self.first_step, self.started = first_step, time.monotonic()
        self.last_line = self.started
        self.losses: Tensor | None = None
        self.bar: Progress | None = None
        console = Console(stderr=True)
        if visible and console.is_terminal:
            self.bar = Progress(TextColumn("{task.description}"), BarColumn(), console=console)
            self.bar.add_task("", total=epoch.steps, completed=first_step)
            self.bar.start()

    def advance(self, step: int, losses: Tensor) -> None:
        """Note that ``step`` steps of the epoch are done, the last with these losses.

        Parameters
        ----------
        losses
            float32 [2], finding and place, on any device: it is read when a line is due only, so that a GPU need not
            be waited for after every step.
        """
        if not self.visible:
            return
        self.losses = losses if self.losses is None else torch.lerp(losses, self.losses, _SMOOTHING)
        now = time.monotonic()
        last = step == self.epoch.steps
        if self.bar is not None and (last or now - self.last_line > _SECONDS_BETWEEN_UPDATES):
            self.last_line = now
            self.bar.update(self.bar.task_ids[0], completed=step, description=self._line(step, now))
        elif self.bar is None and (last or now - self.last_line > _SECONDS_BETWEEN_LINES):
            self.last_line = now
            logger.info("%s", self._line(step, now))

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self.bar is not None:
            self.bar.stop()

    def _line(self, step: int, now: float) -> str:
        rate = (step - self.first_step) * self.epoch.stage.batch_size / max(now - self.started, 1e-6)
        finding, place = (0.0, 0.0) if self.losses is None else self.losses.tolist()
        return (
            f"epoch {self.epoch.number + 1}/{len(self.epochs)} at {self.epoch.stage.size_px} px, step {step}/"
            f"{self.epoch.steps}, {rate:.1f} img/s, about {self._minutes_left(step, rate):.0f} min left, "
            f"loss {finding:.3f} + place {place:.3f}"
        )

    def _minutes_left(self, step: int, rate: float) -> float:
        """Estimate from this epoch's rate; the work of a picture grows with its area."""
        area = self.epoch.stage.size_px**2
        pictures = (self.epoch.steps - step) * self.epoch.stage.batch_size * 1.0
        for later in self.epochs[self.epoch.number + 1 :]:
            pictures += later.steps * later.stage.batch_size * later.stage.size_px**2 / area
        return pictures / max(rate, 1e-6) / 60
