"""``precision``: try whether a bundle may be served in bfloat16."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from training.commands.models import (
    OUT,
    BundleArgument,
    CacheOption,
    DataOption,
    JsonOption,
    MissingOption,
    OutOption,
    PartOption,
    SeenOption,
    leak_sentences,
    subject_of,
    tell,
)
from training.evaluation.leakage import LeakError, SeenPolicy
from training.output import writing_to
from training.precision_trial import predictions_in_bf16, require_bf16, trial_of, with_trial
from training.reporting.precision_section import trial_grid
from training.reporting.report import NOTICE


def precision(
    bundle: BundleArgument,
    data: DataOption,
    to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the bundle with the figures; default: the bundle's own folder."),
    ] = None,
    out: OutOption = OUT,
    cache: CacheOption = None,
    part: PartOption = None,
    seen: SeenOption = SeenPolicy.REFUSE,
    allow_missing: MissingOption = False,
    as_json: JsonOption = False,
) -> None:
    """Try whether a bundle may be served in bfloat16, in half the time, and write the figures into it.

    Judges the pictures in float32 and in bfloat16 and compares probabilities, AUROC and decisions at the operating
    points. A bundle that passes is served in it where the configuration says precision = "bf16" and the processor can.
    Weights, calibration and thresholds stay.
    """
    processor = require_bf16()
    subject = subject_of(bundle, data, out, cache, part, seen, allow_missing=allow_missing)
    if subject.bundle is None or subject.cache is None:
        raise LeakError(f"{bundle} is a file of predictions; name a bundle")
    with writing_to(out):
        said = predictions_in_bf16(subject.bundle, subject, subject.cache, out)
    trial = trial_of(subject.bundle, subject, said, processor)
    new = with_trial(subject.bundle, trial, to or subject.bundle.folder)
    verdict = f"Not passed: {trial.obstacle}." if trial.obstacle else "Passed."
    facts = {"notice": NOTICE, "bundle": str(new.folder), "passed": not trial.obstacle} | dataclasses.asdict(trial)
    sentences = [*leak_sentences(subject), f"{verdict} Written to {new.folder}."]
    tell(facts, None, [trial_grid(trial)], as_json=as_json, sentences=sentences)
