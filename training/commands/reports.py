"""``report``: everything that is known of a model, as one page, a card and plain values."""

from __future__ import annotations

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
    from training.evaluation.evaluate import Resampling  # here, for the help needs none of it
    from training.judging.reporting import report_on

    asked = Asked(model, data, out, cache, part, seen, allow_missing)
    report_on(asked, Resampling(samples, seed), labels, as_json=as_json)
