"""A section of a model card, put in or replaced after the card was written."""

from __future__ import annotations

_BEFORE = "## Limits"


def with_section(card: str, heading: str, section: str) -> str:
    """Return a card with this section in the place of its earlier one, or before its limits, or at its end.

    Parameters
    ----------
    heading
        The section's first line, ``## ...``.
    section
        Markdown that begins with it.
    """
    before, found, rest = card.partition(f"{heading}\n")
    if found:
        _, next_heading, after = rest.partition("\n## ")  # "###" is no end of it
        card = f"{before}## {after}" if next_heading else before
    start, limits, end = card.partition(f"{_BEFORE}\n")
    return f"{start}{section}\n\n{limits}{end}" if limits else f"{card.rstrip()}\n\n{section}\n"
