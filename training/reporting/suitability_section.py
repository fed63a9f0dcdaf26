"""What a model card says of the check that judges pictures before the network sees them."""

from __future__ import annotations

from model.suitability import SuitabilityFacts
from training.reporting.card_section import with_section
from training.reporting.grid import Grid

HEADING = "## Input suitability"
_UNCHECKED = "Pictures are not checked: whatever is shown to the network is taken for a frontal chest radiograph."
_UNKNOWN = """\
What it does not know: it was taught what a frontal chest is by the pictures named above, and what is none by altered,
drawn and a few other pictures. It has hardly seen lateral chests, abdomens or shoulders of people; it cannot tell a
chest from a drawing or a photograph of one, a mirrored chest from an upright one, whose chest it is, or whether the
picture is good enough to be read. A picture that is cut or turned a little passes."""


def suitability_section(facts: SuitabilityFacts | None) -> str:
    """Return the section, Markdown with its heading."""
    if facts is None:
        return f"{HEADING}\n\n{_UNCHECKED}"
    text = (
        f"A picture is analysed only if a small network ({facts.kind}) takes it for an upright, whole frontal chest, "
        f"bones bright (score {facts.score_limit:.3f} or more), and if its features lie no further from those of the "
        f"training pictures than {facts.distance_limit:.0f} (squared Mahalanobis distance). Learned from "
        f"{facts.learned_from}. Anything else is left to a person."
    )
    table = [trial_grid(facts).markdown(level=3)] if facts.trial else []
    return "\n\n".join([HEADING, text, *table, _UNKNOWN])


def with_suitability(card: str, facts: SuitabilityFacts | None) -> str:
    """Return a card with this section in the place of its earlier one, or before its limits, or at its end."""
    return with_section(card, HEADING, suitability_section(facts))


def trial_grid(facts: SuitabilityFacts) -> Grid:
    """Return the table of the check's trial, empty where there was none."""
    rows = [
        (what, str(right), str(of), f"{right / of:.1%}")
        for what, (right, of) in facts.trial.get("rows", {}).items()
        if of
    ]
    note = f"Tried on {facts.trial['pictures']}." if facts.trial else ""
    return Grid("Trial of the suitability check", ("pictures", "as they must be", "of", "share"), tuple(rows), note)
