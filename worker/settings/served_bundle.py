"""A configured model bundle as this machine serves it."""

from __future__ import annotations

from model.bundle import Bundle, load_bundle
from model.served_precision import in_served_precision
from worker.settings.config import Settings


def load_served_bundle(settings: Settings, name: str) -> tuple[Bundle, str]:
    """Read and verify a configured bundle; return it, and why its precision is not the configured one (empty if it is).

    Raises
    ------
    BundleError
        Something is missing, altered or of another release.
    """
    return in_served_precision(load_bundle(settings.bundles[name]), settings.precision, settings.runtime)
