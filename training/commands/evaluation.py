"""``evaluate`` and ``compare``: what a model is worth, and whether another one is better."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import (
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
)
from training.evaluation.seen_policy import SeenPolicy
from training.judging.asked import Asked


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
    from training.evaluation.evaluate import Resampling  # each command loads only what it needs, its help nothing
    from training.judging.evaluating import evaluate_model

    asked = Asked(model, data, out, cache, part, seen, allow_missing)
    evaluate_model(asked, Resampling(samples, seed), labels, predictions.value, as_json=as_json)


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
    from training.evaluation.evaluate import Resampling
    from training.judging.comparing import compare_with

    asked = Asked(a, data, out, cache, part, seen, allow_missing)
    compare_with(asked, b, Resampling(samples, seed), as_json=as_json)
