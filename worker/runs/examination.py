"""Whether each picture may be analysed: what its tags say against what it looks like.

=======================  ================================  ==========================================================
the tags say             the picture looks                 the image becomes
=======================  ================================  ==========================================================
frontal chest            frontal                           analysed
frontal chest            like anything else                ``not_analysed(needs_review)``: the two disagree
chest, view unknown      frontal                           analysed
chest, view unknown      like anything else                ``not_analysed(needs_review)``
body part unknown        frontal                           analysed
body part unknown        like another view or body part    ``out_of_scope(not_chest)``
body part unknown        inverted, turned, unfamiliar ...  ``not_analysed(needs_review)``
another body part        frontal chest                     ``not_analysed(needs_review)``: the two disagree
another body part        like anything else                ``out_of_scope(not_chest)``
another body part, rule  anything                          ``out_of_scope(not_chest)``: a rule of the site knows
another view             anything                          ``not_analysed(not_frontal)``: the check knows no laterals
anything                 blank                             ``not_analysed(blank)``
chest or unknown         smaller than the network's input  ``not_analysed(too_small)``: nobody looks
chest or unknown         more than twice as long as wide   ``not_analysed(needs_review)``: nobody looks
anything                 nobody looked: no check           analysed if the tags prove a frontal chest, else needs_review
=======================  ================================  ==========================================================

Nothing is turned or inverted back: a picture that arrives wrong is shown wrong on the workstations too, and a person
must know. A picture with fewer pixels than the network's input has lost what the network was taught to see, and the
check, which looks at a smaller one yet, does not notice: of 45 public radiographs at 192 pixels a side one in twenty
changed a probability by 0.2, at 128 by 0.5, and all that looked frontal before still did at 32. Network and check see a
square, whatever they are shown; no film that they were taught with is nearly twice as long as wide. Another view, and
another body part where a rule of the site says it, are settled before pixels are decoded; such images come here only
where a rule was made since they arrived.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from dicom_io.foundation.reasons import ReasonCode
from dicom_io.pixels.radiograph import Radiograph
from dicom_io.selection.decision import answers_for
from dicom_io.selection.tag_answers import TagAnswers
from model.bundle import BundleFacts
from model.suitability import Suitability, Verdict
from worker.arrival.selection_rules import selection_rules
from worker.foundation.stopwatch import Stopwatch
from worker.rows.states import Disposition
from worker.runs.reading import Picture, Unread
from worker.runs.workplace import LoadedModel
from worker.settings.config import Settings

logger = logging.getLogger(__name__)

MOST_TIMES_AS_LONG = 2.0
"""Longer side / shorter side; of the 112,120 radiographs of ChestX-ray14 (Data_Entry_2017_v2020.csv) the most is 1.85,
and one in a thousand has more than 1.35."""


def examine(
    pictures: Sequence[Picture], unread: Sequence[Unread], model: LoadedModel, settings: Settings, watch: Stopwatch
) -> tuple[list[Picture], list[Unread]]:
    """Return the pictures that may be analysed, each with what the check said, and all that may not be."""
    fit, unfit = [], list(unread)
    for picture in pictures:
        tags = answers_for(picture.header, selection_rules(settings, picture.calling_ae_title))
        seen, obstacle = None, wrong_size(picture.instance_id, tags, picture.radiograph, model.bundle)
        if obstacle is None:
            with watch.stage("suitability"):
                seen = model.classifier.examine(picture.radiograph.pixels)
            obstacle = obstacle_of(picture.instance_id, tags, seen)
        if obstacle is None:
            fit.append(replace(picture, suitability=seen))
        else:
            logger.info("an image is not analysed: %s", obstacle.reason)
            unfit.append(obstacle)
    return fit, unfit


def wrong_size(instance_id: int, tags: TagAnswers, radiograph: Radiograph, facts: BundleFacts) -> Unread | None:
    """Say why a picture that may be a frontal chest has no size for the network; None where it has one."""
    rows, columns = radiograph.pixels.shape
    if tags.chest is False or tags.frontal is False:
        return None
    if min(rows, columns) < facts.smallest_side_px:
        reason = f"{ReasonCode.TOO_SMALL.sentence} ({columns} x {rows}; each side needs {facts.smallest_side_px})"
        return Unread(instance_id, ReasonCode.TOO_SMALL, reason)
    if odd := odd_shape(rows, columns):
        return Unread(instance_id, ReasonCode.NEEDS_REVIEW, f"{odd[0].upper()}{odd[1:]}; a person must look.")
    return None


def odd_shape(rows: int, columns: int) -> str:
    """Say in words that a picture is much longer than any chest radiograph; empty where it is not."""
    longest = max(rows, columns) / min(rows, columns)
    if longest <= MOST_TIMES_AS_LONG:
        return ""
    kind = "wide as high" if columns > rows else "high as wide"
    return f"the picture is {longest:.1f} times as {kind} ({columns} x {rows}), as no chest radiograph is"


def obstacle_of(instance_id: int, tags: TagAnswers, seen: Suitability | None) -> Unread | None:
    """Return why a picture must not be analysed; None where it may be.

    Parameters
    ----------
    tags
        What its tags and the site's rules say.
    seen
        What the bundle's check says; None = the bundle has none, nobody looked.
    """
    if tags.chest is False:
        return _other_body_part(instance_id, tags, seen)
    if tags.frontal is False:  # a rule of the site that was made since the image arrived
        reason = f"{ReasonCode.NOT_FRONTAL.sentence} ({tags.words})"
        return Unread(instance_id, ReasonCode.NOT_FRONTAL, reason, suitability=seen)
    if seen is None:
        if tags.prove_frontal_chest:
            return None
        return Unread(instance_id, ReasonCode.NEEDS_REVIEW, ReasonCode.NEEDS_REVIEW.sentence)
    if seen.suitable:
        return None
    reason_code, disposition = ReasonCode.NEEDS_REVIEW, Disposition.NOT_ANALYSED
    if seen.verdict is Verdict.BLANK:
        reason_code = ReasonCode.BLANK
    elif seen.verdict is Verdict.OTHER and tags.chest is None:
        reason_code, disposition = ReasonCode.NOT_CHEST, Disposition.OUT_OF_SCOPE
    reason = _disagreement(tags, seen)
    if not tags.prove_frontal_chest:
        reason = f"The tags say {tags.words}; {seen.sentence}."
    return Unread(instance_id, reason_code, reason, disposition, seen)


def _other_body_part(instance_id: int, tags: TagAnswers, seen: Suitability | None) -> Unread:
    """Return why a picture whose tags say another body part is not analysed.

    Nothing is made of it even where it looks like a frontal chest: which of the two is wrong, a person must say.
    """
    if seen is not None and seen.suitable and not tags.not_chest_by_rule and tags.frontal is not False:
        return Unread(instance_id, ReasonCode.NEEDS_REVIEW, _disagreement(tags, seen), suitability=seen)
    reason = f"{ReasonCode.NOT_CHEST.sentence} ({tags.words})"
    return Unread(instance_id, ReasonCode.NOT_CHEST, reason, Disposition.OUT_OF_SCOPE, seen)


def _disagreement(tags: TagAnswers, seen: Suitability) -> str:
    return f"Tags and picture disagree: the tags say {tags.words}; {seen.sentence}."
