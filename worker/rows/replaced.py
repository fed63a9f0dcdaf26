"""Whether an answer rests on an image that came again since, in a version that no run of it has found to be the same.

Until a run has decided anew, nothing may leave under such an answer: the new version may name another patient or order,
or be none that can be analysed. A version that was judged to show the same has the disposition ``analysed``.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from worker.rows.run_tables import Prediction
from worker.rows.states import Disposition
from worker.rows.study_tables import Instance, Study


def rests_on_replaced(run_id: int | InstrumentedAttribute[int]) -> ColumnElement[bool]:
    """Return the condition that the run looked at a version whose successor was not, or not yet, analysed."""
    looked_at, now = aliased(Instance), aliased(Instance)
    same_image = and_(
        now.study_instance_uid == looked_at.study_instance_uid,
        now.sop_instance_uid == looked_at.sop_instance_uid,
        now.current,
    )
    return (
        select(Prediction.id)
        .join(looked_at, looked_at.id == Prediction.instance_id)
        .join(now, same_image)
        .where(Prediction.run_id == run_id, ~looked_at.current, now.disposition != Disposition.ANALYSED)
        .exists()
    )


def is_outdated(session: Session, study: Study) -> bool:
    """Return whether the study's answer rests on an image that was replaced."""
    if study.current_run_id is None:
        return False
    return bool(session.scalar(select(rests_on_replaced(study.current_run_id))))
