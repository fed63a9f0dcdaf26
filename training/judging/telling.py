"""What the commands that judge a model have in common: whom they judge, and how they print."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from training.data.cache_index import write_json
from training.evaluation.adjudicated import AdjudicatedLabels, read_google2019
from training.judging.asked import Asked
from training.material import DataChoices
from training.output import writing_to
from training.reporting.grid import Grid
from training.reporting.report import NOTICE
from training.subjects import Subject, load_subject

_WIDTH_IN_FILES = 130

console = Console()
if not console.is_terminal:
    console.width = _WIDTH_IN_FILES


def subject_of(asked: Asked, *, boxed_only: bool = False) -> Subject:
    """Return the model's word on the part that was asked for.

    Parameters
    ----------
    boxed_only
        Only the pictures of the part that have boxes.

    Raises
    ------
    BundleError, PredictionsError, LayoutError, CacheError, LeakError
        As ``load_subject`` does.
    """
    choices = DataChoices(asked.data, asked.cache or asked.out.parent / "cache", asked.allow_missing)
    return load_subject(asked.model, choices, asked.part, asked.seen, asked.out, boxed_only=boxed_only)


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
