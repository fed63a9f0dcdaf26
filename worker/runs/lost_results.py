"""Whether files of the results in force are gone or damaged, so that they have to be made again."""

from __future__ import annotations

from sqlalchemy import select

from worker.rows.delivery_tables import Delivery
from worker.rows.run_tables import Result
from worker.rows.states import DeliveryState, ResultKind
from worker.runs.workplace import Workplace


def are_lost(run_id: int, workplace: Workplace, *, asked: bool) -> bool:
    """Return whether a file of the run's results is not there any more as it was written.

    Rejection notes are no word of the run: another one is not made with its results.

    Parameters
    ----------
    asked
        True: a person has asked for the run, so every file is read. False: only those that could not be delivered,
        which hardly any study has, for a copy that is sent again must not cost the reading of all results.
    """
    query = select(Result.path, Result.sha256).where(Result.run_id == run_id, Result.kind != ResultKind.REJECTION_NOTE)
    if not asked:
        query = query.where(Result.deliveries.any(Delivery.state == DeliveryState.FAILED))
    with workplace.reading() as session:
        files = session.execute(query).all()
    return not all(workplace.results.is_intact(path, sha256) for path, sha256 in files)
