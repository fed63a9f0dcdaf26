"""A table of texts that terminal, report and model card show alike."""

from __future__ import annotations

from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from training.evaluation.metrics import Interval

NOTHING = "-"


@dataclass(frozen=True)
class Grid:
    """Columns and rows of texts; the first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    """How to read it, in sentences."""
    last: tuple[str, ...] = ()
    """A row set apart, such as the mean; empty = none."""

    def markdown(self, level: int = 2) -> str:
        """Return heading, note and table in Markdown."""
        lines = [f"{'#' * level} {self.title}\n"] + ([f"{self.note}\n"] if self.note else [])
        lines += [_line(self.columns), _line(("---",) * len(self.columns)), *map(_line, self.rows)]
        if self.last:
            lines.append(_line(tuple(f"**{cell}**" if cell else "" for cell in self.last)))
        return "\n".join(lines)

    def rich(self) -> Table:
        """Return the table for a terminal."""
        table = Table(title=self.title, header_style="bold", caption=self.note or None, caption_justify="left")
        for place, name in enumerate(self.columns):
            # the first column names a finding or a group: a word that is cut in two is none
            table.add_column(escape(name), justify="right" if place else "left", overflow="fold", no_wrap=not place)
        for row in self.rows:
            table.add_row(*map(escape, row))
        if self.last:
            table.add_section()
            table.add_row(*map(escape, self.last), style="bold")
        return table


def with_bounds(interval: Interval, *, mark: str = "") -> str:
    """Return a value with its bounds in three decimals, and ``mark`` behind it."""
    if not interval.defined:
        return "undefined"
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f}){mark}"


def share(value: float | None) -> str:
    """Return a number in three decimals, a dash where there is none."""
    return NOTHING if value is None or value != value else f"{value:.3f}"


def percent(value: float | None) -> str:
    """Return a share as a percentage with one decimal, a dash where there is none."""
    return NOTHING if value is None or value != value else f"{value:.1%}"


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
