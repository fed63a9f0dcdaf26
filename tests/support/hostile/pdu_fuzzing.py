"""Sends mutated messages to a real listener over raw sockets, clean ones beside them, and says what became of both.

A session is one connection and everything sent on it; it follows from ``seed/session`` alone. After each message a
clean C-ECHO goes out: its answer, or the end of the connection, is the outcome. A connection that neither answers nor
ends within `END_SECONDS` of our having said that nothing more comes is a hang.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pdu_mutations import (
    A_ABORT,
    A_RELEASE_RQ,
    associate_request,
    echo,
    mutated_association,
    mutated_command,
    mutated_pdu,
    mutated_store,
)

QUIET_SECONDS = 0.5
"""So long an answer is waited for before nothing more is said."""
END_SECONDS = 20.0
CONNECTIONS = 6
"""At a time; the listener takes 25."""
KINDS: dict[str, tuple[Callable[[random.Random], bytes], int, float]] = {
    "association": (mutated_association, 1, 0.55),
    "PDU": (mutated_pdu, 6, 0.12),
    "command": (mutated_command, 25, 0.15),
    "data set": (mutated_store, 25, 0.18),
}
"""What is mutated: by what, how often in one session at most, and in which share of the sessions."""

_ACCEPTED, _REJECTED, _ABORTED = 2, 3, 7


@dataclass
class PduReport:
    """What became of everything sent."""

    sent: Counter[str] = field(default_factory=Counter)
    """Mutations by kind."""
    outcomes: Counter[str] = field(default_factory=Counter)
    hangs: list[str] = field(default_factory=list)
    """``seed/session: what`` of the connections that did not end."""
    longest_end_seconds: float = 0.0
    seconds: float = 0.0

    def add(self, other: PduReport) -> None:
        """Take another session in."""
        self.sent += other.sent
        self.outcomes += other.outcomes
        self.hangs += other.hangs
        self.longest_end_seconds = max(self.longest_end_seconds, other.longest_end_seconds)


class Connection:
    """One connection; reads whole PDUs and never waits longer than it is told."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, END_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(END_SECONDS)
        self._held = bytearray()
        self.ended = False

    def say(self, content: bytes) -> None:
        """Send, as far as the other side takes it."""
        try:
            self._socket.sendall(content)
        except OSError:
            self.ended = True

    def hear(self, until: float) -> bytes | None:
        """Return the next PDU; None where the connection ended or nothing came until that time (monotonic)."""
        while True:
            if len(self._held) >= 6 and len(self._held) >= (size := 6 + struct.unpack_from(">I", self._held, 2)[0]):
                pdu = bytes(self._held[:size])
                del self._held[:size]
                return pdu
            if self.ended or not select.select([self._socket], [], [], max(0.0, until - time.monotonic()))[0]:
                return None
            try:
                came = self._socket.recv(1 << 16)
            except OSError:
                came = b""
            self.ended = not came
            self._held += came

    def end(self) -> float | None:
        """Say that nothing more comes; return after how many seconds the other side closed, None if it did not."""
        began = time.monotonic()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        while not self.ended and time.monotonic() - began < END_SECONDS:
            self.hear(began + END_SECONDS)
        self._socket.close()
        return time.monotonic() - began if self.ended else None


def fuzz(address: tuple[str, int], seed: int, mutations: int) -> PduReport:
    """Send at least so many mutations."""
    report, lock, sessions = PduReport(), threading.Lock(), iter(range(mutations))
    began = time.monotonic()

    def work(_: int) -> None:
        while True:
            with lock:
                if report.sent.total() >= mutations:
                    return
                session = next(sessions)
            found = run_session(address, seed, session)
            with lock:
                report.add(found)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for done in [pool.submit(work, number) for number in range(CONNECTIONS)]:
            done.result()
    report.seconds = time.monotonic() - began
    return report


def run_session(address: tuple[str, int], seed: int, session: int) -> PduReport:
    """Send everything of one session and see the connection end."""
    draw = random.Random(f"{seed}/{session}")
    (kind,) = draw.choices(list(KINDS), [share for *_, share in KINDS.values()])
    mutate, most, _ = KINDS[kind]
    report, connection = PduReport(), Connection(address)
    if kind == "association":
        report.sent[kind] += 1
        connection.say(mutate(draw))
        report.outcomes[f"{kind}: {_opening(connection)}"] += 1
    else:
        connection.say(associate_request())
        opened = _opening(connection)
        if opened != "accepted":
            report.outcomes[f"clean association: {opened}"] += 1
            most = 0
        for number in range(draw.randint(1, most) if most else 0):
            report.sent[kind] += 1
            connection.say(mutate(draw) + echo(0x5000 + number))
            report.outcomes[f"{kind}: {_reaction(connection, 0x5000 + number)}"] += 1
            if connection.ended:
                break
    connection.say(draw.choice((A_RELEASE_RQ, A_ABORT, b"", b"")))
    seconds = connection.end()
    if seconds is None:
        report.hangs.append(f"{seed}/{session}: {kind}, connection open {END_SECONDS:g} s after its end")
    report.longest_end_seconds = seconds or END_SECONDS
    return report


def _opening(connection: Connection) -> str:
    answer = connection.hear(time.monotonic() + QUIET_SECONDS)
    if answer is None:
        return "closed" if connection.ended else "no answer"
    return {_ACCEPTED: "accepted", _REJECTED: "rejected", _ABORTED: "aborted"}.get(answer[0], f"PDU {answer[0]}")


def _reaction(connection: Connection, message_id: int) -> str:
    """Return what came: the status of the mutated request, or only the answer to the echo behind it, or an end."""
    until, status = time.monotonic() + QUIET_SECONDS, "no answer of its own"
    while (pdu := connection.hear(until)) is not None:
        until = time.monotonic() + QUIET_SECONDS
        if pdu[0] == _ABORTED:
            return "aborted"
        if pdu[0] != 4:
            return f"PDU {pdu[0]}"
        if _number(pdu, 0x0120) == message_id:
            return status
        status = f"status {_number(pdu, 0x0900):04X}"
    return "closed" if connection.ended else "no answer"


def _number(pdu: bytes, element: int) -> int:
    """Return the value of an unsigned short in a command set; 0xFFFF where it is not there."""
    place = pdu.find(struct.pack("<HHI", 0, element, 2))
    return int(struct.unpack_from("<H", pdu, place + 8)[0]) if place >= 0 else 0xFFFF
