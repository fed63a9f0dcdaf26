"""What one training process does."""

from __future__ import annotations

import logging
import sys

from training.fitting.checkpoint import CheckpointError
from training.fitting.loop import DivergedError, Trainer
from training.fitting.plan import TrainingPlan
from training.parallel import Team


def train_member(plan: TrainingPlan, team: Team) -> bool:
    """Train as one process of a team; return False when asked to stop (the checkpoint is saved).

    What only the user can mend ends the process with status 1 and one sentence.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        return Trainer(plan, team).run()
    except (CheckpointError, DivergedError) as error:
        if team.rank == 0:
            print(error, file=sys.stderr)
        raise SystemExit(1) from error
