"""The parts of a run: training and validation, cut by patient from train_val, and the official test list."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.data.radiographs import LabelledRadiographs, LayoutError


@dataclass(frozen=True)
class Parts:
    """Names of pictures; no patient is in two parts."""

    training: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def cut_parts(layout: LabelledRadiographs, validation_share: float, seed: int, leave_out: frozenset[str]) -> Parts:
    """Cut validation from train_val, whole patients at a time.

    Parameters
    ----------
    validation_share
        Share of the patients of train_val, 0..1.
    seed
        The same seed and list always give the same cut.
    leave_out
        Pictures that cannot be used (missing or corrupt).

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
    )
    for part, names in (("training", parts.training), ("validation", parts.validation), ("test", parts.test)):
        if not names:
            raise LayoutError(f"{layout.root}: no pictures are left for {part}; the lists are too short")
    return parts
