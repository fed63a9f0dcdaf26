"""What the commands that judge a model have in common: their options, and how they print."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from training.data.cache_index import write_json
from training.evaluation.adjudicated import AdjudicatedLabels, read_google2019
from training.evaluation.leakage import SeenPolicy
from training.material import DataChoices
from training.output import writing_to
from training.reporting.grid import Grid
from training.reporting.report import NOTICE
from training.subjects import PartName, Subject, load_subject

_WIDTH_IN_FILES = 130

console = Console()
if not console.is_terminal:
    console.width = _WIDTH_IN_FILES

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


def subject_of(
    model: Path,
    data: Path,
    out: Path,
    cache: Path | None,
    part: PartName | None,
    seen: SeenPolicy,
    *,
    allow_missing: bool,
    boxed_only: bool = False,
) -> Subject:
    """Return the model's word on the part that the options name."""
    choices = DataChoices(data, cache or out.parent / "cache", allow_missing)
    return load_subject(model, choices, part, seen, out, boxed_only=boxed_only)


def adjudicated_labels(values: list[str] | None) -> AdjudicatedLabels | None:
    """Read what ``--labels`` names.

    Raises
    ------
    typer.BadParameter
        A value is not ``google2019=FILE``.
    """
    labels = None
    for value in values or []:
        kind, separator, path = value.partition("=")
        if kind != "google2019" or not separator or not path:
            raise typer.BadParameter(f"{value!r} is not google2019=FILE, the one kind of labels known")
        labels = read_google2019(Path(path))
    return labels


def tell(
    facts: dict[str, Any], file: Path | None, grids: Iterable[Grid], *, as_json: bool, sentences: list[str]
) -> None:
    """Write the facts to a file, and print them as JSON or the tables with sentences before them."""
    if file is not None:
        with writing_to(file.parent):
            write_json(facts, file)
    if as_json:
        json.dump(facts, sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    console.print(NOTICE, style="bold")
    for sentence in sentences:
        console.print(sentence, markup=False, highlight=False)
    for grid in grids:
        console.print(grid.rich())
    if file is not None:
        console.print(f"Written: {file}", markup=False, highlight=False)


def page_words(subject: Subject) -> dict[str, Any]:
    """Return what a page says of the subject before any figure, as arguments of ``write_page``."""
    leak = subject.leak
    marked = leak is not None and leak.marked
    notes = [subject.part] + ([leak.sentence] if leak is not None and not marked else [])
    alarms = [leak.sentence] if leak is not None and marked else []
    return {"demonstration": subject.demonstration, "notes": notes, "alarms": alarms}


def leak_sentences(subject: Subject) -> list[str]:
    """Return what there is to say of the subject before any figure."""
    sentences = [f"{subject.title}; {subject.part}"]
    if subject.demonstration:
        sentences.append("Demonstration model: it may say nothing about a patient.")
    if subject.leak is not None:
        sentences.append(subject.leak.sentence)
    return sentences
