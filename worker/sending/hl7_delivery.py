"""Sends kept HL7 messages to a receiver and judges its answers.

AA and CA are delivered. AE, AR, CE, CR, silence, a drop, an answer to another message: sent again later, with doubling
waits, for ever; what a receiver refuses today its operator may let in tomorrow, and the control id tells duplicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dicom_io.services.storage_scu import SendOutcome
from hl7_io.acknowledgement import AnswerError, acknowledged_id, read_acknowledgement
from hl7_io.mllp import MllpError
from hl7_io.mllp_client import MllpConnection, NoConnectionError
from hl7_io.reading import read_message
from worker.settings.hl7 import Hl7Destination

ATTEMPTS_IN_ORDER = 5
"""So often a message is tried before the next one about its study may go without it: a quarter of a minute, mostly."""


def announce(destination: Hl7Destination, paths: Sequence[Path], attempts: Sequence[int]) -> list[SendOutcome]:
    """Send the messages over one connection, each after the answer to the one before; report on each, in order.

    After a silence or a drop the rest is not tried: an answer that comes late would be taken for the next one's. After
    a refusal it waits, too, but not for ever: a withdrawal that is taken last would take back what is announced now,
    and one that is never taken must not hide it.

    Parameters
    ----------
    attempts
        Of each message, that being made included.
    """
    outcomes: list[SendOutcome] = []
    answered: set[str] = set()
    try:
        with MllpConnection(destination.receiver()) as connection:
            for number, path in enumerate(paths):
                outcomes.append(_sent(path, connection, answered))
                if not outcomes[-1].accepted and attempts[number] < ATTEMPTS_IN_ORDER:
                    break
    except NoConnectionError as error:
        return [replace(_undelivered(path, str(error)), unreachable=True) for path in paths]
    except MllpError as error:
        outcomes += [_undelivered(path, str(error)) for path in paths[len(outcomes) :]]
    why = "waits for an older message about the study"
    return outcomes + [replace(_undelivered(path, why), withheld=True) for path in paths[len(outcomes) :]]


def _sent(path: Path, connection: MllpConnection, answered: set[str]) -> SendOutcome:
    """Send one message; some receivers acknowledge a message in both modes, and what they said before is `answered`."""
    content = path.read_bytes()
    control_id = read_message(content).header.text(10)
    answer = connection.exchange(content, lambda answer: acknowledged_id(answer) in answered)
    answered.add(control_id)
    try:
        acknowledgement = read_acknowledgement(answer, control_id)
    except AnswerError as error:
        return _undelivered(path, str(error))
    words = f"{acknowledgement.words} (control id {control_id})"
    return SendOutcome(path, None, words, acknowledgement.accepted, permanent=False, comment_is_ours=True)


def _undelivered(path: Path, why: str) -> SendOutcome:
    return SendOutcome(path, None, why, False, permanent=False, comment_is_ours=True)
