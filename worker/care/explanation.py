"""Why an image is analysed or not, worked out anew from its file by the code that decides when it arrives and runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pydicom.dataset import Dataset

from dicom_io.data_sets.dicom_file import read_dicom_file
from dicom_io.data_sets.header import text
from dicom_io.data_sets.patient_age import patient_age_years, study_age_days
from dicom_io.foundation.reasons import ReasonCode
from dicom_io.pixels.radiograph import Radiograph, UndecodableError, read_radiograph
from dicom_io.selection.decision import CANDIDATE, SelectionRules, Verdict, judge_tags
from dicom_io.selection.site_rules import fitting
from dicom_io.selection.tag_answers import Cue, TagAnswers
from model.bundle import Bundle, BundleError, load_bundle
from model.suitability import Suitability, SuitabilityCheck
from worker.arrival.selection_rules import selection_rules, site_date
from worker.rows.states import Disposition
from worker.runs.examination import obstacle_of, wrong_size
from worker.runs.reading import is_blank
from worker.settings.config import Settings


@dataclass(frozen=True)
class Explanation:
    """What is decided of one image under the present configuration, and by what."""

    file: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str
    """Whose rules were applied; empty = those for nobody in particular."""
    disposition: str
    reason_code: str | None
    reason: str | None
    decided_by: str
    """``file``, ``tags``, ``pixels`` or ``picture``: the last stage that was asked."""
    recorded: str | None = None
    """For a received image: what its row says now, as ``disposition (reason_code)``."""
    chest: bool | None = None
    frontal: bool | None = None
    cues: tuple[Cue, ...] = ()
    site_rules: tuple[str, ...] = ()
    """Names of the rules of the site that fit, whether or not they decided."""
    age_years: float | None = None
    study_age_days: int | None = None
    historical: bool = False
    """Older than ``historical_after_days``: never flagged or announced."""
    coding: str | None = None
    """What the pixel data were decoded from; None = not decoded."""
    voi: str | None = None
    """The window or table the picture was made with; None = not decoded, or colour."""
    bundle: str = ""
    image_verdict: str | None = None
    image_score: float | None = None
    image_distance: float | None = None
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Explained:
    """An explanation with what a picture can be written from."""

    explanation: Explanation
    radiograph: Radiograph | None
    bundle: Bundle | None


def explain(path: Path, calling_ae_title: str, settings: Settings, *, decode: bool = False) -> Explained:
    """Explain one DICOM file, received or not.

    Parameters
    ----------
    calling_ae_title
        Who sent it, or would; empty = nobody in particular.
    decode
        True decodes the pixels of images, too, that their tags alone leave out.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    rules = selection_rules(settings, calling_ae_title)
    source = settings.source(calling_ae_title)
    name = source.bundle if source else "default"
    try:
        dataset = read_dicom_file(path)
    except UndecodableError as error:
        verdict = Verdict(Disposition.NOT_ANALYSED, ReasonCode(error.reason_code), str(error))
        return Explained(_explanation(path, Dataset(), calling_ae_title, verdict, "file", bundle=name), None, None)
    verdict, decided_by = judge_tags(dataset, rules, site_date(settings)), "tags"
    bundle, check, notes = _bundle_of(settings.bundles.get(name, Path()))
    radiograph, seen = None, None
    if decode or verdict.disposition == CANDIDATE:
        try:
            radiograph = read_radiograph(dataset, settings.decoding)
        except UndecodableError as error:
            if verdict.disposition == CANDIDATE:
                verdict, decided_by = _left_out(verdict, ReasonCode(error.reason_code), str(error)), "pixels"
    if radiograph is not None and verdict.disposition == CANDIDATE:
        verdict, decided_by, seen = _look(radiograph, verdict, bundle, check)
    about = _about_time(dataset, settings) | _about_rules(dataset, rules) | _about_picture(radiograph, seen)
    explanation = _explanation(path, dataset, calling_ae_title, verdict, decided_by, bundle=name, notes=notes, **about)
    return Explained(explanation, radiograph, bundle)


def _look(
    radiograph: Radiograph, verdict: Verdict, bundle: Bundle | None, check: SuitabilityCheck | None
) -> tuple[Verdict, str, Suitability | None]:
    if is_blank(radiograph):
        return _left_out(verdict, ReasonCode.BLANK, ""), "picture", None
    tags = verdict.answers or TagAnswers(None, None)
    obstacle, seen = wrong_size(0, tags, radiograph, bundle) if bundle else None, None
    if obstacle is None:
        seen = check.judge(radiograph.pixels) if check else None
        obstacle = obstacle_of(0, tags, seen)
    if obstacle is None:
        return Verdict(Disposition.ANALYSED, None, "", verdict.answers), "picture" if seen else "tags", seen
    left_out = Verdict(obstacle.disposition, obstacle.reason_code, obstacle.reason, verdict.answers)
    return left_out, "picture", seen


def _left_out(verdict: Verdict, reason_code: ReasonCode, notes: str) -> Verdict:
    return Verdict(Disposition.NOT_ANALYSED, reason_code, notes, verdict.answers)


@cache
def _bundle_of(folder: Path) -> tuple[Bundle | None, SuitabilityCheck | None, tuple[str, ...]]:
    try:
        bundle = load_bundle(folder)
        return bundle, bundle.suitability_check(), ()
    except BundleError as error:
        return None, None, (f"the bundle cannot be used, so no picture was checked: {error}",)


def _about_time(dataset: Dataset, settings: Settings) -> dict[str, object]:
    today = site_date(settings)
    days = study_age_days(dataset, today)
    return {
        "age_years": patient_age_years(dataset, today),
        "study_age_days": days,
        "historical": days is not None and days > settings.historical_after_days,
    }


def _about_rules(dataset: Dataset, rules: SelectionRules) -> dict[str, object]:
    return {"site_rules": tuple(rule.name for rule in fitting(rules.site_rules, dataset))}


def _about_picture(radiograph: Radiograph | None, seen: Suitability | None) -> dict[str, object]:
    about: dict[str, object] = {}
    if radiograph is not None:
        about = {"coding": radiograph.coding, "voi": radiograph.grey_scale.voi if radiograph.grey_scale else None}
    if seen is not None:
        about |= {"image_verdict": seen.verdict, "image_score": seen.score, "image_distance": seen.distance}
    return about


def _explanation(
    path: Path, dataset: Dataset, calling_ae_title: str, verdict: Verdict, decided_by: str, **about: object
) -> Explanation:
    answers = verdict.answers
    fields: Mapping[str, object] = {
        "file": str(path),
        "sop_instance_uid": text(dataset, "SOPInstanceUID"),
        "sop_class_uid": text(dataset, "SOPClassUID"),
        "transfer_syntax_uid": text(dataset.file_meta, "TransferSyntaxUID") if hasattr(dataset, "file_meta") else "",
        "calling_ae_title": calling_ae_title,
        "disposition": verdict.disposition,
        "reason_code": verdict.reason_code,
        "reason": verdict.notes if decided_by == "picture" and verdict.notes else verdict.sentence,
        "decided_by": decided_by,
        "chest": answers.chest if answers else None,
        "frontal": answers.frontal if answers else None,
        "cues": answers.cues if answers else (),
        **about,
    }
    return Explanation(**fields)  # type: ignore[arg-type] # every name stands above
