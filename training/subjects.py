"""Whom the evaluating commands work on: a bundle or a file of predictions, and the pictures of a part of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.bundle import Bundle, OperatingPoint, load_bundle
from model.preprocess import INPUT_SIZE_PX
from training.data.batches import Examples
from training.data.cache import PictureCache
from training.data.folder import read_folder
from training.data.part_name import PartName
from training.data.radiographs import LabelledRadiographs, LayoutError
from training.evaluation.assessment import Judged
from training.evaluation.leakage import LeakCheck, check_leakage, guard, kind_of
from training.evaluation.predictions import (
    Predictions,
    is_predictions_file,
    network_predictions,
    read_predictions,
)
from training.evaluation.seen_policy import SeenPolicy
from training.material import DataChoices, complete_material
from training.readings import read_pictures

OUTPUTS_FILE = "outputs.npz"


@dataclass(frozen=True)
class Subject:
    """A model with what it says of the pictures of a part, and what is known of those."""

    title: str
    bundle: Bundle | None
    """None for a file of predictions."""
    predictions: Predictions
    maps: NDArray[np.float32]
    """float32 [N, 14, h, w]; h = w = 0 for a file of predictions."""
    radiographs: LabelledRadiographs
    part: str
    """Which pictures, in words."""
    leak: LeakCheck | None
    """None for a file of predictions: what its model was trained on is for its reader to know."""
    cache: PictureCache | None
    """None for a file of predictions."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the pictures."""
        return self.predictions.names

    @property
    def judged(self) -> Judged:
        """Return the model's word beside the truth."""
        examples = Examples(
            self.names,
            self.radiographs.targets(self.names),
            tuple(self.radiographs.boxes.get(name, ()) for name in self.names),
        )
        entries = [self.radiographs.entries[name] for name in self.names]
        return Judged(self.predictions, self.maps, examples, entries, self.part, self.leak)

    @property
    def points(self) -> dict[str, OperatingPoint]:
        """Return the bundle's operating points, none for a file of predictions."""
        return {} if self.bundle is None else self.bundle.operating_points

    @property
    def demonstration(self) -> bool:
        """Return whether the model may say nothing about a patient."""
        return self.bundle is not None and self.bundle.demonstration


def load_subject(
    model: Path,
    choices: DataChoices,
    part: PartName | None,
    policy: SeenPolicy,
    out: Path,
    *,
    boxed_only: bool = False,
) -> Subject:
    """Return a bundle's or a file's word on a part.

    Parameters
    ----------
    model
        Folder or ``.zip`` of a bundle, or a file of predictions.
    part
        None: the test list for a bundle, every picture of a file of predictions.
    out
        Folder to keep a bundle's outputs in.
    boxed_only
        Only the pictures of the part that have boxes.

    Raises
    ------
    BundleError, PredictionsError, LayoutError, CacheError, LeakError
    """
    if is_predictions_file(model):
        return _of_file(model, read_folder(choices.folder, choices.release), part)
    bundle = load_bundle(model)
    radiographs = read_folder(choices.folder, choices.release)
    chosen = part or PartName.TEST
    names = part_names(radiographs, chosen, bundle)
    if boxed_only:
        names = tuple(name for name in names if name in radiographs.boxes)
        if not names:
            raise LayoutError(f"{radiographs.root}: no picture in {chosen.value} has a box; take another --part")
    leak, names = guard(check_leakage(bundle, radiographs, names), names, policy)
    size_px = bundle.input_size_px if bundle.preparation is None else INPUT_SIZE_PX
    material = complete_material(radiographs.only(set(names)), choices, size_px)
    wanted = len(names)
    names = tuple(name for name in names if name in material.cache.rows and name in material.radiographs.entries)
    if not names:
        raise LayoutError(
            f"{radiographs.root}: none of the {wanted:,} pictures wanted can be read; restore the files or take "
            "another --part"
        )
    outputs = read_pictures(bundle, material.radiographs, material.cache, names, out / OUTPUTS_FILE)
    title = f"{bundle.name} {bundle.model_version}"
    patients = radiographs.patients(names)
    predictions = network_predictions(title, names, patients, outputs.logits, bundle.calibration, bundle.trained)
    words = _in_words(radiographs, chosen, names)
    return Subject(title, bundle, predictions, outputs.maps, material.radiographs, words, leak, material.cache)


def part_names(radiographs: LabelledRadiographs, part: PartName, bundle: Bundle | None) -> tuple[str, ...]:
    """Return the pictures of a part; films with drawn findings are for training alone and in none.

    Raises
    ------
    LayoutError
        There are none, or it is validation and the bundle does not say what it was selected on.
    """
    if part is PartName.VALIDATION:
        names = _validation(radiographs, bundle)
    else:
        lists = {PartName.TEST: radiographs.test, PartName.TRAIN_VAL: radiographs.train_val}
        names = lists.get(part, radiographs.listed)
    names = radiographs.real(names)
    if not names:
        raise LayoutError(f"{radiographs.root}: no pictures in {part.value}; take another --part")
    return names


def _validation(radiographs: LabelledRadiographs, bundle: Bundle | None) -> tuple[str, ...]:
    seen = None if bundle is None else bundle.seen_images()
    if seen is None:
        raise LayoutError("the model does not say what it was selected on; name another --part")
    mask = seen.selected_on(kind_of(radiographs), radiographs.listed)
    return tuple(name for name, chosen in zip(radiographs.listed, mask, strict=True) if chosen)


def _of_file(path: Path, radiographs: LabelledRadiographs, part: PartName | None) -> Subject:
    predictions = read_predictions(path)
    unknown = [name for name in predictions.names if name not in radiographs.entries]
    if unknown:
        raise LayoutError(
            f"{path}: {len(unknown)} pictures have no row in the labels of {radiographs.root}, e.g. {unknown[0]}; take "
            "the data set that the predictions were made from"
        )
    wanted = set(radiographs.entries if part is None else part_names(radiographs, part, None))
    names = tuple(name for name in predictions.names if name in wanted)
    if not names:
        raise LayoutError(f"{path}: holds no picture of {part}; leave --part out to take all of its pictures")
    chosen = predictions.only(names).of_patients(radiographs.patients(names))
    words = f"{len(names):,} pictures of {path.name}"
    maps = np.zeros((len(names), chosen.probabilities.shape[1], 0, 0), np.float32)
    return Subject(predictions.model, None, chosen, maps, radiographs, words, None, None)


def _in_words(radiographs: LabelledRadiographs, part: PartName, names: tuple[str, ...]) -> str:
    titles = {
        PartName.TEST: "test list",
        PartName.VALIDATION: "pictures it was selected on",
        PartName.TRAIN_VAL: "training and validation list",
        PartName.ALL: "both lists",
    }
    lists = {PartName.TEST: radiographs.test, PartName.TRAIN_VAL: radiographs.train_val}
    listed = radiographs.real(lists.get(part, radiographs.listed))
    share = "" if part is PartName.VALIDATION or len(names) == len(listed) else f" of {len(listed):,} listed"
    return f"{titles[part]}: {len(names):,}{share} pictures ({radiographs.source})"
