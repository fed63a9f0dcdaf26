"""Which bundles check pictures themselves, known without loading a network."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from model.bundle import BundleError, load_bundle
from worker.settings.config import Settings


def checks_pictures(settings: Settings, bundle_name: str) -> bool:
    """Whether the configured bundle of this name brings a suitability check.

    A bundle that cannot be read checks nothing: the run that needs it says what is wrong with it.
    """
    folder = settings.bundles.get(bundle_name)
    return folder is not None and _brings_check(folder)


@cache
def _brings_check(folder: Path) -> bool:
    try:
        return load_bundle(folder).suitability is not None
    except BundleError:
        return False
