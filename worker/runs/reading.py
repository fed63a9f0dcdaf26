"""From rows to pictures: which instances of a study a run looks at, and what can be read of each."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import cv2
from pydicom.dataset import Dataset
from sqlalchemy import BindParameter, Select, bindparam, or_, select
from sqlalchemy.orm import Session

from dicom_io.data_sets.dicom_file import parse_dicom, read_dicom_header, read_hashed
from dicom_io.foundation.reasons import ReasonCode
from dicom_io.pixels.fidelity import Decoding
from dicom_io.pixels.radiograph import Radiograph, UndecodableError, read_radiograph
from dicom_io.results.readable import UnreadableError, settle_header
from dicom_io.storing.instance_store import InstanceStore, StoreError
from model.suitability import Suitability
from worker.arrival.analysable import has_missed, is_analysable, is_missed
from worker.arrival.copies import is_copy
from worker.arrival.corrected_images import lay_over
from worker.foundation.errors import ImagesDeleted, PermanentRunError, RetryableRunError, how_to_restore
from worker.rows.states import Disposition
from worker.rows.study_tables import IdentityCorrection, Instance

BLANK_STD_GREY_LEVELS = 2.0
"""A picture that varies less than this (of 255) shows nothing; drawn and real chests lie above 30."""


@dataclass(frozen=True)
class Picture:
    """One instance that could be read."""

    instance_id: int
    sop_instance_uid: str
    header: Dataset
    """Everything but the pixel data."""
    radiograph: Radiograph
    calling_ae_title: str = ""
    """Who sent it: rules of the site may be about one sender."""
    suitability: Suitability | None = None
    """What the bundle's check said of it; None = not checked (yet)."""


@dataclass(frozen=True)
class Unread:
    """One instance that could not be read, or must not be analysed, and why."""

    instance_id: int
    reason_code: ReasonCode
    reason: str
    disposition: Disposition = Disposition.NOT_ANALYSED
    suitability: Suitability | None = None
    """What the bundle's check said of it; None = it was not checked."""


@dataclass(frozen=True)
class Material:
    """The current versions of a study's instances that matter to a run, each list oldest first; some are in several."""

    candidates: list[Instance]
    """Those that are, or were, fit for analysis."""
    copies: list[Instance]
    """Those that were left out as processed copies."""
    missed: frozenset[int]
    """Row ids of those that were not analysed and whose report has to say so."""


def load_material(session: Session, study_instance_uid: str) -> Material:
    """Return what a run of this study looks at, and what it must know of the rest."""
    found = session.execute(_material(), {"study": study_instance_uid}).all()
    return Material(
        [instance for instance, analysable, _copy, _missed in found if analysable],
        [instance for instance, _analysable, copy, _missed in found if copy],
        frozenset(instance.id for instance, _analysable, _copy, missed in found if missed),
    )


@cache
def _material() -> Select[Instance, bool, bool, bool]:
    """Return the query for the instances of ``study`` and why each matters; put together once."""
    study: BindParameter[str] = bindparam("study")
    kinds = (is_analysable(study), is_copy(study), has_missed(study))
    of_study = Instance.study_instance_uid == study  # again, where a planner looks for it
    return select(Instance, *kinds).where(of_study, or_(*kinds)).order_by(Instance.id)


def count_missed(missed: Collection[int], pictures: Iterable[Picture], unread: Iterable[Unread]) -> int:
    """Return of how many images a run's results say that they were not analysed.

    Parameters
    ----------
    missed
        Row ids of those that were not analysed before the run; what it says of one itself counts instead.
    """
    unread = list(unread)
    judged = {picture.instance_id for picture in pictures} | {each.instance_id for each in unread}
    return len(set(missed) - judged) + sum(is_missed(each.disposition, each.reason_code) for each in unread)


def read_pictures(
    candidates: Iterable[Instance],
    store: InstanceStore,
    decoding: Decoding = Decoding.EXACT,
    corrections: Sequence[IdentityCorrection] = (),
) -> tuple[list[Picture], list[Unread]]:
    """Decode every candidate; headers name the patient as corrected.

    Raises
    ------
    ImagesDeleted
        Retention has deleted one of them; without it the results would say less than those there are.
    RetryableRunError
        A stored file is missing, cannot be read now, or is not what was received.
    PermanentRunError
        Nobody can read whose picture one of them is, or which order it answers.
    """
    pictures, unread = [], []
    for candidate in candidates:
        try:
            picture = read_picture(candidate, store, decoding)
            lay_over(picture.header, corrections)
        except UndecodableError as error:
            unread.append(Unread(candidate.id, ReasonCode(error.reason_code), ReasonCode(error.reason_code).sentence))
            continue
        if is_blank(picture.radiograph):
            unread.append(Unread(candidate.id, ReasonCode.BLANK, ReasonCode.BLANK.sentence))
        else:
            pictures.append(picture)
    return pictures, unread


def read_picture(candidate: Instance, store: InstanceStore, decoding: Decoding) -> Picture:
    """Decode one instance; its header names the patient as received.

    Raises
    ------
    ImagesDeleted
        Retention has deleted it.
    RetryableRunError
        The stored file is missing, cannot be read now, or is not what was received.
    UndecodableError
        Nothing makes a picture of it.
    PermanentRunError
        Nobody can read whose picture it is, or which order it answers.
    """
    if candidate.deleted_at is not None:
        raise ImagesDeleted(candidate.study_instance_uid, candidate.deleted_at)
    dataset = _as_received(candidate, store)
    radiograph = read_radiograph(dataset, decoding)
    for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
        if keyword in dataset:
            del dataset[keyword]
    try:
        settle_header(dataset)
    except UnreadableError as error:
        words = f"{ReasonCode.RESULT_INVALID.sentence} {error}; results must carry it."
        raise PermanentRunError(ReasonCode.RESULT_INVALID, words) from error
    return Picture(candidate.id, candidate.sop_instance_uid, dataset, radiograph, candidate.calling_ae_title)


def _as_received(candidate: Instance, store: InstanceStore) -> Dataset:
    """Return the whole data set; here, so that the bytes it is made of are gone when its pixels are decoded."""
    try:
        path = store.open_path(candidate.path)
        file_bytes, sha256 = read_hashed(path)
    except (StoreError, OSError) as error:
        where = f"the data folder of {socket.gethostname()}"
        what = f"cannot be read back from {where}; check data_dir, which all hosts must share"
        raise _not_as_received(candidate, what) from error
    if sha256 != candidate.sha256:  # a disk may give zeros back, or half a file
        raise _not_as_received(candidate, "is stored damaged, not as it was received; check the disk of data_dir")
    return parse_dicom(file_bytes, path)


def _not_as_received(candidate: Instance, what: str) -> RetryableRunError:
    how = how_to_restore(candidate.study_instance_uid)
    words = f"image {candidate.sop_instance_uid} {what}. Where images of the study are lost, {how}."
    return RetryableRunError(ReasonCode.FILE_MISSING, words)


def is_blank(radiograph: Radiograph) -> bool:
    """Say whether a picture varies so little that it shows nothing."""
    # numpy would first make a copy eight times the size
    return float(cv2.meanStdDev(radiograph.pixels)[1][0, 0]) < BLANK_STD_GREY_LEVELS


def read_header(instance: Instance, store: InstanceStore) -> Dataset:
    """Return the header of a stored instance.

    Raises
    ------
    StoreError
        The file is gone, or not what was received any more.
    """
    return read_dicom_header(store.open_intact(instance.path, instance.sha256))
