"""Whether a model still sees what it saw at first: each finding's probabilities and positive rates against a baseline.

The baseline is what the model version said of the first studies it analysed here, before the time that is looked at.
It moves with nothing, so that a slow change is seen, too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import sqrt
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, select
from sqlalchemy.orm import Session

from model.labels import LABELS
from worker.figures.intervals import Share, differ, population_stability_index, share
from worker.rows.leases import BACKFILL_QUEUE
from worker.rows.run_tables import Prediction, Run
from worker.rows.states import StudyState
from worker.rows.study_tables import Study

EDGES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0)
"""Of the bins of a probability: narrow where calibrated probabilities of rare findings lie."""
BASELINE_RUNS = 1000
FEWEST_RUNS = 100
"""With fewer on either side nothing is called a drift."""
SHIFT = 0.1
"""A population stability index from here on is a shift, if it is more than chance."""
NOTABLE_Z = 3.5
"""Two rates further apart than this many standard errors differ: by chance once in 2000 comparisons."""


@dataclass(frozen=True)
class Rates:
    """One finding at one source, per study: now and in the baseline."""

    now: Share
    baseline: Share

    @property
    def notable(self) -> bool:
        """Whether the two rates differ by more than chance."""
        few = min(self.now.total, self.baseline.total) < FEWEST_RUNS
        return not few and abs(_z(self.now, self.baseline)) >= NOTABLE_Z


@dataclass(frozen=True)
class FindingDrift:
    """One finding: histograms of its probability per image over the bins of `EDGES`, and its rate per source."""

    finding: str
    now: tuple[int, ...]
    baseline: tuple[int, ...]
    all_sources: Rates
    by_source: Mapping[str, Rates]

    def columns(self, sources: Sequence[str]) -> list[Rates]:
        """Return the rates everywhere, then those of these sources."""
        return [self.all_sources, *(self.by_source[source] for source in sources)]

    @property
    def index(self) -> float:
        """The population stability index of the probabilities."""
        return population_stability_index(self.now, self.baseline)

    @property
    def shifted(self) -> bool:
        """Whether the probabilities lie otherwise than at first, by more than chance."""
        few = min(sum(self.now), sum(self.baseline)) < FEWEST_RUNS
        return not few and self.index >= SHIFT and differ(self.now, self.baseline)


@dataclass(frozen=True)
class Drift:
    """One model version since a time, against its baseline."""

    model_version: str
    runs: int
    baseline_runs: int
    baseline_until: datetime | None
    """End of the baseline, UTC; None = there is none before the time looked at."""
    sources: tuple[str, ...]
    """Busiest first."""
    findings: tuple[FindingDrift, ...]
    """Of those that the model knows, in label order."""


def model_versions(session: Session, since: datetime) -> list[str]:
    """Return the versions that answered since then, the most used first."""
    rows = session.execute(
        select(Run.model_version, func.count())
        .where(Run.finished_at >= since, Run.outcome == StudyState.TRIAGED, ~Run.shadow, Run.queue != BACKFILL_QUEUE)
        .group_by(Run.model_version)
        .order_by(func.count().desc(), Run.model_version)
    )
    return [version for version, _ in rows if version is not None]


def drift_of(session: Session, model_version: str, since: datetime) -> Drift:
    """Return what the version said since then beside what it said at first."""
    answered = _answered(model_version)
    until = _baseline_end(session, answered, since)
    lately = and_(answered, Run.finished_at >= since)
    at_first = and_(answered, Run.finished_at <= until) if until else None
    now, rates_now = _histograms(session, lately), _rates(session, lately)
    before = _histograms(session, at_first) if at_first is not None else {}
    rates_before = _rates(session, at_first) if at_first is not None else {}
    studies = Counter({source: max(count.values()).total for source, count in rates_now.items()})
    sources = tuple(source for source, _ in studies.most_common())
    known = [label for label in LABELS if label in now or label in before]
    return Drift(
        model_version,
        sum(studies.values()),
        sum(max(count.values()).total for count in rates_before.values()),
        until,
        sources,
        tuple(_finding(label, now, before, rates_now, rates_before, sources) for label in known),
    )


def source_name() -> ColumnElement[str]:
    """Return a study's source in words: the AE title, and the device behind it where images name one."""
    with_station = Study.calling_ae_title + " / " + Study.station_name
    return case((Study.station_name != "", with_station), else_=Study.calling_ae_title)


def _answered(model_version: str) -> ColumnElement[bool]:
    live = and_(~Run.shadow, Run.queue != BACKFILL_QUEUE)
    return and_(Run.model_version == model_version, Run.outcome == StudyState.TRIAGED, live)


def _baseline_end(session: Session, answered: ColumnElement[bool], since: datetime) -> datetime | None:
    """Return the time of the last baseline run, never later than ``since``; None when nothing came before."""
    first = (
        select(Run.finished_at).where(answered, Run.finished_at < since).order_by(Run.finished_at).limit(BASELINE_RUNS)
    )
    last: datetime | None = session.scalar(select(func.max(first.subquery().c.finished_at)))
    return last


def _bin() -> ColumnElement[int]:
    upper = [(Prediction.probability < edge, number) for number, edge in enumerate(EDGES[1:-1])]
    return case(*upper, else_=len(EDGES) - 2)


def _histograms(session: Session, runs: ColumnElement[bool]) -> dict[str, tuple[int, ...]]:
    place = _bin().label("place")
    rows = session.execute(
        select(Prediction.finding, place, func.count())
        .join(Run, Run.id == Prediction.run_id)
        .where(runs, Prediction.probability.is_not(None))
        .group_by(Prediction.finding, place)
    )
    counts: dict[str, list[int]] = defaultdict(lambda: [0] * (len(EDGES) - 1))
    for finding, number, count in rows:
        counts[finding][number] = count
    return {finding: tuple(bins) for finding, bins in counts.items()}


@dataclass(frozen=True, order=True)
class _Count:
    total: int
    flagged: int


def _rates(session: Session, runs: ColumnElement[bool]) -> dict[str, dict[str, _Count]]:
    """Return source -> finding -> studies, flagged ones; historical studies, which never flag, do not count."""
    source = source_name().label("source")
    flagged: Any = func.count(case((Prediction.flagged, Prediction.run_id)).distinct())
    rows = session.execute(
        select(source, Prediction.finding, func.count(Prediction.run_id.distinct()), flagged)
        .join(Run, Run.id == Prediction.run_id)
        .join(Study, Study.study_instance_uid == Run.study_instance_uid)
        .where(runs, Prediction.probability.is_not(None), ~Study.historical)
        .group_by(source, Prediction.finding)
    )
    counts: dict[str, dict[str, _Count]] = defaultdict(dict)
    for name, finding, total, positive in rows:
        counts[name][finding] = _Count(total, positive)
    return counts


def _finding(
    label: str,
    now: Mapping[str, tuple[int, ...]],
    before: Mapping[str, tuple[int, ...]],
    rates_now: Mapping[str, Mapping[str, _Count]],
    rates_before: Mapping[str, Mapping[str, _Count]],
    sources: Sequence[str],
) -> FindingDrift:
    nothing = (0,) * (len(EDGES) - 1)

    def rate(rates: Mapping[str, Mapping[str, _Count]], wanted: Sequence[str]) -> Share:
        counts = [rates[source][label] for source in wanted if label in rates.get(source, {})]
        return share(sum(count.flagged for count in counts), sum(count.total for count in counts))

    by_source = {source: Rates(rate(rates_now, [source]), rate(rates_before, [source])) for source in sources}
    everywhere = Rates(rate(rates_now, list(rates_now)), rate(rates_before, list(rates_before)))
    return FindingDrift(label, now.get(label, nothing), before.get(label, nothing), everywhere, by_source)


def _z(one: Share, other: Share) -> float:
    """Return how many standard errors two shares are apart, under one common share."""
    common = (one.count + other.count) / (one.total + other.total)
    error = sqrt(common * (1 - common) * (1 / one.total + 1 / other.total))
    return 0.0 if error == 0 else ((one.fraction or 0.0) - (other.fraction or 0.0)) / error
