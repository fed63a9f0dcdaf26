"""What can go wrong with features, heads and sweeps."""

from __future__ import annotations


class HeadError(Exception):
    """Features or a head cannot be made or used; the message names the file or choice and what to do."""
