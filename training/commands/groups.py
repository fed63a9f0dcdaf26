"""The commands beside training itself: where each is, to be loaded only when it is chosen.

PyTorch, its compiler and the plots take seconds to load, and drawing or preparing pictures needs none of them.
"""

from __future__ import annotations

from typing import ClassVar

from model.deferred_commands import DeferredGroup, Place


class CommandGroup(DeferredGroup):
    """These commands first, then the command line's own."""

    places: ClassVar = {
        "prepare": Place("training.commands.data", "prepare"),
        "recipes": Place("training.commands.recipes", "recipes"),
        "evaluate": Place("training.commands.evaluation", "evaluate"),
        "compare": Place("training.commands.evaluation", "compare"),
        "calibrate": Place("training.commands.calibration", "calibrate"),
        "precision": Place("training.commands.precision", "precision"),
        "suitability": Place("training.commands.suitability", "suitability"),
        "localise": Place("training.commands.looking", "localise"),
        "audit": Place("training.commands.looking", "audit"),
        "report": Place("training.commands.reports", "report"),
        "export": Place("training.commands.packing", "export"),
        "features": Place("training.commands.heads", "features"),
        "sweep": Place("training.commands.heads", "sweep"),
        "head": Place("training.commands.heads", "head"),
        "bench": Place("training.commands.bench", "bench"),
    }
