from __future__ import annotations

import logging
import sys

import pytest

from worker.foundation.logs import LineFormatter


def test_what_a_peer_wrote_cannot_look_like_a_line_of_ours() -> None:
    quoted = "1.2\n2026-11-26T17:00:00.000Z INFO    MainProcess worker: study=1.2 triaged\x1b[2J\0\x85\r"
    record = logging.LogRecord("pynetdicom.utils", logging.WARNING, "", 0, "odd UID '%s'", (quoted,), None)
    first, *others = LineFormatter().format(record).split("\n")
    assert first.endswith("WARNING MainProcess pynetdicom.utils: odd UID '1.2")
    assert [line.startswith("  ") for line in others] == [True]
    assert others[0].isprintable()
    assert others[0].endswith("triaged\\x1b[2J\\x00\\x85\\x0d'")


def logged(name: str, error: Exception) -> list[str]:
    """Return the lines of ``LOGGER.exception(error)``."""
    try:
        raise error
    except Exception:  # noqa: BLE001 (whatever it is, it is logged)
        raised = sys.exc_info()
    record = logging.LogRecord(name, logging.ERROR, "", 0, error, None, raised)  # type: ignore[arg-type]
    return LineFormatter().format(record).split("\n")


def test_an_exception_over_what_a_peer_sent_is_one_line_that_quotes_nothing() -> None:
    (line,) = logged("pynetdicom.dul", ValueError("no number: 'Doe^Jane'"))
    assert line.endswith("pynetdicom.dul: builtins.ValueError, in logged of test_logs.py")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError("peer takes longer than 60 s over one PDU"), "OSError: peer takes longer than 60 s over one PDU"),
        (ConnectionResetError(104, "Connection reset by peer"), "ConnectionResetError: Connection reset by peer"),
    ],
)
def test_why_a_connection_was_lost_is_said(error: Exception, words: str) -> None:
    (line,) = logged("pynetdicom.dul", error)
    assert f"pynetdicom.dul: {words}, in" in line


@pytest.mark.parametrize("name", ["pynetdicom.events", "worker.sending.delivery"])
def test_a_fault_of_ours_keeps_its_stack_and_quotes_nothing(name: str) -> None:
    lines = logged(name, ValueError("no number: 'Doe^Jane'"))
    assert any("test_logs.py" in line and " in logged" in line for line in lines)
    assert "Doe" not in "\n".join(lines)
