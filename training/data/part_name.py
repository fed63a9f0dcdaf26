"""The parts of a data set by name. Apart, since a command line knows them before numpy is loaded."""

from __future__ import annotations

from enum import StrEnum


class PartName(StrEnum):
    """A part of a data set."""

    TEST = "test"
    """The data set's own test list."""
    VALIDATION = "validation"
    """What the bundle was selected on, as it says itself."""
    TRAIN_VAL = "train_val"
    """The data set's own list for training and validation."""
    ALL = "all"
    """Both lists."""
