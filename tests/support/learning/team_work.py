"""Work for the processes of a team; it imports little, for each of them imports it."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path

import torch

from training.parallel import Team, run_team


def average_of_ranks(folder: str, team: Team) -> bool:
    """Average and collect something that differs between processes, and write down what this process got."""
    tensors = [torch.full((2, 2), float(team.rank)), torch.tensor([10.0 * team.rank])]
    team.average(tensors)
    collected = team.collect(torch.full((team.rank + 1, 3), float(team.rank)))
    torch.save([*tensors, collected], Path(folder) / f"{team.rank}.tensors")
    return True


def run_average(folder: Path) -> list[list[torch.Tensor]]:
    """Run ``average_of_ranks`` in two processes and return what each got."""
    run_team(2, partial(average_of_ranks, str(folder)), folder)
    return [torch.load(folder / f"{rank}.tensors", weights_only=True) for rank in range(2)]


def fail_in_second(team: Team) -> bool:
    """End one of the processes with an error."""
    if team.rank == 1:
        raise SystemExit(3)
    return True


def stop_early(team: Team) -> bool:
    """Report an early stop, as after a signal."""
    del team
    return False


def wait_long(folder: str, team: Team) -> bool:
    """Write down which process this is and go on for longer than any test."""
    (Path(folder) / f"{team.rank}.pid").write_text(str(os.getpid()))
    time.sleep(600)
    return True


if __name__ == "__main__":
    from team_work import wait_long as work  # importable under this name by the processes

    run_team(2, partial(work, sys.argv[1]), Path(sys.argv[1]))
