"""Whether the pictures of a run are one patient's: asked again of all of them, before anything is made of them.

At reception an image is compared with its study's row; here the images that the results would rest on are compared with
each other, as they are now. A new version may have renamed one of them and not the others, and a name that agrees with
two others (``Doe``) does not make these agree.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import combinations

from worker.arrival.identity import WHOSE, contradiction, hold, identity_columns
from worker.rows.leases import Claim
from worker.rows.outcome import held_run
from worker.runs.reading import Picture
from worker.runs.workplace import Workplace

logger = logging.getLogger(__name__)


def hold_if_in_doubt(claim: Claim, pictures: Sequence[Picture], workplace: Workplace) -> bool:
    """Hold the study and end the run where two pictures, corrected, name different patients; say whether it did.

    Raises
    ------
    LeaseLost
        Somebody else has the run; nothing was written.
    """
    found = _contradiction(pictures)
    if found is None:
        return False
    cause, sop_instance_uid = found
    with workplace.sessions.begin() as session:
        study, _, now, _ = held_run(session, claim)
        hold(session, study, cause, now, actor=claim.worker_name, sop_instance_uid=sop_instance_uid)
    logger.warning("run %d: the study %s; it is held", claim.run_number, cause)
    return True


def _contradiction(pictures: Sequence[Picture]) -> tuple[str, str] | None:
    """Return how two of these contradict each other, and one of them."""
    named: dict[tuple[str, ...], tuple[dict[str, str], str]] = {}
    for picture in pictures:
        columns = identity_columns(picture.header)
        named.setdefault(tuple(columns[name] for name in WHOSE), (columns, picture.sop_instance_uid))
    for (one, _), (other, sop_instance_uid) in combinations(named.values(), 2):
        if cause := contradiction(one, other):
            return cause, sop_instance_uid
    return None
