"""What a figure must reach and was meant to reach (design/performance.md), in one form for every benchmark."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Bar:
    """One figure beside its bar, rounded to what was measured."""

    of: str
    value: float
    must: float
    aim: float
    met: bool

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.of}: {self.value:g}, must {self.must:g}, aim {self.aim:g}: {'met' if self.met else 'NOT met'}"


def at_least(of: str, value: float, bar: tuple[float, float], digits: int = 2) -> Bar:
    """Return the bar (must, aim) of a figure that is better the larger it is."""
    return Bar(of, round(value, digits), float(f"{bar[0]:.3g}"), bar[1], value >= bar[0])


def at_most(of: str, value: float, bar: tuple[float, float], digits: int = 2) -> Bar:
    """Return the bar (must, aim) of a figure that is better the smaller it is."""
    return Bar(of, round(value, digits), float(f"{bar[0]:.3g}"), bar[1], value <= bar[0])
