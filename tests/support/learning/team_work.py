"""Work for the processes of a team; it imports little, for each of them imports it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

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


class ArrivingApart:
    """Work that one of two processes never begins: the first one to be told of it does something else instead."""

    def __init__(self, folder: Path, instead: Callable[[], None]) -> None:
        self.folder, self.instead = folder, instead

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Be told of the work, as a process is before it meets the others."""
        self.__dict__ = state
        try:
            (self.folder / "first").touch(exist_ok=False)
        except FileExistsError:
            (self.folder / "second").touch()
        else:
            self.instead()

    def __call__(self, team: Team) -> bool:
        """Do nothing."""
        del team
        return True


def be_killed() -> None:
    """End as a process does that the system kills for want of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def take_long() -> None:
    """Go on for longer than any test."""
    time.sleep(600)


if __name__ == "__main__":
    from team_work import wait_long as work  # importable under this name by the processes

    run_team(2, partial(work, sys.argv[1]), Path(sys.argv[1]))
