"""Shares with their uncertainty, and how far two distributions have drifted apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt

Z_95 = 1.959964
Z_999 = 3.090232
"""One-sided."""
FEWEST_COUNTS = 10


@dataclass(frozen=True)
class Share:
    """So many of so many, with the 95 % interval of Wilson (JASA 1927, 22:209); all 0..1."""

    count: int
    total: int
    low: float
    high: float

    @property
    def fraction(self) -> float | None:
        """The share itself; None of nothing."""
        return self.count / self.total if self.total else None


def share(count: int, total: int) -> Share:
    """Return the share with its interval, 0 to 1 where there is nothing to count."""
    if total == 0:
        return Share(count, total, 0.0, 1.0)
    fraction, z2 = count / total, Z_95**2
    centre = (fraction + z2 / (2 * total)) / (1 + z2 / total)
    half = Z_95 * sqrt(fraction * (1 - fraction) / total + z2 / (4 * total**2)) / (1 + z2 / total)
    return Share(count, total, max(0.0, centre - half), min(1.0, centre + half))


def population_stability_index(now: Sequence[int], before: Sequence[int]) -> float:
    """Return the population stability index of two histograms over the same bins; 0 = alike.

    By custom below 0.1 is stable and from 0.25 on a shift. Half a count is added to every bin, so that an empty one
    has a logarithm. Small samples reach such values by chance: see `differ`.
    """
    if sum(now) == 0 or sum(before) == 0:
        return 0.0
    n, m = sum(now) + len(now) / 2, sum(before) + len(before) / 2
    pairs = [((a + 0.5) / n, (b + 0.5) / m) for a, b in zip(now, before, strict=True)]
    return sum((a - b) * log(a / b) for a, b in pairs)


def differ(now: Sequence[int], before: Sequence[int]) -> bool:
    """Return whether two histograms over the same bins differ by more than chance (once in 1000 times).

    Pearson's chi-squared test of homogeneity; neighbouring bins are put together until ten counts are in each.
    """
    n, m = sum(now), sum(before)
    cells = _merged(now, before)
    if len(cells) < 2 or n == 0 or m == 0:
        return False
    statistic = 0.0
    for a, b in cells:
        for found, expected in ((a, (a + b) * n / (n + m)), (b, (a + b) * m / (n + m))):
            statistic += (found - expected) ** 2 / expected
    return statistic > _chi_squared_999(len(cells) - 1)


def _merged(now: Sequence[int], before: Sequence[int]) -> list[tuple[int, int]]:
    cells: list[tuple[int, int]] = []
    a = b = 0
    for one, other in zip(now, before, strict=True):
        a, b = a + one, b + other
        if a + b >= FEWEST_COUNTS:
            cells.append((a, b))
            a = b = 0
    if cells and (a or b):
        cells[-1] = (cells[-1][0] + a, cells[-1][1] + b)
    return cells


def _chi_squared_999(degrees: int) -> float:
    """Return what chi-squared stays below in 999 of 1000 cases (Wilson and Hilferty 1931, PNAS 17:684)."""
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + Z_999 * sqrt(spread)) ** 3
