"""Geometry of the small plots: numbers in, places inside an SVG view box out; the templates draw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log10

from worker.figures.alarms import DayFigures
from worker.figures.flow import HourFigures
from worker.figures.latency import StageFigures

WIDTH, HEIGHT = 720.0, 120.0
SHORTEST_SECONDS, LONGEST_SECONDS = 0.001, 1000.0
"""Of the logarithmic axis of the stages."""


@dataclass(frozen=True)
class Rect:
    """One bar, in units of the view box."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    """Style class."""
    title: str
    """What a pointer over it reads."""


@dataclass(frozen=True)
class Span:
    """One stage on the logarithmic axis, 0..100."""

    start: float
    middle: float
    end: float


def hour_bars(hours: Sequence[HourFigures]) -> list[Rect]:
    """Return two bars per hour: received and answered."""
    top = max((max(hour.received, hour.answered) for hour in hours), default=0) or 1
    step = WIDTH / max(1, len(hours))
    bars = []
    for number, hour in enumerate(hours):
        words = f"{hour.start:%H:%M} UTC: {hour.received} received, {hour.answered} answered"
        for place, (value, kind) in enumerate(((hour.received, "received"), (hour.answered, "answered"))):
            x = number * step + (0.1 + 0.4 * place) * step
            bars.append(_bar(x, 0.38 * step, value / top, kind, words))
    return bars


def day_bars(days: Sequence[DayFigures], budget_per_100: float) -> tuple[list[Rect], float, float]:
    """Return a bar per day with the flagged studies of every hundred, the height of the budget, and the axis's top."""
    shares = [100 * (day.flagged.fraction or 0.0) for day in days]
    top = max(10.0, 10 * ceil(max([budget_per_100, *shares]) / 10))
    step = WIDTH / max(1, len(days))
    bars = [
        _bar(
            number * step + 0.1 * step, 0.8 * step, value / top, "over" if value > budget_per_100 else "answered",
            f"{day.day:%Y-%m-%d}: {day.flagged.count} of {day.flagged.total} flagged",
        )
        for number, (day, value) in enumerate(zip(days, shares, strict=True))
    ]  # fmt: skip
    return bars, HEIGHT * (1 - budget_per_100 / top), top


def histogram_bars(counts: Sequence[int], kind: str, titles: Sequence[str], width: float = 0.94) -> list[Rect]:
    """Return the bins of a histogram as shares of its own total, on a square-root scale so that rare ones are seen.

    Parameters
    ----------
    width
        Of a bar as a share of its bin; narrow ones stand in front of wide ones.
    """
    total = sum(counts) or 1
    step = WIDTH / max(1, len(counts))
    return [
        _bar(
            (number + (1 - width) / 2) * step,
            width * step,
            (count / total) ** 0.5,
            kind,
            f"{title}: {count} of {total}",
        )
        for number, (count, title) in enumerate(zip(counts, titles, strict=True))
    ]


def stage_span(stage: StageFigures) -> Span:
    """Return where 50, 95 and 99 of a hundred runs end."""
    return Span(_place(stage.p50), _place(stage.p95), _place(stage.p99))


def _place(seconds: float) -> float:
    held = min(max(seconds, SHORTEST_SECONDS), LONGEST_SECONDS)
    return 100 * log10(held / SHORTEST_SECONDS) / log10(LONGEST_SECONDS / SHORTEST_SECONDS)


def _bar(x: float, width: float, share: float, kind: str, title: str) -> Rect:
    height = max(HEIGHT * share, 1.0 if share > 0 else 0.0)
    return Rect(round(x, 2), round(HEIGHT - height, 2), round(width, 2), round(height, 2), kind, title)
