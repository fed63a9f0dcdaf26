"""Earlier results that no image stands behind any more are taken back.

Called when a run ends without an answer: the images came again and are blank, unreadable or none of a frontal chest
now, or another model does not take them. What was said of them before is then nobody's answer.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_io.data_sets.rejection_title import RejectionTitle
from dicom_io.foundation.reasons import ReasonCode
from worker.rows.leases import Claim
from worker.rows.run_tables import Run
from worker.rows.states import RunState
from worker.rows.study_tables import Study
from worker.runs.workplace import Workplace
from worker.sending.rejection import Why, take_back


def take_back_unfounded(session: Session, claim: Claim, reason_code: ReasonCode, workplace: Workplace) -> bool:
    """Take back everything that earlier runs of the study have sent, and stop what still waits.

    Call it before the run ends, so that the study still says whether it had an answer.

    Returns
    -------
    bool
        Whether somebody is told: ring for the study's delivery after the commit.

    Raises
    ------
    StoreError
        The store of results is full.
    """
    if session.get_one(Study, claim.study_instance_uid).current_run_id is None:
        return False
    earlier = session.scalars(
        select(Run)
        .where(Run.study_instance_uid == claim.study_instance_uid, Run.id != claim.run_id, ~Run.shadow)
        .where(Run.state.in_((RunState.DONE, RunState.SUPERSEDED)))
        .order_by(Run.id)
    ).all()
    words = f"the images as they are now are not analysed ({reason_code.sentence})"
    why = Why(RejectionTitle.PATIENT_SAFETY, words, claim.worker_name)
    return take_back(session, earlier, why, workplace.settings).anybody
