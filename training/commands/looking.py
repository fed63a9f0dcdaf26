"""``localise`` and ``audit``: where a network looks, and whom it serves worse."""

from __future__ import annotations

from training.commands.options import (
    OUT,
    BundleArgument,
    CacheOption,
    DataOption,
    JsonOption,
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


def localise(
    bundle: BundleArgument,
    data: DataOption,
    out: OutOption = OUT,
    cache: CacheOption = None,
    part: PartOption = None,
    seen: SeenOption = SeenPolicy.REFUSE,
    seed: SeedOption = 0,
    allow_missing: MissingOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score the class activation maps against the boxes that radiologists drew, finding by finding.

    The pointing game; boxes made from the maps by IoU and IoBB at Wang's thresholds with their false positives; the
    centre of the map's box; each beside a random and a central map and what maps of these few cells can reach at all.
    Only pictures with boxes are judged. Writes localisation.json and localisation.html with pictures of cases.
    """
    from training.judging.localising import localise_findings  # here, for the help needs none of it

    localise_findings(Asked(bundle, data, out, cache, part, seen, allow_missing), seed, as_json=as_json)


def audit(
    model: ModelArgument,
    data: DataOption,
    out: OutOption = OUT,
    cache: CacheOption = None,
    part: PartOption = None,
    seen: SeenOption = SeenPolicy.REFUSE,
    samples: SamplesOption = 300,
    seed: SeedOption = 0,
    allow_missing: MissingOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say whether a model serves women and men, age bands and views alike, alone and two by two.

    AUROC, average precision, missed positives and calibration error of every finding in every group, and how many of
    the ill are passed over (underdiagnosis). Findings with fewer than 20 positives in a group are suppressed. Writes
    audit.json, audit.csv and audit.html.
    """
    from training.evaluation.evaluate import Resampling
    from training.judging.auditing import audit_groups

    asked = Asked(model, data, out, cache, part, seen, allow_missing)
    audit_groups(asked, Resampling(samples, seed), as_json=as_json)
