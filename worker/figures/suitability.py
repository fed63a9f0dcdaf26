"""How many pictures the suitability check sent to a person instead of the network, per source and why."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.figures.drift import source_name
from worker.figures.intervals import Share, share
from worker.rows.states import Disposition
from worker.rows.study_tables import Instance, Study


@dataclass(frozen=True)
class SuitabilityFigures:
    """One source: pictures that were looked at, and those not analysed by what they looked like."""

    source: str
    rejected: Share
    by_verdict: tuple[tuple[str, int], ...]
    """Verdict (``model.suitability.Verdict``) and count, the most frequent first."""


def suitability_figures(session: Session, since: datetime) -> list[SuitabilityFigures]:
    """Return every source whose pictures were checked since then, the most rejections first."""
    source = source_name().label("source")
    rows = session.execute(
        select(source, Instance.image_verdict, Instance.disposition, func.count())
        .join(Study, Study.study_instance_uid == Instance.study_instance_uid)
        .where(Instance.received_at >= since, Instance.current, Instance.image_verdict.is_not(None))
        .group_by(source, Instance.image_verdict, Instance.disposition)
    )
    checked: dict[str, int] = defaultdict(int)
    rejected: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for name, verdict, disposition, count in rows:
        checked[name] += count
        if disposition != Disposition.ANALYSED and verdict is not None:
            rejected[name][verdict] += count
    figures = [
        SuitabilityFigures(
            name,
            share(sum(rejected[name].values()), total),
            tuple(sorted(rejected[name].items(), key=lambda item: (-item[1], item[0]))),
        )
        for name, total in checked.items()
    ]
    return sorted(figures, key=lambda item: (-item.rejected.count, item.source))
