"""Several training processes side by side, each with a share of every batch.

On CPUs this is about twice as fast as one process with two threads, since DenseNet's many small operations do not
split well over threads. Gradients and batch statistics are averaged after every step, so all processes hold the same
network and a run with a given number of processes is reproducible bit by bit.

A run starts its own processes (``run_team``, one torch thread each), or is started as several by torchrun
(``launched_team``), which is how several GPUs or machines are used: RANK, WORLD_SIZE and LOCAL_RANK say who is who.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

import torch
import torch.distributed as distributed
from torch import Tensor
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from model.loading import children_without_ctrl_c
from training.parent import end_with_parent

logger = logging.getLogger(__name__)

_LONGEST_WAIT = timedelta(hours=12)
_MEETING = timedelta(minutes=10)
"""How long the processes that torchrun started wait for each other before they begin."""
_SAID_AFTER_SECONDS, _SAID_EVERY_SECONDS = 5.0, 60.0
INTERRUPTED_EXIT_STATUS = 75  # EX_TEMPFAIL of sysexits.h: try again later
_SECONDS_TO_FOLLOW, _SECONDS_TO_SAVE = 2.0, 60.0


class TrainingInterruptedError(Exception):
    """Training was asked to stop and left a checkpoint; the same command continues."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM inside the block into ``TrainingInterruptedError``."""
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        raise TrainingInterruptedError("stopped; what is finished stays, the same command continues") from None
    finally:
        signal.signal(signal.SIGTERM, earlier)


class TrainingFailedError(Exception):
    """A training process ended with an error, which it printed."""


def training_device() -> torch.device:
    """Return the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Team:
    """This process among those of the run."""

    rank: int
    size: int

    def average(self, tensors: list[Tensor]) -> None:
        """Replace every tensor, of any shape, by its mean over the processes, in place."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        flat /= self.size
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def wait_for_all(self) -> None:
        """Return when every process has come here."""
        self.average([torch.zeros(1)])

    def collect(self, part: Tensor) -> Tensor:
        """Return the parts of all processes, [N, ...] each, joined along the first axis in the order of ranks."""
        if self.size == 1:
            return part
        gathered: list[Tensor | None] = [None] * self.size
        distributed.all_gather_object(gathered, part)
        return torch.cat([tensor for tensor in gathered if tensor is not None])


def launched_team() -> Team | None:
    """Return this process's place among those that torchrun started, or None where it did not.

    Raises
    ------
    TrainingFailedError
        RANK and WORLD_SIZE name no place.
    """
    rank, size = (os.environ.get(name) for name in ("RANK", "WORLD_SIZE"))
    if rank is None or size is None:
        return None
    if not (rank.isdecimal() and size.isdecimal() and int(rank) < int(size)):
        raise TrainingFailedError(f"RANK={rank} of WORLD_SIZE={size} is no place among processes; unset both variables")
    return Team(int(rank), int(size))


@contextmanager
def launched_membership(team: Team) -> Iterator[None]:
    """Join the processes that torchrun started, on this process's own GPU where there is one, and leave them again.

    Raises
    ------
    TrainingFailedError
        They did not all come within ten minutes, or nobody says where they meet.
    """
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "cpu:gloo,cuda:nccl"
    # A process that fails takes the others along through torchrun, so a long wait means work (the first one builds the
    # picture cache), not a hang.
    store = _met(team)
    distributed.init_process_group(backend, store=store, rank=team.rank, world_size=team.size, timeout=_LONGEST_WAIT)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _met(team: Team) -> Store:
    """Return what the processes that torchrun started share, once all have come."""
    place = f"{os.environ.get('MASTER_ADDR', '')}:{os.environ.get('MASTER_PORT', '')}"
    if not place.partition(":")[0] or not place.rpartition(":")[2].isdecimal():
        raise TrainingFailedError(
            f"RANK={team.rank} and WORLD_SIZE={team.size} are set, but MASTER_ADDR and MASTER_PORT do not say where "
            "the processes meet; start them with torchrun, or unset RANK and WORLD_SIZE"
        )
    what = f"training process {team.rank} of {team.size} for the others, at {place}"
    with _saying(f"waiting as {what}, for {_MEETING.total_seconds() / 60:g} minutes at most"):
        try:
            store: Store = next(rendezvous("env://", team.rank, team.size, timeout=_MEETING))[0]
            store.set(f"here/{team.rank}", "")
            store.wait([f"here/{rank}" for rank in range(team.size)], _MEETING)
        except RuntimeError as error:
            raise TrainingFailedError(
                f"waited as {what}, and not all of them came within {_MEETING.total_seconds() / 60:g} minutes; start "
                "the same command on every machine, each with the same MASTER_ADDR and MASTER_PORT"
            ) from error
    store.set_timeout(_LONGEST_WAIT)
    return store


@contextmanager
def _saying(words: str) -> Iterator[None]:
    """Log what is waited for while the block runs, unless it soon ends."""
    over = threading.Event()

    def say() -> None:
        pause_seconds = _SAID_AFTER_SECONDS
        while not over.wait(pause_seconds):
            logger.warning("%s", words)
            pause_seconds = _SAID_EVERY_SECONDS

    speaker = threading.Thread(target=say, daemon=True)
    speaker.start()
    try:
        yield
    finally:
        over.set()
        speaker.join()


def run_team(size: int, work: Callable[[Team], bool], folder: Path) -> None:
    """Run ``work(team)`` in ``size`` processes and wait for all of them.

    ``work`` returns False when it stopped early with a checkpoint. SIGINT and SIGTERM reach every process, as SIGTERM.
    Where one cannot be started or ends before its time, the others are stopped at once: they would wait for it.

    Raises
    ------
    TrainingInterruptedError, TrainingFailedError
    """
    folder.mkdir(parents=True, exist_ok=True)  # without it the processes would wait for one another for ever
    meeting_point = folder / "rendezvous"
    meeting_point.unlink(missing_ok=True)
    members: list[BaseProcess] = []
    forwarded: set[int] = set()

    def forward(number: int, frame: FrameType | None) -> None:
        del number, frame
        forwarded.add(signal.SIGTERM)
        for member in members:
            if member.is_alive():
                member.terminate()

    earlier = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        _start(size, work, meeting_point, members, forwarded)
        _wait(members, forwarded)
    finally:
        _stop(members)
        for number, handler in earlier.items():
            signal.signal(number, handler)
        meeting_point.unlink(missing_ok=True)


def _start(
    size: int, work: Callable[[Team], bool], meeting_point: Path, members: list[BaseProcess], forwarded: set[int]
) -> None:
    """Start the processes, each into ``members``, until a signal was forwarded, which the next ones would miss."""
    context = multiprocessing.get_context("spawn")
    for rank in range(size):
        member = context.Process(target=_member, args=(work, Team(rank, size), str(meeting_point)))
        try:
            with children_without_ctrl_c():
                member.start()
        except OSError as error:
            raise TrainingFailedError(
                f"only {rank} of {size} training processes could be started ({error.strerror or error}); make room for "
                "them, or ask for fewer with --processes"
            ) from error
        members.append(member)
        if forwarded:
            raise _interrupted()


def _wait(members: list[BaseProcess], forwarded: set[int]) -> None:
    """Return when all have done their work; a member that a forwarded signal ended had not yet begun its own."""
    running = list(members)
    while running:
        connection.wait([member.sentinel for member in running])
        running = [member for member in running if member.exitcode is None]
        if any(member.exitcode not in (None, 0, INTERRUPTED_EXIT_STATUS) for member in members):
            _join(running, _SECONDS_TO_FOLLOW)  # one failure takes the others along; their statuses together tell which
            if any(member.exitcode == -number for member in members for number in forwarded):
                raise _interrupted()
            raise TrainingFailedError(_failure(members))
    if any(member.exitcode == INTERRUPTED_EXIT_STATUS for member in members):
        raise _interrupted()


def _interrupted() -> TrainingInterruptedError:
    return TrainingInterruptedError("stopped; the same command continues from the last checkpoint")


def _failure(members: list[BaseProcess]) -> str:
    """Return in one sentence how members ended that should not have."""
    failed = {member.exitcode for member in members} - {None, 0, INTERRUPTED_EXIT_STATUS}
    killed = sorted(signal.Signals(-status).name for status in failed if status is not None and status < 0)
    if killed:
        return (
            f"a training process was ended by {' and '.join(killed)}, by the system if memory was short; the same "
            "command continues from the last checkpoint"
        )
    return f"training ended with status {' and '.join(sorted(map(str, failed)))}; the errors stand above"


def _stop(members: list[BaseProcess]) -> None:
    """End what still runs: one that trains saves a checkpoint first, one that waits for others is not waited for."""
    for member in members:
        if member.is_alive():
            member.terminate()
    _join(members, _SECONDS_TO_SAVE)
    for member in members:
        if member.is_alive():
            member.kill()
            member.join()


def _join(members: list[BaseProcess], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for member in members:
        member.join(max(0.0, deadline - time.monotonic()))


def _member(work: Callable[[Team], bool], team: Team, meeting_point: str) -> None:
    end_with_parent()
    torch.set_num_threads(1)
    if team.size > 1:
        if Path("/sys/class/net/lo").exists():
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # works without a network, and never leaves the machine
        # By its path: in a URL of a relative one the first folder would be a host's name.
        store = distributed.FileStore(meeting_point, team.size)  # type: ignore[attr-defined]  # not in its ``__all__``
        distributed.init_process_group("gloo", store=store, rank=team.rank, world_size=team.size)
    finished = work(team)
    if team.size > 1:
        distributed.destroy_process_group()
    if not finished:
        raise SystemExit(INTERRUPTED_EXIT_STATUS)
