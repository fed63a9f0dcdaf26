"""``suitability``: teach a bundle to tell a frontal chest radiograph from any other picture."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.commands.options import BundleArgument, JsonOption, MissingOption

if TYPE_CHECKING:
    from training.suitability.chests import DataSet

DEFAULT_STEPS = 900
"""As many as a recipe takes that names no other number."""


def suitability(
    bundle: BundleArgument,
    data: Annotated[
        list[Path],
        typer.Option(
            metavar="DIR",
            help="Data set whose frontal chests teach the check (its train_val list) and try it (its test list): the "
            "one the bundle was trained on, and any other whose pictures it will meet. May be given several times.",
        ),
    ],
    others: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder with real pictures of anything but a frontal chest, DICOM files or pictures: lateral views, "
            "other body parts, other modalities. Drawn ones are used anyway.",
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the bundle with its check; default: the bundle's own folder."),
    ] = None,
    cache: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the picture caches, one below it for each data set.")
    ] = Path("training-run/suitability-cache"),
    steps: Annotated[int, typer.Option(min=1, help="Steps of 128 pictures.")] = DEFAULT_STEPS,
    seed: Annotated[int, typer.Option(min=0, help="Of the cut, the first weights and the alterations.")] = 2017,
    allow_missing: MissingOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fit the check that says whether a picture is an upright, whole frontal chest radiograph, and put it in a bundle.

    The worker then analyses only pictures that pass; the others end as not analysed, for a person to look at. Weights,
    calibration and thresholds of the bundle stay; its model version changes. Takes some minutes on one core.
    """
    from model.bundle import load_bundle  # here, for the help needs none of it
    from training.checking import taught_check, with_check
    from training.judging.telling import tell
    from training.output import require_place
    from training.reporting.suitability_section import trial_grid
    from training.suitability.outsiders import read_outsiders

    old = load_bundle(bundle)
    require_place(to or old.folder)
    outsiders = read_outsiders(others) if others is not None else ()
    check = taught_check(_data_sets(data, cache, allow_missing), outsiders, steps=steps, seed=seed)
    new = with_check(old, check, to or old.folder)
    facts = {"bundle": str(new.folder), "model_version": new.model_version} | dataclasses.asdict(check.facts)
    sentences = [f"Bundle: {new.folder}, {new.model_version}"]
    tell(facts, None, [trial_grid(check.facts)], as_json=as_json, sentences=sentences)


def _data_sets(folders: list[Path], cache: Path, allow_missing: bool) -> list[DataSet]:
    from training.material import DataChoices, ready_material

    found = []
    for number, folder in enumerate(folders, start=1):
        material = ready_material(DataChoices(folder, cache / str(number), allow_missing))
        found.append((material.radiographs, material.cache))
    return found
