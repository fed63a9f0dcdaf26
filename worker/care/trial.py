"""One picture tried by hand: what the model says of it and where it looked, without a study and without a trace.

The picture passes the same checks as one that arrives: what does not look like a frontal chest is not classified, and
says so, for numbers about a knee would be believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dicom_io.data_sets.dicom_file import parse_dicom
from dicom_io.data_sets.file_meta import is_dicom_file
from dicom_io.data_sets.header import PARSE_ERRORS
from dicom_io.pictures.overlay import Caption, Film, draw_overlay
from dicom_io.pixels.radiograph import UndecodableError, read_radiograph
from model.cam import saliency
from model.classifier import Classification, NotFiniteError
from model.labels import LABELS
from model.preprocess import INPUT_SIZE_PX
from model.suitability import Suitability, SuitabilityError
from worker.foundation.errors import WorkerError
from worker.runs.examination import odd_shape
from worker.runs.policy import Assessment, percent
from worker.runs.reading import BLANK_STD_GREY_LEVELS
from worker.runs.workplace import LoadedModel

MAXIMUM_PIXELS = 64_000_000
"""Of a PNG or JPEG; the largest detectors have 18 million."""


class TrialRefused(WorkerError):
    """The picture cannot be tried; the message says why."""


@dataclass(frozen=True)
class Trial:
    """What became of a picture; without a classification ``obstacle`` says why."""

    pixels: NDArray[np.uint8]
    """uint8 [H, W], bones bright."""
    suitability: Suitability | None
    """None = the bundle has no check: nobody looked."""
    obstacle: str
    classification: Classification | None
    assessment: Assessment | None

    def overlay(self, finding: str, model: LoadedModel) -> NDArray[np.uint8]:
        """Return the picture with the finding's heat map, drawn as for the PACS, RGB [h, w, 3].

        Raises
        ------
        TrialRefused
            The picture was not classified, or the model does not know the finding.
        """
        known = self.assessment.findings if self.assessment else ()
        found = next((item for item in known if item.label == finding and item.probability is not None), None)
        if found is None or self.classification is None:
            raise TrialRefused("there is no heat map of this finding")
        map = self.classification.maps[LABELS.index(finding)]
        facts = model.bundle
        caption = Caption(
            f"{finding.replace('_', ' ')} {percent(found.probability)}",
            f"{facts.name} {facts.model_version}, threshold {percent(found.threshold)}",
            demonstration=facts.demonstration,
        )
        return draw_overlay(Film(self.pixels), saliency(map, (INPUT_SIZE_PX, INPUT_SIZE_PX)), caption)


def try_picture(content: bytes, model: LoadedModel) -> Trial:
    """Judge a DICOM, PNG or JPEG file.

    Raises
    ------
    TrialRefused
        It is none of these, damaged, too small, too large or too long, or the model computes no number of it.
    """
    pixels = _pixels(content)
    if min(pixels.shape) < model.bundle.smallest_side_px:
        raise TrialRefused(
            f"the picture has {pixels.shape[1]} x {pixels.shape[0]} px; the network looks at"
            f" {model.bundle.smallest_side_px} a side"
        )
    if odd := odd_shape(*pixels.shape):
        raise TrialRefused(odd)
    if float(pixels.std()) < BLANK_STD_GREY_LEVELS:
        return Trial(pixels, None, "The picture is blank or nearly so.", None, None)
    try:
        seen = model.classifier.examine(pixels)
        if seen is not None and not seen.suitable:
            sentence = seen.sentence
            return Trial(pixels, seen, f"{sentence[0].upper()}{sentence[1:]}.", None, None)
        classification = model.classifier.classify(pixels)
    except (NotFiniteError, SuitabilityError) as error:
        raise TrialRefused(str(error)) from error
    return Trial(pixels, seen, "", classification, model.policy.assess([classification.probabilities]))


def _pixels(content: bytes) -> NDArray[np.uint8]:
    if is_dicom_file(content):
        try:
            return read_radiograph(parse_dicom(content)).pixels
        except UndecodableError as error:
            raise TrialRefused(f"this DICOM file cannot be shown: {error}") from None
    try:
        picture = Image.open(BytesIO(content), formats=("PNG", "JPEG"))
        if picture.size[0] * picture.size[1] > MAXIMUM_PIXELS:
            raise TrialRefused(f"the picture has more than {MAXIMUM_PIXELS // 10**6} million px")
        return _grey(picture)
    except (*PARSE_ERRORS, SyntaxError, Image.DecompressionBombError):  # Pillow's chunk readers raise many kinds
        raise TrialRefused("this is not a DICOM, PNG or JPEG file that can be read") from None


def _grey(picture: Image.Image) -> NDArray[np.uint8]:
    """Return 8 bits of grey; of 16 the whole range, for a file without a header says no window."""
    if picture.mode.startswith("I"):
        wide = np.asarray(picture, dtype=np.float64)
        low, high = float(wide.min()), float(wide.max())
        return np.rint(255 * (wide - low) / max(high - low, 1.0)).astype(np.uint8)
    return np.asarray(picture.convert("L"), dtype=np.uint8)
