"""``calibrate``: another calibration and other thresholds for the same weights."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model.labels import LABELS
from training.commands.options import (
    BundleArgument,
    CacheOption,
    DataOption,
    JsonOption,
    LabelsOption,
    MissingOption,
    PartOption,
    SamplesOption,
    SeedOption,
)
from training.data.part_name import PartName
from training.evaluation.seen_policy import SeenPolicy
from training.judging.asked import Asked

if TYPE_CHECKING:
    from training.evaluation.operating_points import OperatingRule


class Method(StrEnum):
    """Kinds of calibration."""

    PLATT = "platt"
    TEMPERATURE = "temperature"
    ISOTONIC = "isotonic"


def calibrate(
    bundle: BundleArgument,
    data: DataOption,
    to: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the new bundle; a bundle there is replaced.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the report and for kept outputs.")] = Path(
        "training-run/calibration"
    ),
    cache: CacheOption = None,
    part: PartOption = PartName.VALIDATION,
    method: Annotated[
        Method,
        typer.Option(
            help="platt: slope and offset; temperature: slope alone; isotonic: any rising curve, for findings with at "
            "least 1,000 positives, platt for the others."
        ),
    ] = Method.PLATT,
    rule: Annotated[
        str,
        typer.Option(
            help="How thresholds are chosen: youden, f1, sensitivity:0.9, specificity:0.95 or ppv:0.3 (with a target)."
        ),
    ] = "youden",
    rule_for: Annotated[
        list[str] | None,
        typer.Option(metavar="FINDING=RULE", help="Another rule for one finding, e.g. Pneumothorax=sensitivity:0.95."),
    ] = None,
    prevalence: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FINDING=SHARE",
            help="Share of positives where the bundle will work, 0 to 1, or a JSON file of such: probabilities are "
            "moved there before thresholds are chosen.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the new bundle; default: as before.")] = None,
    version: Annotated[str | None, typer.Option(help="Version of the new bundle; default: as before.")] = None,
    labels: LabelsOption = None,
    samples: SamplesOption = 1000,
    seed: SeedOption = 0,
    allow_missing: MissingOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fit calibration and thresholds anew and write a bundle with the same weights, its figures and its card.

    Fitted on validation as the bundle names it, or on --part train_val of a data set the weights have not seen, as for
    imported weights; then frozen and tested on the data set's test list. Pictures the weights were trained on are
    refused. Findings with too few positives are reported and never flag.
    """
    from training.evaluation.evaluate import Resampling  # each command loads only what it needs, its help nothing
    from training.judging.calibrating import NewBundle, calibrate_bundle
    from training.recalibration import CalibrationChoices

    asked = Asked(bundle, data, out, cache, part, SeenPolicy.MARK, allow_missing)
    choices = CalibrationChoices(method.value, _rule(rule), _rules(rule_for), _prevalence(prevalence))
    new = NewBundle(to, name, version)
    calibrate_bundle(asked, choices, new, Resampling(samples, seed), labels, as_json=as_json)


def _rule(text: str) -> OperatingRule:
    from training.evaluation.operating_points import OperatingRule

    try:
        return OperatingRule.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _pairs(values: list[str] | None, what: str) -> dict[str, str]:
    pairs = {}
    for value in values or []:
        label, separator, text = value.partition("=")
        if not separator or label not in LABELS:
            raise typer.BadParameter(f"{value!r} is not FINDING={what}; findings are {', '.join(LABELS)}")
        pairs[label] = text
    return pairs


def _rules(values: list[str] | None) -> dict[str, OperatingRule]:
    return {label: _rule(text) for label, text in _pairs(values, "RULE").items()}


def _prevalence(values: list[str] | None) -> dict[str, float]:
    """Read pairs, and files of pairs, of finding and share."""
    shares: dict[str, float] = {}
    for value in values or []:
        try:
            pairs = json.loads(Path(value).read_bytes()) if "=" not in value else _pairs([value], "SHARE")
            shares |= {label: float(share) for label, share in pairs.items()}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise typer.BadParameter(f"{value!r} is neither FINDING=SHARE nor a JSON file of such ({error})") from error
    wrong = [label for label, share in shares.items() if label not in LABELS or not 0 < share < 1]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]} is not a finding, or its share does not lie between 0 and 1")
    return shares
