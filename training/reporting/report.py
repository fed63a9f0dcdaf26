"""The report: one HTML file without references to anything outside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from training.data.cache import PictureCache
from training.data.cache_index import write_whole
from training.evaluation.assessment import Assessment
from training.reporting.sections import (
    Picture,
    Section,
    audit_section,
    evaluation_sections,
    history_section,
    limits_section,
    localisation_section,
)

NOTICE = "NOT FOR DIAGNOSTIC USE. This is not a medical device."
_TEMPLATE = Path(__file__).with_name("report.html")


@dataclass(frozen=True)
class ReportMaterial:
    """All that a report shows."""

    title: str
    demonstration: bool
    notes: tuple[str, ...]
    """Sentences that a reader must see first: where the parts come from, why there is no bundle."""
    assessment: Assessment
    cache: PictureCache | None = None
    """For the pictures of cases; None = without."""
    history: Sequence[dict[str, Any]] = ()
    """Validation by epoch; empty where nothing was trained here."""
    more: tuple[tuple[str, bytes], ...] = ()
    """Further pictures: heading and PNG."""


def write_report(material: ReportMaterial, path: Path) -> None:
    """Write the HTML file, whole or not at all."""
    assessment = material.assessment
    maps = (assessment.judged, assessment.evaluation.pointing, assessment.boxes, material.cache)
    sections = [*evaluation_sections(assessment), localisation_section(*maps), audit_section(assessment.audit)]
    if material.history:
        sections.append(history_section(list(material.history)))
    sections += [Section(heading, (), (), [Picture(heading, png)]) for heading, png in material.more]
    write_page(material.title, sections, path, material.demonstration, material.notes, _alarms(assessment))


def write_page(
    title: str,
    sections: Sequence[Section],
    path: Path,
    demonstration: bool = False,
    notes: Sequence[str] = (),
    alarms: Sequence[str] = (),
) -> None:
    """Write sections as one page that says what it is not for.

    Parameters
    ----------
    alarms
        Sentences in red: why the figures cannot be believed.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        title=title,
        warning=("Demonstration model. " if demonstration else "") + NOTICE,
        alarms=alarms,
        notes=notes,
        sections=[*sections, limits_section()],
    )
    write_whole(page.encode(), path)


def _alarms(assessment: Assessment) -> list[str]:
    leak, part = assessment.judged.leak, assessment.judged.part
    alarms = [leak.sentence] if leak is not None and leak.marked else []
    return [*alarms, part] if part.startswith("LEAKY") else alarms
