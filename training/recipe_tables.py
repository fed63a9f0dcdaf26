"""The tables of a recipe's TOML file: stages, augmentation, loss. ``training.recipe`` holds the keys outside tables."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Table(BaseModel):
    """A table of the TOML file: nothing but its own keys, and nothing changes once it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Stage(Table):
    """A run of epochs at one picture size; later stages see larger pictures (progressive resizing)."""

    size_px: int = Field(ge=32, le=448, multiple_of=32)
    """Side of the network's input in px; a multiple of 32, so that map cells tile the picture exactly."""
    epochs: int = Field(ge=1)
    """Passes over the training part."""
    batch_size: int = Field(ge=2)
    """Images per optimiser step, all processes together."""
    learning_rate: float = Field(gt=0)
    """Peak learning rate of AdamW, reached after the warm-up."""
    final_learning_rate: float = Field(gt=0)
    """Learning rate at the stage's end; the way down is a cosine."""
    warmup_steps: int = Field(default=0, ge=0)
    """Optimiser steps of linear rise to ``learning_rate``."""


class Augmentation(Table):
    """Random changes of a training picture; boxes follow the geometric ones."""

    flip_probability: float = Field(default=0.0, ge=0, le=1)
    """Share of pictures mirrored left to right (destroys laterality)."""
    vertical_flip_probability: float = Field(default=0.0, ge=0, le=1)
    """Share of pictures turned upside down."""
    rotation_degrees: float = Field(default=0.0, ge=0, le=45)
    """Largest rotation either way, in degrees."""
    translate_share: float = Field(default=0.0, ge=0, le=0.5)
    """Largest shift along each axis, as a share of the side."""
    scale_share: float = Field(default=0.0, ge=0, le=0.5)
    """Largest change of size either way; 0.1 = 0.9 to 1.1."""
    shear_degrees: float = Field(default=0.0, ge=0, le=45)
    """Largest slant of the upright lines either way, in degrees."""
    crop_smallest_area: float = Field(default=1.0, gt=0, le=1)
    """Random resized crop: the smallest share of the picture's area that is enlarged to the whole; 1 = no crop."""
    crop_largest_aspect: float = Field(default=4 / 3, ge=1, le=2)
    """Random resized crop: the largest ratio of the crop's sides, either way (torchvision's 4/3)."""
    brightness: float = Field(default=0.0, ge=0, le=0.5)
    """Largest shift of the grey level, as a share of the full range."""
    contrast: float = Field(default=0.0, ge=0, le=0.5)
    """Largest change of contrast either way; 0.1 = 0.9 to 1.1."""


class Loss(Table):
    """What the findings' part of the loss is. P and N: positives and negatives of a finding in the training part."""

    kind: Literal["bce", "focal", "asl", "hinge", "euclidean", "cross-entropy"] = "bce"
    """``bce``: binary cross entropy; ``focal`` (Lin 2017) and ``asl`` (asymmetric, Ridnik 2021) turn down easy cases;
    ``hinge``, ``euclidean`` (squared error of the probability) and ``cross-entropy`` (softmax over the findings) are
    the ones that Wang (2017) compared."""
    weighting: Literal["none", "positives", "frequency", "inverse-frequency"] = "none"
    """``positives``: positives count (N/P)^``positive_weight_power`` times; ``frequency``: positives N/(P+N), negatives
    P/(P+N); ``inverse-frequency``: positives (P+N)/P, negatives (P+N)/N."""
    positive_weight_power: float = Field(default=0.5, gt=0, le=1)
    """Power of N/P for ``positives``; 1 balances the classes, 0.5 goes half the way."""
    focal_gamma: float = Field(default=2.0, ge=0)
    """``focal``: power of the error that each case is weighted with; 0 = ``bce``."""
    asl_gamma_positive: float = Field(default=0.0, ge=0)
    """``asl``: the same for positives."""
    asl_gamma_negative: float = Field(default=4.0, ge=0)
    """``asl``: the same for negatives."""
    asl_margin: float = Field(default=0.05, ge=0, lt=1)
    """``asl``: negatives with a probability below this cost nothing."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of each label replaced by 1/2: 0.1 makes 1 into 0.95 and 0 into 0.05."""
    reduction: Literal["mean", "sum"] = "mean"
    """Over the findings of a picture; pictures are always averaged."""
