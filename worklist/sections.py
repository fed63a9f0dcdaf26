"""How the groups of the worklist are called and explained on the page."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_io.foundation.reasons import UNTIL_SETTLED
from worker.rows.states import ResultKind, StudyState
from worker.runs.policy import Assessment
from worker.views.presentation import against_threshold, percent_text
from worker.views.studies import Group
from worker.views.study_detail import RunDetail
from worker.views.study_search import SearchOrder

STATE_TEXTS = {
    StudyState.RECEIVING: "Receiving",
    StudyState.QUEUED: "Queued",
    StudyState.TRIAGING: "Being analysed",
    StudyState.TRIAGED: "Analysed",
    StudyState.OUT_OF_SCOPE: "Out of scope",
    StudyState.NOT_ANALYSED: "Not analysed",
    StudyState.HELD: "Held",
    StudyState.FAILED: "Failed",
}
DELIVERY_TEXTS = {
    "none": "No results",
    "pending": "Sending",
    "retrying": "Retrying",
    "stored": "Stored, not committed",
    "delivered": "In the PACS",
    "failed": "Not accepted",
}
ORDER_TEXTS = {
    SearchOrder.NEWEST: "Newest first",
    SearchOrder.OLDEST: "Oldest first",
    SearchOrder.PATIENT: "By patient",
    SearchOrder.URGENCY: "Most urgent unread",
}
STAGE_TEXTS = {
    "complete": "Wait for the study's end",
    "queue": "Wait for a worker",
    "load": "Load the model",
    "read": "Read the images",
    "suitability": "Look whether it is a chest",
    "preprocess": "Prepare",
    "classify": "Classify",
    "saliency": "Heat maps",
    "results": "Build the results",
    "record": "Compare and write down",
    "deliver": "Deliver everywhere",
    "analysed": "Last image to answer",
    "stored": "Last image to results stored",
}


@dataclass(frozen=True)
class Section:
    """Title and explanation of one group; ``folded`` ones are closed until a person opens them."""

    title: str
    hint: str
    folded: bool = False


SECTIONS = {
    Group.OVERDUE: Section("Waiting too long", "Unread beyond the limit: read these first, whatever the model says."),
    Group.STAT: Section("STAT", "A finding that cannot wait was flagged, or a person says so."),
    Group.URGENT: Section("Urgent", "A finding that should be read soon was flagged, or a person says so."),
    Group.ROUTINE: Section("Routine", "Nothing urgent was flagged, or a person says so. This never means normal."),
    Group.IN_PROGRESS: Section("In progress", "Arrived, and not judged yet."),
    Group.FAILED: Section("Failed", "The analysis broke off. Nothing is known about these: read in ordinary order."),
    Group.HELD: Section("Held", f"The identity is in doubt: {UNTIL_SETTLED}."),
    Group.NOT_ANALYSED: Section("Not analysed", "Could not or must not be analysed. Not the same as nothing found."),
    Group.HISTORICAL: Section(
        "Historical", "Old studies: never flagged, analysed where the site wants it.", folded=True
    ),
    Group.READ: Section("Read", "The latest studies that somebody has marked read.", folded=True),
    Group.OUT_OF_SCOPE: Section("Out of scope", "No chest radiograph in them.", folded=True),
}


@dataclass(frozen=True)
class Bar:
    """One finding as a bar; values in percent 0..100, None where the model does not know the finding."""

    finding: str
    percent: float | None
    threshold_percent: float | None
    flagged: bool
    text: str
    limit: str = ""
    """The threshold as text; empty where there is none."""


def bars_of(run: RunDetail | None, labels: tuple[str, ...]) -> list[Bar]:
    """Return every label of the model as a bar: of several images the highest probability; unknown labels last."""
    bars = []
    for label in labels:
        items = [item for item in (run.predictions if run else ()) if item.finding == label]
        known = [item for item in items if item.probability is not None]
        top = max(known, key=lambda item: item.probability or 0.0, default=None)
        if top is None or top.probability is None:
            bars.append(Bar(label, None, None, flagged=False, text=percent_text(None)))
            continue
        bars.append(_bar(label, top.probability, top.threshold, flagged=any(item.flagged for item in items)))
    return sorted(bars, key=lambda bar: (bar.percent is None, not bar.flagged, -(bar.percent or 0.0)))


def _bar(label: str, probability: float | None, threshold: float | None, *, flagged: bool) -> Bar:
    percent, threshold_percent = (None if value is None else 100 * value for value in (probability, threshold))
    return Bar(label, percent, threshold_percent, flagged, *against_threshold(probability, threshold))


def trial_bars(assessment: Assessment | None) -> list[Bar]:
    """Return every label of a tried picture as a bar, as `bars_of` does for a study."""
    found = assessment.findings if assessment else ()
    bars = [_bar(item.label, item.probability, item.threshold, flagged=item.flagged) for item in found]
    return sorted(bars, key=lambda bar: (bar.percent is None, not bar.flagged, -(bar.percent or 0.0)))


@dataclass(frozen=True)
class Map:
    """One heat map and the image it lies over."""

    result_id: int
    instance_id: int
    finding: str
    percent: str


def maps_of(run: RunDetail | None) -> list[Map]:
    """Return the heat maps of a run, each over the image that its finding scored highest on."""
    maps = []
    for result in run.results if run else ():
        scored = [item for item in run.predictions if item.finding == result.finding] if run else []
        if result.kind != ResultKind.SECONDARY_CAPTURE or result.finding is None or not scored:
            continue
        top = max(scored, key=lambda item: item.probability or 0.0)
        maps.append(Map(result.id, top.instance_id, result.finding, percent_text(top.probability)))
    return maps
