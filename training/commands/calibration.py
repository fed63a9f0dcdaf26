"""``calibrate`` and ``export``: another calibration for the same weights; a bundle from a run, or as one file."""

from __future__ import annotations

import json
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from model.bundle import Bundle, load_bundle
from model.labels import LABELS
from training.bundle_of_run import bundle_folder, conclude_so_far, pack
from training.commands.models import (
    BundleArgument,
    CacheOption,
    DataOption,
    JsonOption,
    LabelsOption,
    MissingOption,
    PartOption,
    SamplesOption,
    SeedOption,
    adjudicated_labels,
    subject_of,
    tell,
)
from training.data.folder import read_folder
from training.evaluation.assessment import Assessment, assess
from training.evaluation.evaluate import Resampling
from training.evaluation.leakage import LeakError, SeenPolicy, require_separate_patients
from training.evaluation.operating_points import OperatingRule
from training.material import DataChoices
from training.output import writing_to
from training.recalibration import (
    CalibrationChoices,
    recalibrated,
    require_untrained,
    with_calibration,
    write_recalibrated,
)
from training.recipe import chosen_recipe
from training.reporting.figure_grids import calibration_grid, evaluation_grid, operating_grid
from training.reporting.report import NOTICE, ReportMaterial, write_report
from training.subjects import PartName, Subject, part_names


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
    old, radiographs = load_bundle(bundle), read_folder(data)
    chosen = part or PartName.VALIDATION
    if chosen in (PartName.TEST, PartName.ALL):
        raise LeakError("thresholds chosen on the test list leave nothing to test them on; take another --part")
    require_untrained(old, radiographs, part_names(radiographs, chosen, old))
    choices = CalibrationChoices(method.value, _rule(rule), _rules(rule_for), _prevalence(prevalence))
    truth = adjudicated_labels(labels)
    options = (bundle, data, out, cache)
    fitted_on = subject_of(*options, chosen, SeenPolicy.MARK, allow_missing=allow_missing)
    facts = recalibrated(old, radiographs, fitted_on.predictions, choices)
    facts = replace(facts, name=name or facts.name, version=version or facts.version)
    tested = subject_of(*options, PartName.TEST, SeenPolicy.REFUSE, allow_missing=allow_missing)
    require_separate_patients(radiographs, {"calibration": fitted_on.names, "test": tested.names})
    judged = replace(tested.judged, predictions=with_calibration(tested.predictions, facts.calibration))
    assessment = assess(judged, facts.operating_points, Resampling(samples, seed), truth)
    new = write_recalibrated(old, facts, radiographs, fitted_on.names, assessment, to)
    _report(new, assessment, tested, out)
    grids = [
        evaluation_grid(assessment.evaluation),
        calibration_grid(assessment.evaluation),
        operating_grid(assessment.evaluation, facts.operating_points),
    ]
    values = {"notice": NOTICE, "bundle": str(new.folder), "model_version": new.model_version} | assessment.as_dict()
    sentences = [f"Fitted on {fitted_on.part}", f"Tested on {tested.part}", f"New bundle: {new.folder}"]
    tell(values, out / "evaluation.json", grids, as_json=as_json, sentences=sentences)


def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a training run (its --out), or of a bundle.")
    ] = Path("training-run"),
    to: Annotated[
        Path, typer.Option(metavar="FILE.zip", help="File to write; every command that takes a bundle takes it too.")
    ] = Path("bundle.zip"),
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Data set of the run: make the bundle from its best weights so far, also of a run that is not "
            "finished. Give --recipe, --init, --cache and --processes as for the run.",
        ),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Recipe of the run: name or TOML file.")] = None,
    init: Annotated[str | None, typer.Option(help="What the run started from.")] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Training processes of the run.")] = None,
    cache: CacheOption = None,
    allow_missing: MissingOption = False,
    as_json: JsonOption = False,
) -> None:
    """Pack the bundle of a run into one file; with --data make it first, from the best weights there are so far."""
    if data is not None:
        choices = DataChoices(data, cache or run / "cache", allow_missing)
        init_file = Path(init) if init not in (None, "random") else None
        conclude_so_far(choices, run, chosen_recipe(data, recipe, init), init_file, processes)
    bundle = load_bundle(bundle_folder(run))
    pack(bundle, to)
    facts = {"file": str(to), "bytes": to.stat().st_size, "model_version": bundle.model_version}
    if as_json:
        typer.echo(json.dumps(facts))
        return
    typer.echo(f"{bundle.name} {bundle.model_version}: {to} ({facts['bytes']:,} bytes)")


def _report(bundle: Bundle, assessment: Assessment, subject: Subject, out: Path) -> None:
    title = f"{bundle.name} {bundle.model_version}"
    material = ReportMaterial(title, bundle.demonstration, (subject.part,), assessment, subject.cache)
    with writing_to(out):
        write_report(material, out / "report.html")


def _rule(text: str) -> OperatingRule:
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
            pairs = json.loads(Path(value).read_text()) if "=" not in value else _pairs([value], "SHARE")
            shares |= {label: float(share) for label, share in pairs.items()}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise typer.BadParameter(f"{value!r} is neither FINDING=SHARE nor a JSON file of such ({error})") from error
    wrong = [label for label, share in shares.items() if label not in LABELS or not 0 < share < 1]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]} is not a finding, or its share does not lie between 0 and 1")
    return shares
