"""A real HL7 receiver for tests: the MLLP server of the PyPI package ``hl7``, which parses what comes."""

from __future__ import annotations

import asyncio
import ssl
import threading
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import hl7
import hl7.mllp
import pytest

Answer = Callable[[str], str]
"""MSH-10 -> what to do: an acknowledgement code, or one of the misdeeds below."""
SILENCE, DROP, WRONG_ID, GARBAGE, NO_MSA, TRICKLE, ERROR_SEGMENT, BROKEN_OFF, TWICE = (
    "silence", "drop", "wrong control id", "garbage", "no MSA", "trickle", "AE with an ERR segment", "half an answer",
    "CA, and AA as well",
)  # fmt: skip


@dataclass
class Hl7Receiver:
    """Records every message as the library parsed it; `answer` may be replaced while it runs."""

    answer: Answer = lambda control_id: "AA"
    tls: ssl.SSLContext | None = None
    port: int = 0
    messages: list[Any] = field(default_factory=list)
    connections: int = 0
    _loop: Any = None
    _server: Any = None
    _thread: threading.Thread | None = None

    @property
    def control_ids(self) -> list[str]:
        """MSH-10 of every message, in the order of arrival."""
        return [str(message["MSH.F10"]) for message in self.messages]

    def start(self) -> None:
        """Listen; the same port again after `stop`."""
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(
            hl7.mllp.start_hl7_server(
                self._serve, "127.0.0.1", self.port, encoding="utf-8", ssl=self.tls, limit=1 << 20
            )
        )
        asyncio.set_event_loop(None)
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every connection."""
        assert self._thread is not None
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        await _rounds()  # a connection accepted just now gets its task, which will close it
        self._server.close()
        await _rounds()  # a task cancelled before its first step could not close its connection
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _rounds()  # closed transports let go of their sockets

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                message = await reader.readmessage()  # type: ignore[attr-defined]
                self.messages.append(message)
                await self._reply(str(message["MSH.F10"]), writer)
        except (IncompleteReadError, ConnectionError):
            pass  # the sender has no more, or the answer was to hang up
        finally:
            writer.close()

    async def _reply(self, control_id: str, writer: Any) -> None:
        deed = self.answer(control_id)
        if deed == SILENCE:
            await asyncio.sleep(3600)
        if deed == DROP:
            raise ConnectionAbortedError
        if deed == GARBAGE:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        elif deed == BROKEN_OFF:
            writer.write(b"\x0bMSH|^~\\&|RIS|HOSP")
            await writer.drain()
            raise ConnectionAbortedError
        elif deed == TRICKLE:
            for byte in b"\x0bMSH|^~\\&|" + 600 * b"x":
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.02)
        elif deed == TWICE:
            for code in ("CA", "AA"):
                writer.writemessage(hl7.parse(_answer_text(code, control_id)))
        else:
            writer.writemessage(hl7.parse(_answer_text(deed, control_id)))
        await writer.drain()


async def _rounds() -> None:
    """Let everything that waits in the loop have its turn, and what that starts, too."""
    await asyncio.sleep(0.05)


def _answer_text(deed: str, control_id: str) -> str:
    header = "MSH|^~\\&|RIS|HOSP|CXRAI||20260115233006||ACK^R01^ACK|RIS-7|P|2.5.1\r"
    if deed == NO_MSA:
        return header
    if deed == WRONG_ID:
        return f"{header}MSA|AA|SOMEBODY-ELSES\r"
    if deed == ERROR_SEGMENT:
        return f"{header}MSA|AE|{control_id}|Müller unknown\rERR||PID^1^3|204^Unknown key identifier^HL70357|E\r"
    return f"{header}MSA|{deed}|{control_id}\r"


@contextmanager
def running_receiver(
    answer: Answer = lambda control_id: "AA", tls: ssl.SSLContext | None = None
) -> Iterator[Hl7Receiver]:
    """Start a receiver on a free port and stop it afterwards."""
    receiver = Hl7Receiver(answer, tls)
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


@pytest.fixture
def ris() -> Iterator[Hl7Receiver]:
    """A receiver that takes every message."""
    with running_receiver() as started:
        yield started
