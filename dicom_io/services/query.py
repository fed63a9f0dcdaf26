"""Asks an archive what it holds: C-FIND in the Study Root model (PS3.4 C.6.2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.association import Association

from dicom_io.associations.client import ScuSettings, associate, end
from dicom_io.associations.message_limits import answered_within, was_too_slow
from dicom_io.associations.reactor_pause import reactor_held
from dicom_io.foundation.peer import Peer

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
PENDING = (0xFF00, 0xFF01)
MOST_MATCHES = 100_000
"""Of one query; a busy hospital makes fewer studies in a month."""
_SYNTAXES: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


class ArchiveError(Exception):
    """The archive cannot be asked, or does not answer; the message says why and names no patient."""


class ArchiveUnreachable(ArchiveError):
    """There was no association with the archive: nobody answers there, or it rejects us."""


class ArchiveTooSlow(ArchiveError):
    """The archive has answered, and not come to an end in time; the association was ended, another may do."""


class Query:
    """Asks over one association."""

    def __init__(self, association: Association, ae_title: str, answers_seconds: float) -> None:
        self._association = association
        self._ae_title = ae_title
        self._answers_seconds = answers_seconds

    def find(self, level: str, **keys: str) -> list[Dataset]:
        """Return every match; keys by keyword, empty ones are wanted back.

        Parameters
        ----------
        level
            ``STUDY``, ``SERIES`` or ``IMAGE``.

        Raises
        ------
        ArchiveError
            The archive refused the query or the association was lost: what came until then is no answer.
        ArchiveTooSlow
            It did not come to an end in time.
        """
        wanted = Dataset()
        wanted.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(wanted, keyword, value)
        matches = []
        try:
            with reactor_held(self._association), answered_within(self._association, self._answers_seconds):
                for response, identifier in self._association.send_c_find(wanted, STUDY_ROOT_FIND):
                    status = response.get("Status")
                    if status in PENDING and identifier is not None:
                        matches.append(identifier)
                        if len(matches) > MOST_MATCHES:
                            self._association.abort()  # what comes after would be taken for other answers
                            raise ArchiveError(
                                f"{self._ae_title} answers a query with more than {MOST_MATCHES} matches"
                            )
                    elif status != 0x0000:
                        raise self._refused(level, status)
        except (ValueError, RuntimeError, OSError) as error:
            raise ArchiveError(f"{self._ae_title} was not asked ({type(error).__name__})") from error
        return matches

    def _refused(self, level: str, status: int | None) -> ArchiveError:
        if status is not None:
            return ArchiveError(f"{self._ae_title} refused a query at {level} level with status 0x{status:04X}")
        if was_too_slow(self._association):
            return ArchiveTooSlow(f"{self._ae_title} did not end its answer to a query in {self._answers_seconds:g} s")
        return ArchiveError(f"{self._ae_title} did not answer a query: timeout, abort or lost connection")


@contextmanager
def querying(archive: Peer, calling_ae_title: str, settings: ScuSettings) -> Iterator[Query]:
    """Open an association for queries.

    Raises
    ------
    ArchiveUnreachable
        The archive cannot be reached or rejects us.
    ArchiveError
        It offers no queries.
    """
    contexts = [build_context(STUDY_ROOT_FIND, _SYNTAXES)]
    association = associate(archive, contexts, calling_ae_title, settings)
    if isinstance(association, str):
        raise ArchiveUnreachable(association)
    try:
        if not association.accepted_contexts:
            raise ArchiveError(f"{archive.ae_title} does not offer queries (Study Root C-FIND)")
        yield Query(association, archive.ae_title, settings.answers_seconds)
    finally:
        end(association)
