"""``precision``: try whether a bundle may be served in bfloat16."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import (
    OUT,
    BundleArgument,
    CacheOption,
    DataOption,
    JsonOption,
    MissingOption,
    OutOption,
    PartOption,
    SeenOption,
)
from training.evaluation.seen_policy import SeenPolicy
from training.judging.asked import Asked


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
    from training.judging.trying_precision import try_bf16  # here, for the help needs none of it

    try_bf16(Asked(bundle, data, out, cache, part, seen, allow_missing), to, as_json=as_json)
