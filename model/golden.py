"""Golden images: the bundle's proof that this machine computes what the trainer's machine computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.bundle import Bundle, BundleError, BundleFacts
from model.classifier import Classifier, judge, prepare
from model.precision import MOST_DIFFERENCE
from model.runtimes import with_torch

TOLERANCE = 1e-3
"""Largest difference of a calibrated probability that passes. Runtimes here differ by less than 1e-4; another processor
sums in another order, and a wrong weight or another preprocessing moves probabilities by far more than this."""


@dataclass(frozen=True)
class GoldenResult:
    """How one golden image came out."""

    file: str
    largest_difference: float
    """Largest absolute difference of a probability, 0..1; 1 where one is None and the other is not."""
    tolerance: float
    """Largest difference that passes."""

    @property
    def passed(self) -> bool:
        """True when every probability is within the tolerance."""
        return self.largest_difference <= self.tolerance


def tolerance_of(bundle: Bundle) -> float:
    """Return the largest difference that passes in the bundle's precision."""
    return TOLERANCE if bundle.precision == "fp32" else MOST_DIFFERENCE


def verify_golden(classifier: Classifier) -> list[GoldenResult]:
    """Classify every golden image of the classifier's bundle and compare with what the bundle expects.

    Raises
    ------
    BundleError
        An image cannot be read as a picture.
    """
    tolerance = tolerance_of(classifier.bundle)
    return [
        GoldenResult(
            path.name, _largest_difference(classifier.classify(read_golden(path)).probabilities, expected), tolerance
        )
        for path, expected in classifier.bundle.golden
    ]


def expected_probabilities(
    facts: BundleFacts, weights: Mapping[str, NDArray[np.floating]], pixels: NDArray[np.uint8]
) -> tuple[float | None, ...]:
    """Return the 14 probabilities that ``write_bundle`` stores beside a golden image.

    ``pixels`` is uint8 [H, W], bones bright; prepared as the bundle says and computed by torch in float32, None where
    untrained.
    """
    return judge(facts, with_torch(facts, weights), prepare(facts, pixels)).probabilities


def read_golden(path: Path) -> NDArray[np.uint8]:
    """Return a golden image, uint8 [H, W], bones bright.

    Raises
    ------
    BundleError
        It cannot be read as a picture.
    """
    try:
        with Image.open(path) as image:
            return np.array(image.convert("L"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BundleError(f"golden image {path} is not a picture ({error}); fetch the bundle again") from error


def _largest_difference(found: tuple[float | None, ...], expected: tuple[float | None, ...]) -> float:
    differences = [
        1.0 if (f is None) != (e is None) else abs((f or 0.0) - (e or 0.0))
        for f, e in zip(found, expected, strict=True)
    ]
    return max(differences)
