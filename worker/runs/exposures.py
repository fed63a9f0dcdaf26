"""Specially processed copies beside the pictures of a run: left alone, unless one is all there is of its exposure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dicom_io.foundation.reasons import ReasonCode
from dicom_io.selection.exposure import exposure_of, same_exposure
from dicom_io.storing.instance_store import InstanceStore, StoreError
from worker.arrival.copies import ALONE
from worker.rows.states import Disposition
from worker.rows.study_tables import Instance
from worker.runs.reading import Picture, Unread, read_header


def judge_copies(copies: Iterable[Instance], pictures: Sequence[Picture], store: InstanceStore) -> list[Unread]:
    """Say of each processed copy whether one of the pictures is the standard copy of its exposure.

    Where the headers do not tell, it is taken for a copy of what is analysed.
    """
    standard = [exposure_of(picture.header) for picture in pictures]
    judged = []
    for copy in copies:
        try:
            exposure = exposure_of(read_header(copy, store))
        except (StoreError, OSError):
            continue  # its row stays as it is
        alone = all(same_exposure(exposure, other) is False for other in standard)
        disposition = Disposition.NOT_ANALYSED if alone else Disposition.IGNORED
        reason = ALONE if alone else ReasonCode.PROCESSED_COPY.sentence
        judged.append(Unread(copy.id, ReasonCode.PROCESSED_COPY, reason, disposition))
    return judged
