"""The commands beside training itself: where each is, to be loaded only when it is chosen.

PyTorch, its compiler and the plots take seconds to load, and drawing or preparing pictures needs none of them.
"""

from __future__ import annotations

from typing import ClassVar

from model.deferred_commands import DeferredGroup, Place


class CommandGroup(DeferredGroup):
    """These commands first, then the command line's own."""

    places: ClassVar = {
        "bench": Place("training.commands.bench", "bench"),
        "calibrate": Place("training.commands.calibration", "calibrate"),
        "export": Place("training.commands.packing", "export"),
        "prepare": Place("training.commands.data", "prepare"),
        "compare": Place("training.commands.evaluation", "compare"),
        "evaluate": Place("training.commands.evaluation", "evaluate"),
        "features": Place("training.commands.heads", "features"),
        "head": Place("training.commands.heads", "head"),
        "sweep": Place("training.commands.heads", "sweep"),
        "recipes": Place("training.commands.recipes", "recipes"),
        "audit": Place("training.commands.looking", "audit"),
        "localise": Place("training.commands.looking", "localise"),
        "precision": Place("training.commands.precision", "precision"),
        "report": Place("training.commands.reports", "report"),
        "suitability": Place("training.commands.suitability", "suitability"),
    }
