"""How the model does on these patients: drift, rejections, agreement, flags against a budget, other thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from model.labels import LABELS
from worker.figures.agreement import agreement_figures
from worker.figures.alarms import DAYS, Preview, day_figures, preview, thresholds_in_use
from worker.figures.drift import EDGES, Drift, drift_of, model_versions
from worker.figures.intervals import Share, share
from worker.figures.reviewed_truth import reviewed_findings
from worker.figures.suitability import suitability_figures
from worker.rows.database import database_now
from worker.runs.policy import TIERS
from worklist.login import administrator_of
from worklist.plots import HEIGHT, WIDTH, Rect, day_bars, histogram_bars
from worklist.render import page
from worklist.site import Site, site_of

router = APIRouter(include_in_schema=False)
Reader = Annotated[str, Depends(administrator_of)]
OpenedSite = Annotated[Site, Depends(site_of)]
SOURCES_SHOWN = 8


@dataclass(frozen=True)
class ThresholdLine:
    """One finding in the preview: its thresholds as fractions, and studies flagged by each."""

    finding: str
    priority: str
    in_use: float | None
    tried: float | None
    flagged_now: int
    flagged_then: int


@router.get("/operations/model")
def model_page(
    request: Request,
    site: OpenedSite,
    reader: Reader,
    days: Annotated[int, Query(ge=1, le=366)] = 7,
    version: str | None = None,
) -> Response:
    """Everything about the model in the last days; thresholds to try come as ``t.Finding=60`` in percent."""
    tried = _tried(request.query_params)
    with site.reading() as session:
        shown = _shown(session, database_now(session), days, version, tried)
    bars, budget_y, top = day_bars(shown["days_figures"], site.settings.flag_budget_per_100)
    budget: dict[str, Any] = {
        "day_bars": bars,
        "budget_y": budget_y,
        "top": top,
        "budget": site.settings.flag_budget_per_100,
    }
    return page(request, "model.html", days=days, width=WIDTH, height=HEIGHT, **budget, **shown)


def _shown(session: Session, now: datetime, days: int, version: str | None, tried: dict[str, float]) -> dict[str, Any]:
    since = now - timedelta(days=days)
    versions = model_versions(session, since)
    chosen = version if version in versions else next(iter(versions), None)
    drift = drift_of(session, chosen, since) if chosen else None
    in_use = thresholds_in_use(session, chosen) if chosen else {}
    by_day = day_figures(session, now)
    present = preview(session, now, chosen or "", in_use)
    other = preview(session, now, chosen or "", in_use | tried) if tried else present
    return {
        "versions": versions,
        "version": chosen,
        "drift": drift,
        "histograms": _histograms(drift),
        "sources": drift.sources[:SOURCES_SHOWN] if drift else (),
        "suitability": suitability_figures(session, since),
        "agreement": agreement_figures(reviewed_findings(session, since)),
        "days_figures": by_day,
        "flagged": _together([day.flagged for day in by_day]),
        "present": present,
        "other": other if tried else None,
        "lines": _lines(in_use, in_use | tried, present, other),
        "preview_days": DAYS,
    }


def _tried(parameters: Mapping[str, str]) -> dict[str, float]:
    """Return the thresholds to try as fractions; empty fields are those in use."""
    tried = {}
    for label in LABELS:
        text = parameters.get(f"t.{label}", "").strip()
        if not text:
            continue
        try:
            percent = float(text.replace(",", "."))
        except ValueError as error:
            raise HTTPException(422, f"The threshold of {label} must be a number of percent.") from error
        if not 0 <= percent <= 100:
            raise HTTPException(422, f"The threshold of {label} must be 0 to 100 percent.")
        tried[label] = percent / 100
    return tried


def _lines(
    in_use: Mapping[str, float], tried: Mapping[str, float], present: Preview, other: Preview
) -> list[ThresholdLine]:
    return [
        ThresholdLine(
            label, str(TIERS[label][0].priority), in_use.get(label), tried.get(label),
            present.by_finding.get(label, 0), other.by_finding.get(label, 0),
        )
        for label in LABELS
    ]  # fmt: skip


def _histograms(drift: Drift | None) -> dict[str, tuple[list[Rect], list[Rect]]]:
    """Return per finding the bars of the baseline and those of now."""
    if drift is None:
        return {}
    bins = [f"{100 * low:g} to {100 * high:g} %" for low, high in pairwise(EDGES)]
    return {
        item.finding: (
            histogram_bars(item.baseline, "baseline", [f"at first, {words}" for words in bins]),
            histogram_bars(item.now, "received", [f"now, {words}" for words in bins], width=0.5),
        )
        for item in drift.findings
    }


def _together(shares: list[Share]) -> Share:
    return share(sum(item.count for item in shares), sum(item.total for item in shares))
