"""A finished bundle written once more with something changed: the same weights, pictures seen and golden images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.bundle import Bundle, BundleFacts, read_weights, write_bundle
from model.golden import read_golden
from model.suitability import SuitabilityCheck


def facts_of(bundle: Bundle) -> BundleFacts:
    """Return what was stated of the bundle, without what its files make of it."""
    return BundleFacts(**{name: getattr(bundle, name) for name in BundleFacts.__dataclass_fields__})


def golden_pictures(bundle: Bundle) -> Iterator[tuple[str, NDArray[np.uint8], tuple[float | None, ...]]]:
    """Yield name, uint8 [H, W] and expected probabilities of every golden image."""
    for path, probabilities in bundle.golden:
        yield path.stem, read_golden(path), probabilities


def rewrite(bundle: Bundle, folder: Path, facts: BundleFacts, card: str, check: SuitabilityCheck | None) -> Bundle:
    """Write the bundle into a folder, its own or another, with other facts, card and suitability check.

    The facts must leave its probabilities alone: the golden images keep those they have.
    """
    golden = list(golden_pictures(bundle))
    return write_bundle(folder, facts, read_weights(bundle), card, golden, bundle.seen_images(), check)
