"""What the bundle in the shadow says beside the active one, on the same studies: agreement, and who is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, case, func, select
from sqlalchemy.orm import Session, aliased

from model.labels import LABELS
from worker.figures.auroc import RankedBoth, ranked_both
from worker.figures.intervals import Share, share
from worker.figures.reviewed_truth import reviewed_findings
from worker.rows.batches import in_batches
from worker.rows.run_tables import Prediction, Run
from worker.rows.states import Priority, RunState, StudyState
from worker.rows.study_tables import Study

MOST_STUDIES = 5000


@dataclass(frozen=True)
class FindingComparison:
    """One finding over the compared studies in which both bundles know it."""

    finding: str
    agreement: Share
    both: int
    only_active: int
    only_shadow: int
    neither: int
    ranked: RankedBoth | None
    """Against the reviews: the active bundle first, the shadow second; None without both kinds of reviewed studies."""


@dataclass(frozen=True)
class Comparison:
    """Two model versions on the same studies."""

    active_version: str
    shadow_version: str
    studies: int
    priorities: Mapping[tuple[str, str], int]
    """Studies by (active priority, shadow priority)."""
    findings: Sequence[FindingComparison]
    unanswered: int
    """Studies that the active bundle analysed, and the shadow left to a person or failed at."""
    waiting: int

    @property
    def active_flagged(self) -> Share:
        """STAT and URGENT by the active bundle."""
        return self._flagged(0)

    @property
    def shadow_flagged(self) -> Share:
        """STAT and URGENT by the bundle in the shadow."""
        return self._flagged(1)

    def _flagged(self, side: int) -> Share:
        flagged = sum(count for pair, count in self.priorities.items() if pair[side] != Priority.ROUTINE)
        return share(flagged, self.studies)


@dataclass(frozen=True)
class _Pair:
    study_instance_uid: str
    patient: tuple[str, str]
    active_run: int
    shadow_run: int
    priorities: tuple[str, str]


_Words = Mapping[tuple[int, str], tuple[float, bool]]
"""By (run, finding): highest probability over the images, and whether it was flagged."""


def compare_with_shadow(session: Session, since: datetime, most: int = MOST_STUDIES) -> Comparison | None:
    """Compare the bundle that last spoke in the shadow with what counts for the same studies; None where none spoke.

    Looked at are the latest studies, ``most`` at most, that were analysed in the shadow since then and whose current
    run is of the version that analysed the latest of them: others were judged by neither of the two.
    """
    active, shadow = aliased(Run), aliased(Run)
    paired = (
        select(
            Study.study_instance_uid,
            Study.issuer_of_patient_id,
            Study.patient_id,
            active.id,
            shadow.id,
            active.priority,
            shadow.priority,
            active.model_version,
            shadow.model_version,
        )
        .join(active, active.id == Study.current_run_id)
        .join(shadow, and_(shadow.study_instance_uid == Study.study_instance_uid, shadow.shadow))
        .where(shadow.state == RunState.DONE, shadow.outcome == StudyState.TRIAGED, shadow.finished_at >= since)
        .where(active.outcome == StudyState.TRIAGED)
        .order_by(shadow.id.desc())
    )
    latest = session.execute(paired.limit(1)).first()
    if latest is None:
        return None
    versions = str(latest[-2]), str(latest[-1])
    same = paired.where(active.model_version == versions[0], shadow.model_version == versions[1])
    pairs = [
        _Pair(uid, (issuer, patient), one, other, (str(here), str(there)))
        for uid, issuer, patient, one, other, here, there, *_versions in session.execute(same.limit(most))
    ]
    return Comparison(
        *versions,
        len(pairs),
        Counter(pair.priorities for pair in pairs),
        _findings(session, pairs),
        *_without_answer(session, since),
    )


def _without_answer(session: Session, since: datetime) -> tuple[int, int]:
    """Return how many runs in the shadow ended without an answer since then, and how many wait or run."""
    failed = (Run.state == RunState.FAILED) | (
        (Run.state == RunState.DONE) & Run.outcome.in_((StudyState.NOT_ANALYSED, StudyState.OUT_OF_SCOPE))
    )
    waits = Run.state.in_((RunState.QUEUED, RunState.RUNNING))
    unanswered = select(func.count()).where(Run.shadow, failed, Run.finished_at >= since)
    waiting = select(func.count()).where(Run.shadow, waits)
    return session.scalar(unanswered) or 0, session.scalar(waiting) or 0


def _findings(session: Session, pairs: Sequence[_Pair]) -> list[FindingComparison]:
    words = _words(session, [run for pair in pairs for run in (pair.active_run, pair.shadow_run)])
    truth = {(item.study_instance_uid, item.finding): item.present for item in reviewed_findings(session)}
    return [found for label in LABELS if (found := _finding(label, pairs, words, truth)) is not None]


def _words(session: Session, runs: Sequence[int]) -> _Words:
    words: dict[tuple[int, str], tuple[float, bool]] = {}
    for some in in_batches(runs):
        rows = session.execute(
            select(
                Prediction.run_id,
                Prediction.finding,
                func.max(Prediction.probability),
                func.max(case((Prediction.flagged, 1), else_=0)),
            )
            .where(Prediction.run_id.in_(some), Prediction.probability.is_not(None))
            .group_by(Prediction.run_id, Prediction.finding)
        )
        words |= {(run, finding): (float(probability), bool(flag)) for run, finding, probability, flag in rows}
    return words


def _finding(
    label: str, pairs: Sequence[_Pair], words: _Words, truth: Mapping[tuple[str, str], bool]
) -> FindingComparison | None:
    known = [pair for pair in pairs if (pair.active_run, label) in words and (pair.shadow_run, label) in words]
    if not known:
        return None
    said = [(words[pair.active_run, label], words[pair.shadow_run, label]) for pair in known]
    flags = Counter((one[1], other[1]) for one, other in said)
    judged = [number for number, pair in enumerate(known) if (pair.study_instance_uid, label) in truth]
    ranked = None
    if judged:
        ranked = ranked_both(
            [said[number][0][0] for number in judged],
            [said[number][1][0] for number in judged],
            [truth[known[number].study_instance_uid, label] for number in judged],
            [known[number].patient for number in judged],
        )
    return FindingComparison(
        label,
        share(flags[True, True] + flags[False, False], len(known)),
        flags[True, True],
        flags[True, False],
        flags[False, True],
        flags[False, False],
        ranked,
    )
