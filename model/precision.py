"""The arithmetic a network is served in, and the trial that bfloat16 must pass before it is.

bfloat16 keeps 8 of float32's 24 bits of precision and takes half the time on processors that have it. What it does to
probabilities depends on the weights, so every bundle is tried on pictures with labels (`python -m training precision`),
and the figures stand in the bundle.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Precision = Literal["fp32", "bf16"]

FEWEST_PICTURES = 200
MOST_DIFFERENCE = 0.01
"""Of any probability of any picture, 0..1: a percent, the finest step that reports and pages show."""
MOST_AUROC_DIFFERENCE = 0.005
"""Of any finding, 0..1: a fifth of the width of a 95 % interval on ChestX-ray14's whole test list."""
MOST_CROSSINGS = 0.002
"""Share of decisions at the operating points that come out otherwise, 0..1."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class PrecisionTrial:
    """How far bfloat16 is from float32 with one bundle's weights, calibration and operating points."""

    pictures: Annotated[int, Field(gt=0)]
    part: Annotated[str, Field(min_length=1)]
    """Which pictures, in words."""
    processor: Annotated[str, Field(min_length=1)]
    largest_difference: Annotated[float, Field(ge=0, le=1)]
    """|bf16 - fp32| of a calibrated probability, over all pictures and findings."""
    largest_auroc_difference: Annotated[float, Field(ge=0, le=1)]
    """|bf16 - fp32| of a finding's AUROC, over the findings of which there are both classes."""
    crossings: Annotated[int, Field(ge=0)]
    """Decisions, flagged or not, that come out otherwise."""
    decisions: Annotated[int, Field(gt=0)]
    """Pictures times findings that can flag."""

    @property
    def obstacle(self) -> str:
        """Say in words why bfloat16 may not be served; empty where it may."""
        if self.pictures < FEWEST_PICTURES:
            return f"it was tried on {self.pictures} pictures, fewer than {FEWEST_PICTURES}"
        if self.largest_difference > MOST_DIFFERENCE:
            return f"it moves a probability by {self.largest_difference:.4f}, more than {MOST_DIFFERENCE}"
        if self.largest_auroc_difference > MOST_AUROC_DIFFERENCE:
            return f"it moves an AUROC by {self.largest_auroc_difference:.4f}, more than {MOST_AUROC_DIFFERENCE}"
        if self.crossings > MOST_CROSSINGS * self.decisions:
            return f"{self.crossings} of {self.decisions} decisions come out otherwise, more than {MOST_CROSSINGS:.1%}"
        return ""
