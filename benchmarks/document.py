"""``benchmarks/RESULTS.md``: all bars in one table, then one part for each benchmark, with its date and machine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

HEAD = """# Benchmarks

Written by `python -m benchmarks`. Ratios are of medians of interleaved windows in one run; absolute figures belong to
the machine named with them. A figure marked noisy had other processes on the same cores: read its ratios as indications
and its absolute figures not at all. What a bar is about stands in the benchmark's own description
(`python -m benchmarks.NAME --help`).
"""
_PART = "<!-- part: {} -->"
_BAR = re.compile(r"^- bar: (?P<of>.+): (?P<value>\S+), must (?P<must>\S+), aim (?P<aim>\S+): (?P<verdict>.+)$", re.M)


def part(name: str, found: dict[str, Any] | str, ran_on: str) -> str:
    """Return one part: the rows or facts of a benchmark, its bars, further tables and notes.

    Parameters
    ----------
    found
        What the benchmark wrote as JSON, or why there is nothing of it.
    ran_on
        Date, machine and versions.
    """
    lines = [_PART.format(name), f"## {name}", "", ran_on, ""]
    if isinstance(found, str):
        return "\n".join([*lines, found, ""])
    lines += table(found["rows"]) if "rows" in found else facts(found["facts"])
    if bars := found.get("bars"):
        lines += ["", *map(bar_line, bars)]
    for title, rows in found.get("tables", {}).items():
        lines += ["", title, "", *table(rows)]
    if notes := found.get("notes"):
        lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join([*lines, ""])


def bar_line(bar: dict[str, Any]) -> str:
    """Return one bar in the words that `summary` finds again."""
    verdict = "met" if bar["met"] else "**not met**"
    return f"- bar: {bar['of']}: {bar['value']:g}, must {bar['must']:g}, aim {bar['aim']:g}: {verdict}"


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return rows of plain values as a table; a row that others disturbed is marked beside its name."""
    if not rows:
        return ["nothing was found"]
    names = [name for name in rows[0] if name != "noisy"]
    lines = [_cells(names), "|---" * len(names) + "|"]
    for row in rows:
        first, *others = (_shown(row.get(name)) for name in names)
        lines.append(_cells([f"{first} (noisy)" if row.get("noisy") else first, *others]))
    return lines


def facts(found: dict[str, Any]) -> list[str]:
    """Return plain values one below the other."""
    return [_cells(["figure", "value"]), "|---|---|", *(_cells([name, _shown(value)]) for name, value in found.items())]


def _shown(value: object) -> str:
    return "-" if value is None else str(value)


def _cells(values: Iterable[str]) -> str:
    return f"| {' | '.join(value.replace('|', chr(92) + '|') for value in values)} |"


def summary(parts: dict[str, str]) -> list[str]:
    """Return all bars of all parts in one table."""
    found = [(name, bar) for name, text in parts.items() for bar in _BAR.finditer(text)]
    if not found:
        return []
    met = sum(bar["verdict"] == "met" for _, bar in found)
    lines = [f"{met} of {len(found)} bars are met.", ""]
    lines += [_cells(["part", "bar", "value", "must", "aim", ""]), "|---" * 6 + "|"]
    columns = ("of", "value", "must", "aim", "verdict")
    return [*lines, *(f"| {name} | {' | '.join(bar[column] for column in columns)} |" for name, bar in found)]


def with_part(document: str, name: str, text: str, order: tuple[str, ...]) -> str:
    """Return the document with this part in place of the earlier one, parts in ``order``, and the bars of all."""
    pieces = document.split(_PART.split("{}", maxsplit=1)[0])[1:]
    parts = {piece.split(" -->", 1)[0]: f"<!-- part: {piece}" for piece in pieces} | {name: text}
    ordered = {each: parts[each].rstrip() for each in order if each in parts}
    bars = "\n".join(summary(ordered))
    return "\n\n".join(block for block in (HEAD.rstrip(), bars, *ordered.values()) if block) + "\n"
