"""Moments that a clock on the wall shows: in the night that summer time ends one hour comes twice, when it begins none.

A time without an offset then names two moments, or lies between two; who must miss nothing takes the safe one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo


def earliest(shown: datetime, zone: ZoneInfo) -> datetime:
    """Return the first moment (aware UTC) at which clocks of the zone may show this (naive)."""
    return min(_moments(shown, zone))


def latest(shown: datetime, zone: ZoneInfo) -> datetime:
    """Return the last moment (aware UTC) at which clocks of the zone may show this (naive)."""
    return max(_moments(shown, zone))


def _moments(shown: datetime, zone: ZoneInfo) -> list[datetime]:
    return [shown.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
