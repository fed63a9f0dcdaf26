"""``report``: everything that is known of a model, as one page, a card and plain values."""

from __future__ import annotations

from training.commands.models import (
    OUT,
    CacheOption,
    DataOption,
    JsonOption,
    LabelsOption,
    MissingOption,
    ModelArgument,
    OutOption,
    PartOption,
    SamplesOption,
    SeedOption,
    SeenOption,
    adjudicated_labels,
    leak_sentences,
    page_words,
    subject_of,
    tell,
)
from training.data.cache_index import write_whole
from training.evaluation.assessment import assess
from training.evaluation.evaluate import Resampling
from training.evaluation.leakage import SeenPolicy
from training.evaluation.predictions import write_predictions
from training.output import writing_to
from training.reporting.card import making_in, model_card
from training.reporting.figure_grids import evaluation_grid
from training.reporting.report import ReportMaterial, write_report


def report(
    model: ModelArgument,
    data: DataOption,
    out: OutOption = OUT,
    cache: CacheOption = None,
    part: PartOption = None,
    seen: SeenOption = SeenPolicy.REFUSE,
    labels: LabelsOption = None,
    samples: SamplesOption = 1000,
    seed: SeedOption = 0,
    allow_missing: MissingOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write everything about a model on some pictures: figures, curves, calibration, thresholds, maps, audit, limits.

    Writes report.html (one file, pictures inside), MODEL_CARD.md for a bundle, evaluation.json and predictions.csv. The
    bundle itself stays as it is.
    """
    truth = adjudicated_labels(labels)
    subject = subject_of(model, data, out, cache, part, seen, allow_missing=allow_missing)
    assessment = assess(subject.judged, subject.points, Resampling(samples, seed), truth)
    notes = (*page_words(subject)["notes"], assessment.evaluation.summary)
    material = ReportMaterial(subject.title, subject.demonstration, notes, assessment, subject.cache)
    with writing_to(out):
        write_report(material, out / "report.html")
        write_predictions(subject.predictions, out / "predictions.csv")
        if subject.bundle is not None:
            making = making_in(subject.bundle.card_path.read_text(encoding="utf-8"), subject.bundle)
            write_whole(model_card(subject.bundle, assessment, making).encode(), out / "MODEL_CARD.md")
    sentences = [*leak_sentences(subject), assessment.evaluation.summary, f"Report: {out / 'report.html'}"]
    grids = [evaluation_grid(assessment.evaluation)]
    tell(assessment.as_dict(), out / "evaluation.json", grids, as_json=as_json, sentences=sentences)
