"""What a judging command was asked; without numpy, since the command line fills it in before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from training.data.part_name import PartName
from training.evaluation.seen_policy import SeenPolicy


@dataclass(frozen=True)
class Asked:
    """Which model is judged, and on which pictures."""

    model: Path
    """Folder or ``.zip`` of a bundle, or a file of predictions."""
    data: Path
    """Folder of the data set."""
    out: Path
    """Folder for what is written, and for kept outputs."""
    cache: Path | None
    """Folder of the picture cache; None: ``cache`` beside ``out``."""
    part: PartName | None
    """None: the test list for a bundle, every picture of a file of predictions."""
    seen: SeenPolicy
    """What to do with pictures that the network has seen."""
    allow_missing: bool
    """Go on without listed pictures that have no file or cannot be read."""
