from __future__ import annotations

import logging

from worker.foundation.logs import LineFormatter


def test_what_a_peer_wrote_cannot_look_like_a_line_of_ours() -> None:
    quoted = "1.2\n2026-11-26T17:00:00.000Z INFO    MainProcess worker: study=1.2 triaged\x1b[2J\0\x85\r"
    record = logging.LogRecord("pynetdicom.utils", logging.WARNING, "", 0, "odd UID '%s'", (quoted,), None)
    first, *others = LineFormatter().format(record).split("\n")
    assert first.endswith("WARNING MainProcess pynetdicom.utils: odd UID '1.2")
    assert [line.startswith("  ") for line in others] == [True]
    assert others[0].isprintable()
    assert others[0].endswith("triaged\\x1b[2J\\x00\\x85\\x0d'")
