"""The process that `forks` orders from: it imports all that the worker's processes import, and forks for each order.

It forks twice and the process between ends, which gives its child to the next ancestor that takes in orphans: to
whoever ordered, who can then wait for it as for any other child.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace

from forks import MESSAGE_BYTES, Fork, Forks, Order

LOADED = (
    "worker.cli", "worker.processes.up", "worker.processes.listener", "worker.processes.sweep", "worker.processes.work",
    "worker.processes.tasks", "worker.runs.triage", "worker.runs.rehearsal", "worker.runs.workplace",
    "model.openvino_network", "worker.sending.delivery", "worker.sending.post_office", "worker.hl7.listener",
    "worklist.cli",
)  # fmt: skip
"""Every service and what it loads when it begins to work; PyTorch is not among it."""


def serve(descriptor: int) -> tuple[Order, list[int]]:
    """Fork for every order. Returns in forked processes only, each with its order and its output's descriptors."""
    with socket.socket(fileno=descriptor) as channel:
        while True:
            message, output, _flags, _address = socket.recv_fds(channel, MESSAGE_BYTES, 2)
            if not message:
                os._exit(0)
            if len(list(Path("/proc/self/task").iterdir())) > 1:
                channel.send(b"the server has threads")
            elif _forked_twice():
                channel.send(str(os.getpid()).encode())
                return Order(**json.loads(message)), output
            for number in output:
                os.close(number)


def _forked_twice() -> bool:
    """Fork a process whose parent has ended already; returns True in it, False in the server."""
    between = os.fork()
    if between:
        os.waitpid(between, 0)
        return False
    between = os.getpid()
    if os.fork():
        os._exit(0)
    while os.getppid() == between:
        time.sleep(0.0005)
    return True


def become(order: Order, descriptors: Sequence[int]) -> None:
    """Turn this fresh fork into what was ordered, and run it."""
    for descriptor, number in zip(descriptors, (1, 2), strict=True):
        os.dup2(descriptor, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(order.environment)
    time.tzset()
    os.chdir(order.folder)
    sys.path[0] = order.folder
    if order.supervisor:
        _supervise()
    if order.as_service:
        os.setsid()
        service_process()._stop_with_parent()
    sys.argv = [order.module, *order.arguments]
    runpy.run_module(order.module, run_name="__main__", alter_sys=True)


def service_process() -> ModuleType:
    return importlib.import_module("worker.foundation.service_process")


def _supervise() -> None:
    """Let the supervisor that this process becomes start its services as forks, too: of a server of its own.

    That one is forked off now, while this process has done nothing yet that its services must not have done.
    """
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if not os.fork():
        ours.close()
        become(*serve(its.detach()))
        raise SystemExit(0)
    its.close()
    server = Forks(ours)

    def start(command: Sequence[str], env: Mapping[str, str], **_as_service: object) -> Fork:
        module, *arguments = command[2:]  # after `python -m`
        return server.start(Order(module, arguments, env, str(Path.cwd()), as_service=True), 1, 2)

    errors = {"TimeoutExpired": subprocess.TimeoutExpired, "SubprocessError": subprocess.SubprocessError}
    service_process().subprocess = SimpleNamespace(Popen=start, **errors)


def main() -> None:
    """Load everything, then serve on the descriptor named in the command."""
    for name in LOADED:
        importlib.import_module(name)
    sys.path.remove(str(Path(__file__).parent))
    gc.freeze()
    become(*serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
