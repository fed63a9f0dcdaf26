"""What can go wrong with features, heads and sweeps."""

from __future__ import annotations


class HeadError(Exception):
    """Features or a head cannot be made or used; the message names the file or choice and what to do."""


class HeadDivergedError(HeadError):
    """The loss of a head is not a number any more."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"the loss of epoch {epoch} of the head is not a number; lower the learning rate")
