"""The ``[data]`` table of a recipe: which rows, which labels, cut into which parts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from model.labels import LABELS
from training.recipe_tables import Table


class Data(Table):
    """Which pictures and labels a run uses. The defaults are the official split and all fourteen findings."""

    release: Literal["newest", "v2020", "2017"] = "newest"
    """Release of the labels; ``newest`` is v2020 where the folder has it. 181 rows differ."""
    labels: tuple[str, ...] = ()
    """Findings to train, in the order of the outputs; none named = all fourteen."""
    fewest_cases: int = Field(default=0, ge=0)
    """Findings with fewer cases than this among the pictures are dropped."""
    no_finding: bool = False
    """Add "No Finding" as the last output."""
    youngest_years: int = Field(default=0, ge=0)
    """Younger patients' pictures are left out."""
    oldest_years: int = Field(default=0, ge=0)
    """Older patients' pictures are left out (ages up to 414 stand in the first release); 0 = no limit."""
    split: Literal["official", "community", "patient-random", "image-random"] = "official"
    """``official``: the NIH's train_val and test lists, validation cut from train_val by patient. ``community``: the
    lists in ``lists_folder``. ``patient-random``: whole patients at random. ``image-random``: single pictures at
    random, as some sources did; LEAKY, since a patient's pictures are then in several parts, and marked so."""
    shares: tuple[float, float, float] = (0.7, 0.1, 0.2)
    """Training, validation and test, for the random splits."""
    lists_folder: str = "labels"
    """Folder below the data with train_list.txt, val_list.txt and test_list.txt (the name first in each line)."""
    sampling: Literal["uniform", "findings"] = "uniform"
    """``findings``: a picture is drawn with weight ``sampling_base`` + its number of findings, into the subset, or
    without one into every epoch (with replacement)."""
    sampling_base: float = Field(default=0.1, gt=0)
    """Weight of a picture without findings."""
    subset: int = Field(default=0, ge=0)
    """Pictures drawn from the whole before it is split; 0 = all."""

    @model_validator(mode="after")
    def _fits(self) -> Data:
        unknown = [label for label in self.labels if label not in LABELS]
        if unknown:
            raise ValueError(f"labels holds {unknown[0]!r}; known: {', '.join(LABELS)}")
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("labels holds a finding twice")
        if abs(sum(self.shares) - 1) > 1e-6 or min(self.shares) <= 0:
            raise ValueError("shares must be three numbers above 0 that sum to 1")
        if 0 < self.oldest_years < self.youngest_years:
            raise ValueError("oldest_years is below youngest_years")
        return self
