"""Standard streams of a command line: some may be closed, have a full disk behind them, or a reader that goes.

Here because every command line knows ``model``. Python itself tells of such things behind the last line of a program,
in words about its own objects and with exit code 120.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _StandardOutput(io.FileIO):
    """Says of itself which file cannot be written."""

    def write(self, written: ReadableBuffer, /) -> int:
        try:
            return super().write(written)
        except OSError as error:
            words = "closed" if error.errno == errno.EBADF else error.strerror
            raise OSError(error.errno, words, "standard output") from error


class _StandardError(io.FileIO):
    """Loses what cannot be written: nobody could be told, and a log that is full keeps no process from going on."""

    def write(self, written: ReadableBuffer, /) -> int:
        try:
            return super().write(written)
        except OSError:
            return memoryview(written).nbytes


def prepare_streams() -> None:
    """Have what goes wrong with standard streams told in words; call it before a command line is loaded.

    Those that the shell has closed (``>&-``) are opened, for the next files opened would get their numbers and their
    output: standard input is at its end then, what is written to standard output is refused.
    """
    for number, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # the lowest number that is free, which is this one
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 (as long as the process)
    sys.stdout = _upon(_StandardOutput(1, "w", closefd=False), sys.stdout)
    sys.stderr = _upon(_StandardError(2, "w", closefd=False), sys.stderr, "backslashreplace")


def _upon(file: io.FileIO, usual: TextIO | None, errors: str | None = None) -> TextIO:
    """Return a stream like the usual one, which is None where it was closed."""
    return io.TextIOWrapper(
        io.BufferedWriter(file),
        encoding=usual.encoding if usual else "utf-8",
        errors=usual.errors if usual else errors,
        line_buffering=getattr(usual, "line_buffering", True),
        write_through=getattr(usual, "write_through", False),
    )


@contextmanager
def written_whole() -> Iterator[None]:
    """Run a command in this block, and let it end well only if what it wrote has reached standard output.

    Raises
    ------
    OSError
        It has not: the disk is full, or it is closed. ``standard output`` is the name of the file in the error.
    SystemExit
        Whoever read it has gone, as ``head`` does; no words are due.
    """
    try:
        yield
    finally:
        _finish()


def _finish() -> None:
    try:
        sys.stdout.flush()
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # for Python, which tries once more
        os.close(nowhere)
        if error.errno == errno.EPIPE:
            raise SystemExit(1) from None
        raise
