"""The parts of a run: training, validation and test, cut as the recipe says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.radiographs import LabelledRadiographs, LayoutError
from training.data.tables import file_text
from training.recipe import Data

COMMUNITY_LISTS = ("train_list.txt", "val_list.txt", "test_list.txt")
"""In ``data.lists_folder``; arnoweng's names. The picture comes first in each line, labels after it are not read."""


@dataclass(frozen=True)
class Parts:
    """Names of pictures."""

    training: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    description: str
    """Where the pictures are from and how they were cut, in words."""
    leaked_share: float = 0.0
    """Share of the test pictures whose patient is in training or validation too, 0..1; 0 = no patient in two parts."""

    @property
    def leaky(self) -> bool:
        """Return whether the test figures are too good to believe."""
        return self.leaked_share > 0

    @property
    def mark(self) -> str:
        """Return what every output says of the cut."""
        if not self.leaky:
            return f"{self.description}; no patient in two parts"
        return (
            f"LEAKY: {self.description}; {self.leaked_share:.1%} of the test pictures, or of validation's if that is "
            "more, show a patient seen before, so the test figures are too good to be compared with any by patient"
        )


def choose_parts(layout: LabelledRadiographs, data: Data, validation_share: float, seed: int) -> Parts:
    """Choose the rows and cut them; the same lists, choices and seed always give the same cut.

    Parameters
    ----------
    validation_share
        Share of the patients of train_val, for the official split.

    Raises
    ------
    LayoutError
        A part would be empty, lists are missing, or lists put a patient into two parts.
    """
    names = _subset(layout, _of_age(layout, data), data, seed)
    if data.split == "official":
        parts = cut_parts(layout, validation_share, seed, frozenset(layout.listed) - names)
        parts = _drawn_for_training_only(layout, parts)
        _require_pictures(layout, parts)
        return parts
    if data.split == "community":
        parts = _by_lists(layout, layout.root / data.lists_folder, names)
    else:
        cut = _by_patient if data.split == "patient-random" else _by_picture
        parts = cut(layout, sorted(names), data, seed)
    parts = _drawn_for_training_only(layout, parts)
    _require_pictures(layout, parts)
    leaked = _leaked_share(layout, parts)
    if leaked > 0 and data.split != "image-random":
        raise LayoutError(f"{layout.root}: {parts.description} put patients into two parts; cut the lists by patient")
    return Parts(parts.training, parts.validation, parts.test, parts.description, leaked)


def cut_parts(layout: LabelledRadiographs, validation_share: float, seed: int, leave_out: frozenset[str]) -> Parts:
    """Cut validation from train_val, whole patients at a time.

    Parameters
    ----------
    validation_share
        Share of the patients of train_val, 0..1.
    seed
        The same seed and list always give the same cut.
    leave_out
        Pictures that are not used.

    Raises
    ------
    LayoutError
        A part would be empty.
    """
    train_val = [name for name in layout.train_val if name not in leave_out]
    patients = sorted({layout.entries[name].patient_id for name in train_val})
    order = np.random.default_rng([seed, 1]).permutation(len(patients))
    held = {patients[i] for i in order[: max(1, round(validation_share * len(patients)))]}
    parts = Parts(
        training=tuple(name for name in train_val if layout.entries[name].patient_id not in held),
        validation=tuple(name for name in train_val if layout.entries[name].patient_id in held),
        test=tuple(name for name in layout.test if name not in leave_out),
        description=f"{layout.source}; validation cut by patient",
    )
    _require_pictures(layout, parts)
    return parts


def finding_weights(layout: LabelledRadiographs, names: Sequence[str], data: Data) -> NDArray[np.float64]:
    """Return how much each picture weighs when drawn by its findings: the base and one for each."""
    return np.array([data.sampling_base + len(layout.entries[name].labels) for name in names], dtype=np.float64)


def _of_age(layout: LabelledRadiographs, data: Data) -> list[str]:
    """Return the listed pictures of patients in the range; an unknown age is left out only where there is a range."""
    if not data.youngest_years and not data.oldest_years:
        return list(layout.listed)
    oldest = data.oldest_years or np.inf
    ages = ((name, layout.entries[name].age_years) for name in layout.listed)
    return [name for name, age in ages if age is not None and data.youngest_years <= age <= oldest]


def _subset(layout: LabelledRadiographs, names: list[str], data: Data, seed: int) -> frozenset[str]:
    """Return the subset, or all; weights that are few pictures' only cannot draw more than those."""
    if not data.subset or data.subset >= len(names):
        return frozenset(names)
    generator = np.random.default_rng([seed, 8])
    shares = None
    if data.sampling == "findings":
        weights = finding_weights(layout, names, data)
        shares = weights / weights.sum()
    chosen = generator.choice(len(names), data.subset, replace=False, p=shares)
    return frozenset(names[row] for row in chosen)


def _drawn_for_training_only(layout: LabelledRadiographs, parts: Parts) -> Parts:
    """Take films with drawn findings out of validation and test, which are of real findings alone."""
    if not layout.drawn:
        return parts
    count = len(parts.training) - len(layout.real(parts.training))
    return replace(
        parts,
        validation=layout.real(parts.validation),
        test=layout.real(parts.test),
        description=f"{parts.description}; {count:,} of the training pictures are films with drawn findings",
    )


def _by_lists(layout: LabelledRadiographs, folder: Path, names: frozenset[str]) -> Parts:
    parts: list[tuple[str, ...]] = []
    for file in COMMUNITY_LISTS:
        if not (folder / file).exists():
            raise LayoutError(f"{folder / file} is missing; split = 'community' needs {', '.join(COMMUNITY_LISTS)}")
        lines = (line.split() for line in file_text(folder / file).splitlines())
        parts.append(tuple(dict.fromkeys(words[0] for words in lines if words and words[0] in names)))
    return Parts(parts[0], parts[1], parts[2], f"{layout.source}, but cut by the lists in {folder.name}")


def _by_patient(layout: LabelledRadiographs, names: list[str], data: Data, seed: int) -> Parts:
    patients = sorted({layout.entries[name].patient_id for name in names})
    place = dict(zip(patients, _random_parts(len(patients), data, seed), strict=True))
    part_of = {name: place[layout.entries[name].patient_id] for name in names}
    return _collected(layout, part_of, data, "patients")


def _by_picture(layout: LabelledRadiographs, names: list[str], data: Data, seed: int) -> Parts:
    part_of = dict(zip(names, _random_parts(len(names), data, seed), strict=True))
    return _collected(layout, part_of, data, "single pictures")


def _random_parts(count: int, data: Data, seed: int) -> list[int]:
    """Return 0, 1 or 2 for each of ``count``: training, validation, test, by the recipe's shares."""
    training, validation = round(count * data.shares[0]), round(count * data.shares[1])
    parts = np.repeat([0, 1, 2], [training, validation, count - training - validation])
    return [int(part) for part in np.random.default_rng([seed, 9]).permutation(parts)]


def _collected(layout: LabelledRadiographs, part_of: dict[str, int], data: Data, what: str) -> Parts:
    shares = "/".join(f"{share:.0%}" for share in data.shares)
    found = [tuple(name for name, part in part_of.items() if part == number) for number in range(3)]
    description = f"{layout.source}, but {what} cut at random, {shares}"
    return Parts(found[0], found[1], found[2], description)


def _require_pictures(layout: LabelledRadiographs, parts: Parts) -> None:
    for part, names in (("training", parts.training), ("validation", parts.validation), ("test", parts.test)):
        if not names:
            raise LayoutError(f"{layout.root}: no pictures are left for {part}; the lists are too short")


def _leaked_share(layout: LabelledRadiographs, parts: Parts) -> float:
    """Return the share of the test pictures of patients seen before, or of validation's where it is larger."""
    training, validation, test = (
        [layout.entries[name].patient_id for name in part] for part in (parts.training, parts.validation, parts.test)
    )
    seen = set(training)
    in_validation = sum(patient in seen for patient in validation) / len(validation)
    seen |= set(validation)
    return max(in_validation, sum(patient in seen for patient in test) / len(test))
