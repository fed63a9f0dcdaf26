"""Whether a bundle's network says on this machine what it said where it was made."""

from __future__ import annotations

import numpy as np

from model.bundle import BundleError
from model.classifier import Classifier, NotFiniteError
from model.golden import verify_golden
from worker.runs.workplace import BundleUnusable

_SIDE_PX = 8
"""Of a picture of nothing, which shows whether the network computes numbers at all."""


def prove(name: str, classifier: Classifier) -> int:
    """Classify the bundle's golden images; takes as long as they would as patients.

    Parameters
    ----------
    name
        Of the bundle in the configuration.

    Returns
    -------
    int
        How many golden images came out as they should; 0 where the bundle has none, and nothing is proven.

    Raises
    ------
    BundleUnusable
        One came out otherwise or cannot be read, or the network computes no number.
    """
    try:
        classifier.classify(np.zeros((_SIDE_PX, _SIDE_PX), dtype=np.uint8))
        results = verify_golden(classifier)
    except (BundleError, NotFiniteError) as error:
        raise BundleUnusable(name, f"{error} (bundles.{name} in the configuration)") from error
    if failed := [result.file for result in results if not result.passed]:
        cause = f"does not say here what it should of {', '.join(failed)}; see `python -m model verify`"
        raise BundleUnusable(name, cause)
    return len(results)
