"""Says which steps of a process fail: each once in a while, and in one line where it is known what keeps them."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable

from dicom_io.storing.instance_store import StoreError
from worker.foundation.errors import WorkerError
from worker.foundation.logs import describe_exception
from worker.rows.database import DATABASE_GONE, outage_words

logger = logging.getLogger(__name__)

SAY_AGAIN_SECONDS = 60.0
"""The same failure of the same step is logged no sooner."""
_FORESEEN = (*DATABASE_GONE, OSError, StoreError, WorkerError)


class FailedSteps:
    """Takes steps, of which none may end the process, and logs those that fail."""

    def __init__(self, process: str) -> None:
        self._process = process
        self._said: dict[tuple[str, type[Exception]], float] = {}
        """When (``time.monotonic``) each step was last said to fail, and of what."""

    def attempt(self, what: str, step: Callable[[], object]) -> bool:
        """Take a step, called `what` in the log. Returns whether it went well."""
        try:
            step()
        except _FORESEEN as error:
            if self._is_to_be_said(what, error):
                logger.warning(
                    "a step of the %s failed: %s, %s; it is taken again later",
                    self._process, what, _in_words(error), exc_info=_is_wrong_statement(error),
                )  # fmt: skip
            return False
        except Exception as error:  # the loop's one broad except: a bad study may not stop the others
            if self._is_to_be_said(what, error):
                logger.exception("a step of the %s failed: %s; it is taken again later", self._process, what)
            return False
        return True

    def _is_to_be_said(self, what: str, error: Exception) -> bool:
        now, failure = time.monotonic(), (what, type(error))
        self._said = {one: said for one, said in self._said.items() if now - said < SAY_AGAIN_SECONDS}
        return self._said.setdefault(failure, now) == now


def _in_words(error: Exception) -> str:
    return outage_words(error) if isinstance(error, DATABASE_GONE) else describe_exception(error)


def _is_wrong_statement(error: Exception) -> bool:
    """Say whether this is a fault of ours that SQLite's driver raises like an outage."""
    return getattr(getattr(error, "orig", None), "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
