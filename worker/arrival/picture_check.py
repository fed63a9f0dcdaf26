"""Which bundles check pictures themselves, known without loading a network."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from model.bundle import BundleError, load_bundle
from worker.settings.config import Settings


def checks_pictures(settings: Settings, bundle_name: str) -> bool:
    """Whether the configured bundle of this name brings a suitability check.

    A bundle that cannot be read checks nothing: the run that needs it says what is wrong with it. It is looked at again
    for the next image, for the trouble may have been a moment's.
    """
    folder = settings.bundles.get(bundle_name)
    try:
        return folder is not None and _brings_check(folder)
    except BundleError:
        return False


@cache  # an error is not kept
def _brings_check(folder: Path) -> bool:
    return load_bundle(folder).suitability is not None
