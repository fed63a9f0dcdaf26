"""The tables of a recipe that say how it is fitted: stages, augmentation, loss, optimiser, schedule."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from model.text_forms import of_form

BundleName = Annotated[
    str,
    of_form(r"[a-z0-9][a-z0-9-]{0,62}", "small letters, digits and hyphens, 63 at most, no hyphen first"),
]


class Table(BaseModel):
    """A table of the TOML file: nothing but its own keys, and nothing changes once it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Stage(Table):
    """A run of epochs at one picture size; later stages see larger pictures (progressive resizing)."""

    size_px: int = Field(ge=32, le=1024, multiple_of=32)
    """Side of the network's input in px; a multiple of 32, so that map cells tile the picture exactly."""
    epochs: int = Field(ge=1)
    """Passes over the training part."""
    batch_size: int = Field(ge=2)
    """Images per optimiser step, all processes together."""
    learning_rate: float = Field(gt=0)
    """Peak learning rate, reached after the warm-up."""
    final_learning_rate: float = Field(default=0.0, ge=0)
    """Learning rate at the stage's end (``cosine``, ``onecycle``), or the lowest (``plateau``)."""
    warmup_steps: int = Field(default=0, ge=0)
    """Optimiser steps of linear rise to ``learning_rate``; ``onecycle`` has a rise of its own."""
    steps_per_epoch: int = Field(default=0, ge=0)
    """Steps that count as one epoch, at most a whole pass; 0 = a whole pass."""


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


class Optimiser(Table):
    """How a gradient becomes a step. Weight decay is a key of its own, outside this table."""

    kind: Literal["adamw", "adam", "sgd"] = "adamw"
    """``adamw``: weight decay apart from the gradient; ``adam``, ``sgd``: added to it (L2)."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay of the gradient's mean and of its square's."""
    epsilon: float = Field(default=1e-8, gt=0)
    """Adam's term for stability."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """SGD's momentum; 0 = plain steps."""
    gradient_clip: float = Field(default=5.0, ge=0)
    """Largest norm of the gradient of all weights together; 0 = no limit."""


class Schedule(Table):
    """How the learning rate moves."""

    kind: Literal["cosine", "onecycle", "plateau", "constant"] = "cosine"
    """``cosine``: down to ``final_learning_rate`` within each stage; ``onecycle``: up, then down (Smith 2018);
    ``plateau``: multiplied by ``plateau_factor`` when the selection metric stops getting better."""
    rise_share: float = Field(default=0.3, gt=0, lt=1)
    """``onecycle``: share of a stage's steps that the rise from 1/25 takes."""
    plateau_factor: float = Field(default=0.1, gt=0, lt=1)
    """``plateau``: what the learning rate is multiplied with."""
    plateau_patience: int = Field(default=1, ge=0)
    """``plateau``: epochs without a better score that are let pass before that."""
