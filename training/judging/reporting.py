"""Everything that is known of a model, as a page, a card and plain values."""

from __future__ import annotations

from training.data.cache_index import write_whole
from training.evaluation.assessment import assess
from training.evaluation.evaluate import Resampling
from training.evaluation.predictions import write_predictions
from training.judging.asked import Asked
from training.judging.telling import adjudicated_labels, leak_sentences, page_words, subject_of, tell
from training.output import writing_to
from training.reporting.card import making_in, model_card
from training.reporting.figure_grids import evaluation_grid
from training.reporting.report import ReportMaterial, write_report


def report_on(asked: Asked, resampling: Resampling, labels: list[str] | None, *, as_json: bool) -> None:
    """Judge a model, write ``report.html``, its card, ``evaluation.json`` and its predictions, and print the figures.

    Parameters
    ----------
    labels
        What ``--labels`` names: a second test set.
    """
    truth = adjudicated_labels(labels)
    subject = subject_of(asked)
    assessment = assess(subject.judged, subject.points, resampling, truth)
    notes = (*page_words(subject)["notes"], assessment.evaluation.summary)
    material = ReportMaterial(subject.title, subject.demonstration, notes, assessment, subject.cache)
    with writing_to(asked.out):
        write_report(material, asked.out / "report.html")
        write_predictions(subject.predictions, asked.out / "predictions.csv")
        if subject.bundle is not None:
            making = making_in(subject.bundle.card_path.read_text(encoding="utf-8"), subject.bundle)
            write_whole(model_card(subject.bundle, assessment, making).encode(), asked.out / "MODEL_CARD.md")
    sentences = [*leak_sentences(subject), assessment.evaluation.summary, f"Report: {asked.out / 'report.html'}"]
    grids = [evaluation_grid(assessment.evaluation)]
    tell(assessment.as_dict(), asked.out / "evaluation.json", grids, as_json=as_json, sentences=sentences)
