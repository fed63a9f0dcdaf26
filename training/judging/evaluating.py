"""What a model is worth: its figures, its predictions in a file, published figures beside them."""

from __future__ import annotations

from training.evaluation.adjudicated import evaluate_adjudicated
from training.evaluation.assessment import evaluate_judged
from training.evaluation.evaluate import Resampling
from training.evaluation.predictions import write_predictions
from training.evaluation.published import side_by_side
from training.judging.asked import Asked
from training.judging.telling import adjudicated_labels, leak_sentences, subject_of, tell
from training.output import writing_to
from training.reporting.figure_grids import (
    adjudicated_grid,
    calibration_grid,
    evaluation_grid,
    operating_grid,
    published_grids,
)
from training.reporting.report import NOTICE


def evaluate_model(
    asked: Asked, resampling: Resampling, labels: list[str] | None, table_format: str, *, as_json: bool
) -> None:
    """Judge a model, write ``evaluation.json`` and its predictions, and print the figures.

    Parameters
    ----------
    labels
        What ``--labels`` names: a second test set.
    table_format
        ``csv`` or ``parquet``, of the predictions.
    """
    truth = adjudicated_labels(labels)
    subject = subject_of(asked)
    judged = subject.judged
    figures = evaluate_judged(judged, subject.points, resampling)
    beside = side_by_side(subject.names)
    second = truth and evaluate_adjudicated(subject.predictions, judged.examples.targets, truth, resampling)
    with writing_to(asked.out):
        write_predictions(subject.predictions, asked.out / f"predictions.{table_format}")
    facts = {
        "notice": NOTICE,
        "model": subject.title,
        "leak_guard": None if subject.leak is None else subject.leak.as_dict(),
        "summary": figures.summary,
        "metrics": figures.metrics(),
        "published": beside.as_dict(),
        "adjudicated": second.as_dict() if second else None,
    }
    grids = [evaluation_grid(figures), calibration_grid(figures)]
    grids += [operating_grid(figures, subject.points)] if subject.points else []
    tables = published_grids(figures, beside)
    grids += tables + ([adjudicated_grid(second)] if second else [])
    sentences = [*leak_sentences(subject), figures.summary] + (
        [] if tables else [f"Published figures: {beside.reason}."]
    )
    if truth is not None and second is None:
        sentences.append(f"{truth.source} holds none of these pictures.")
    tell(facts, asked.out / "evaluation.json", grids, as_json=as_json, sentences=sentences)
