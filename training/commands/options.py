"""Options that the commands which judge a model share; read for the help, so nothing that judges is loaded here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model.plain_words import NO_PATH
from training.data.part_name import PartName
from training.evaluation.seen_policy import SeenPolicy


def named(value: str | None) -> str | None:
    """Refuse no letters for an option that may be a path, under its name: they would mean the current folder."""
    if value == "":
        raise typer.BadParameter(NO_PATH)
    return value


ModelArgument = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", help="Folder or .zip of a bundle, or a file of predictions (.csv, .csv.gz, .parquet)."
    ),
]
BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder or .zip of a bundle.")]
DataOption = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        help="The NIH download or a part of it, phantoms, or what `python -m worker export` wrote. For a file of "
        "predictions the tables alone are enough.",
    ),
]
OutOption = Annotated[Path, typer.Option(metavar="DIR", help="Folder for what is written, and for kept outputs.")]
CacheOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder of the picture cache; default: 'cache' beside --out.")
]
PartOption = Annotated[
    PartName | None,
    typer.Option(
        help="Which pictures: the data set's test list (default for a bundle), validation as the bundle names it, the "
        "train_val list, or both lists. A file of predictions has all of its pictures judged by default."
    ),
]
SeenOption = Annotated[
    SeenPolicy,
    typer.Option(
        help="Pictures the network was trained or selected on, or of patients it has seen: stop, go on without them, "
        "or keep them and mark every figure."
    ),
]
MissingOption = Annotated[
    bool, typer.Option("--allow-missing", help="Go on without listed pictures that have no file or cannot be read.")
]
SamplesOption = Annotated[int, typer.Option(min=20, help="Resamples of the patients for the 95 % intervals.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Of the resampling; the same seed gives the same intervals.")]
LabelsOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="google2019=FILE",
        help="Radiologists' labels as a second test set: google2019_nih-chest-xray-labels.csv.gz.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON to standard output, for scripts.")]
OUT = Path("training-run/evaluation")
