"""How messages wait: ``stat`` first with a fair share for the others, and whole files on the filesystem broker.

kombu's own order for Redis lets a busy ``stat`` queue starve ``routine``, its order for the filesystem alternates both;
its filesystem transport also shows a message to readers before it is written, and sleeps while one waits. All of it is
put right here.
"""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.json import dumps, loads

from dicom_io.storing.file_clock import now_by_files
from worker.queue.folder_bell import FolderBell

logger = logging.getLogger(__name__)

URGENT_QUEUE = "stat"
LONGEST_URGENT_STREAK = 4
"""After this many ``stat`` messages in a row another queue is asked first once: at least one in five is routine."""


class StatFirst:
    """Order in which queues are asked for the next message (kombu's ``queue_order_strategy`` protocol)."""

    def __init__(self, queues: Iterable[str] | None = None) -> None:
        self._queues = list(queues or ())
        self._streak = 0

    def update(self, queues: Iterable[str]) -> None:
        """Take the queues that are consumed from now on."""
        self._queues[:] = queues

    def consume(self, count: int) -> list[str]:
        """Return at most ``count`` queue names in the order to ask them."""
        urgent_last = self._streak >= LONGEST_URGENT_STREAK
        return sorted(self._queues, key=lambda queue: (queue == URGENT_QUEUE) is urgent_last)[:count]

    def rotate(self, last_used: str) -> str:
        """Note that ``last_used`` gave a message."""
        self._streak = self._streak + 1 if last_used == URGENT_QUEUE else 0
        return last_used


class _FirstWaiting:
    """Asks the queues in ``StatFirst`` order until one has a message (kombu's cycle protocol)."""

    def __init__(self, fetch: Callable[..., Any], queues: list[str], order: StatFirst) -> None:
        self._fetch = fetch
        self._queues = queues
        self._order = order

    def get(self, callback: Callable[..., Any], **options: Any) -> Any:
        """Deliver one message; raise ``Empty`` when no queue has any."""
        self._order.update(self._queues)
        for queue in self._order.consume(len(self._queues)):
            try:
                delivered = self._fetch(queue, callback, **options)
            except Empty:
                continue
            self._order.rotate(queue)
            return delivered
        raise Empty

    def close(self) -> None:
        """Nothing to let go of."""


UNFINISHED_SUFFIX, TAKEN_SUFFIX = ".tmp", ".taken"
LEFTOVER_AFTER_SECONDS = 600.0
"""A message is written, or read, within milliseconds."""


class Channel(filesystem.Channel):
    """kombu's filesystem channel with whole messages and ``stat`` first; all it writes stays in its own folder."""

    def _put(self, queue: Any, payload: Any, **options: Any) -> None:  # type: ignore[override]  # as kombu's own
        """Write the message aside and rename it, so that no reader meets half a message."""
        if self.connection is None:  # kombu tries once more over the channel that it has closed
            raise ChannelError("the channel was closed by the error before")
        folder = Path(self.data_folder_out)
        name = f"{time.time_ns():020d}_{uuid.uuid4()}"
        unfinished = folder / f"{name}{UNFINISHED_SUFFIX}"
        try:
            _write_whole(folder / f"{name}.{queue}.msg", unfinished, payload)
        except OSError as error:
            raise ChannelError(f"cannot write a message into {folder}: {error.strerror}") from error

    def _get(self, queue: Any, timeout: Any = None) -> Any:
        """Return the oldest message that can be read; raise ``Empty`` without one.

        It is renamed first, so that no other reader has it, too.
        """
        folder = Path(self.data_folder_in)
        for message in sorted(folder.glob(f"*.{queue}.msg")):  # names begin with the time
            taken = message.with_name(message.name + TAKEN_SUFFIX)
            try:
                message.rename(taken)
            except FileNotFoundError:
                continue
            payload = taken.read_bytes()
            taken.unlink()
            try:
                return loads(payload)  # type: ignore[no-untyped-call]  # kombu's
            except ValueError:  # what a power cut leaves of a message, which is not fsynced; Celery would end of it
                logger.warning("a message of the queue %s cannot be read and is gone; the sweeper rings again", queue)
        raise Empty

    def get_table(self, exchange: Any) -> list[Any]:
        """Return which queues are bound to an exchange, each with its routing key and pattern."""
        bound = self._bindings(self._exchange_file(exchange))  # type: ignore[no-untyped-call]  # kombu's
        return [filesystem.exchange_queue_t(*binding) for binding in bound]

    def _queue_bind(self, exchange: Any, routing_key: Any, pattern: Any, queue: Any) -> None:
        """Note that a queue belongs to an exchange, so that no reader meets half a list.

        kombu's own empties the file before it has locked it: of two processes that start together one ended of it.
        """
        file: Path = self._exchange_file(exchange)  # type: ignore[no-untyped-call]  # kombu's
        file.parent.mkdir(exist_ok=True)
        binding, unfinished = [routing_key or "", pattern or "", queue or ""], file.with_suffix(UNFINISHED_SUFFIX)
        try:
            with file.with_suffix(".lock").open("a") as lock:
                filesystem.lock(lock, filesystem.LOCK_EX)  # type: ignore[no-untyped-call]  # until it is closed
                bound = self._bindings(file)
                if binding not in bound:
                    _write_whole(file, unfinished, [binding, *bound])
        except OSError as error:
            self.state.binding_delete(queue, exchange, routing_key)  # noted before it was done; else never tried again
            raise ChannelError(f"cannot write {file}: {error.strerror}") from error

    def _bindings(self, file: Path) -> list[list[str]]:
        try:
            return list(loads(file.read_bytes()))  # type: ignore[no-untyped-call]  # kombu's
        except FileNotFoundError:
            return []
        except ValueError:  # what a power cut leaves; whoever starts binds its queues anew
            logger.warning("%s cannot be read and is written anew", file.name)
            return []

    def basic_ack(self, delivery_tag: Any, multiple: Any = False) -> None:
        """Note that a message is done with: there may be room for the next one, at once."""
        super().basic_ack(delivery_tag, multiple)  # type: ignore[no-untyped-call]  # kombu's
        self._ring()

    def basic_reject(self, delivery_tag: Any, requeue: Any = False) -> None:
        """Note that a message is refused, as `basic_ack`."""
        super().basic_reject(delivery_tag, requeue)  # type: ignore[no-untyped-call]  # kombu's
        self._ring()

    def _ring(self) -> None:
        if self.connection is not None:  # closed meanwhile: nobody waits
            self.connection.bell.ring()

    def _reset_cycle(self) -> None:
        self._cycle = _FirstWaiting(self._get_and_deliver, self._active_queues, StatFirst())


def _write_whole(path: Path, unfinished: Path, content: object) -> None:
    """Write aside and rename, so that no reader meets half of it."""
    unfinished.write_text(dumps(content), encoding="utf-8")  # type: ignore[no-untyped-call]  # kombu's
    unfinished.replace(path)


def remove_leftovers(folder: Path) -> int:
    """Delete what killed processes and a full disk have left half written or half read; return how many files.

    What such a message said is lost, as any message may be: the sweeper rings again.
    """
    oldest_kept, removed = now_by_files(folder) - LEFTOVER_AFTER_SECONDS, 0
    for path in [path for suffix in (UNFINISHED_SUFFIX, TAKEN_SUFFIX) for path in folder.glob(f"*{suffix}")]:
        with suppress(FileNotFoundError):  # one that was under way when the folder was read
            if path.stat().st_mtime <= oldest_kept:
                path.unlink()
                removed += 1
    return removed


class Transport(filesystem.Transport):
    """Used instead of kombu's own for ``filesystem://`` (Celery setting ``broker_transport``)."""

    Channel = Channel

    def __init__(self, client: Any, **options: Any) -> None:
        super().__init__(client, **options)  # type: ignore[no-untyped-call]  # kombu's
        self._bell: FolderBell | None = None

    @property
    def bell(self) -> FolderBell:
        """Return what wakes `drain_events`; made at its first use, in the process that uses it."""
        if self._bell is None:
            client: Any = self.client
            self._bell = FolderBell(Path(client.transport_options["data_folder_in"]))
        return self._bell

    def drain_events(self, connection: Any, timeout: float | None = None, **_options: Any) -> None:
        """Deliver one message, as kombu does, but look when the bell rings and not after every sleep.

        Raises
        ------
        TimeoutError
            None came in that many seconds.
        """
        cycle: Any = self.cycle
        bell, ends = self.bell, math.inf if timeout is None else time.monotonic() + timeout
        while True:
            try:
                cycle.get(self._deliver, timeout=timeout)
                return
            except Empty:
                if time.monotonic() >= ends:
                    raise TimeoutError from None
                bell.wait(ends - time.monotonic())
