"""``evaluate`` and ``compare``: what a model is worth, and whether another one is better."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

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
    subject_of,
    tell,
)
from training.evaluation.adjudicated import evaluate_adjudicated
from training.evaluation.assessment import evaluate_judged
from training.evaluation.comparison import compare_models
from training.evaluation.evaluate import Resampling
from training.evaluation.leakage import LeakError, SeenPolicy
from training.evaluation.predictions import write_predictions
from training.evaluation.published import side_by_side
from training.output import writing_to
from training.reporting.comparison_grids import comparison_grids
from training.reporting.figure_grids import (
    adjudicated_grid,
    calibration_grid,
    evaluation_grid,
    operating_grid,
    published_grids,
)
from training.reporting.report import NOTICE


class TableFormat(StrEnum):
    """Kinds of files of predictions."""

    CSV = "csv"
    PARQUET = "parquet"


def evaluate(
    model: ModelArgument,
    data: DataOption,
    out: OutOption = OUT,
    cache: CacheOption = None,
    part: PartOption = None,
    seen: SeenOption = SeenPolicy.REFUSE,
    labels: LabelsOption = None,
    predictions: Annotated[
        TableFormat, typer.Option(help="Kind of the file with every picture's logits and probabilities.")
    ] = TableFormat.CSV,
    samples: SamplesOption = 1000,
    seed: SeedOption = 0,
    allow_missing: MissingOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say what a model is worth on pictures it has not seen, with 95 % intervals from resampled patients.

    AUROC and average precision of every finding (one with a single class is named and left out of means), calibration
    error, the bundle's operating points as they do here, accuracy beside that of never flagging anything, and published
    figures where they were measured on exactly these pictures. Writes evaluation.json and the predictions.
    """
    truth = adjudicated_labels(labels)
    subject = subject_of(model, data, out, cache, part, seen, allow_missing=allow_missing)
    resampling, judged = Resampling(samples, seed), subject.judged
    figures = evaluate_judged(judged, subject.points, resampling)
    beside = side_by_side(subject.names)
    second = truth and evaluate_adjudicated(subject.predictions, judged.examples.targets, truth, resampling)
    with writing_to(out):
        write_predictions(subject.predictions, out / f"predictions.{predictions.value}")
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
    tell(facts, out / "evaluation.json", grids, as_json=as_json, sentences=sentences)


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="The model to beat: a bundle or a file of predictions.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The new model: a bundle or a file of predictions.")],
    data: DataOption,
    out: OutOption = Path("training-run/comparison"),
    cache: CacheOption = None,
    part: PartOption = None,
    seen: SeenOption = SeenPolicy.REFUSE,
    samples: SamplesOption = 1000,
    seed: SeedOption = 0,
    allow_missing: MissingOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say whether B is better than A on the same pictures, finding by finding and on the mean.

    Both are scored on the same resampled patients, so the intervals are those of the difference. Pictures that only one
    of them judged, or that one has seen (with --seen leave-out), are left out for both. Writes comparison.json.
    """
    subjects = [
        subject_of(model, data, out / side, cache or out.parent / "cache", part, seen, allow_missing=allow_missing)
        for side, model in (("a", a), ("b", b))
    ]
    known = set(subjects[1].names)
    names = tuple(name for name in subjects[0].names if name in known)
    if not names:
        raise LeakError(f"{a} and {b} have no picture in common that both may be judged on")
    first, second = (subject.predictions.only(names) for subject in subjects)
    comparison = compare_models(first, second, subjects[0].radiographs.targets(names), Resampling(samples, seed))
    leaks = [None if subject.leak is None else subject.leak.as_dict() for subject in subjects]
    facts = {"notice": NOTICE, "leak_guard": {"a": leaks[0], "b": leaks[1]}} | comparison.as_dict()
    sentences = [
        f"{side}: {text}" for side, subject in zip("AB", subjects, strict=True) for text in leak_sentences(subject)
    ]
    if comparison.mean_auroc is not None:
        sentences.append(f"On the mean AUROC: {comparison.mean_auroc.verdict}.")
    tell(facts, out / "comparison.json", comparison_grids(comparison), as_json=as_json, sentences=sentences)
