"""The leak guard: no figure from pictures, or patients, that the network has seen.

A bundle names what it was trained and selected on (``model.seen_images``). One without the names but with the hash of
the list is checked against the lists of the data set at hand; of published weights it is known, at best, whether they
have seen the official test list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.bundle import Bundle
from model.seen_images import Kind, SeenImages
from training.data.chestxray14 import CHESTXRAY14, PHANTOMS
from training.data.radiographs import LabelledRadiographs, list_hash
from training.evaluation.seen_policy import SeenPolicy

_NAMED_AT_MOST = 5


class LeakError(Exception):
    """Figures would come from pictures the network has seen; the message counts them and says what to do."""


@dataclass(frozen=True)
class LeakCheck:
    """Which of N pictures a network has seen."""

    known: bool
    """False where the bundle does not say what it was trained on; then nothing below means anything."""
    training: tuple[str, ...]
    """Pictures whose labels shaped the weights."""
    validation: tuple[str, ...]
    """Pictures that picked the epoch and the thresholds."""
    patients: tuple[str, ...]
    """Other pictures of patients that were seen."""
    policy: SeenPolicy = SeenPolicy.REFUSE
    """What was done."""

    @property
    def seen(self) -> tuple[str, ...]:
        """Return all of them."""
        return self.training + self.validation + self.patients

    @property
    def marked(self) -> bool:
        """Return whether figures are, or may be, too good to believe."""
        return not self.known or (bool(self.seen) and self.policy is SeenPolicy.MARK)

    @property
    def sentence(self) -> str:
        """Return what every output says of it."""
        if not self.known:
            return (
                "UNKNOWN TRAINING PICTURES: the bundle does not say what it was trained on; if any of these pictures "
                "or patients were among them, the figures are too good to believe."
            )
        if not self.seen:
            return "The network has seen none of these pictures and none of these patients before."
        counts = (
            f"{len(self.training)} pictures it was trained on, {len(self.validation)} it was selected on and "
            f"{len(self.patients)} others of patients it has seen"
        )
        if self.policy is SeenPolicy.MARK:
            return f"LEAKY: the part holds {counts}; the figures are too good to believe."
        return f"Left out: {counts}."

    def as_dict(self) -> dict[str, Any]:
        """Return counts and the sentence."""
        return {
            "known": self.known,
            "trained_on": len(self.training),
            "selected_on": len(self.validation),
            "other_pictures_of_seen_patients": len(self.patients),
            "policy": str(self.policy),
            "marked": self.marked,
            "sentence": self.sentence,
        }


def check_leakage(bundle: Bundle, radiographs: LabelledRadiographs, names: tuple[str, ...]) -> LeakCheck:
    """Look which of some pictures of a data set the bundle's network has seen."""
    seen = bundle.seen_images() or _seen_by_list(bundle, radiographs)
    if seen is None:
        return _by_statement(bundle, radiographs, names)
    kind: Kind = kind_of(radiographs)
    trained, selected = seen.trained_on(kind, names), seen.selected_on(kind, names) & ~seen.trained_on(kind, names)
    by_patient = seen.knows_patients(kind, radiographs.patients(names).tolist()) & ~trained & ~selected
    return LeakCheck(True, _chosen(names, trained), _chosen(names, selected), _chosen(names, by_patient))


def guard(check: LeakCheck, names: tuple[str, ...], policy: SeenPolicy) -> tuple[LeakCheck, tuple[str, ...]]:
    """Apply the policy and return the check with it, and the pictures to go on with.

    Raises
    ------
    LeakError
        Seen pictures are among them and the policy is to refuse, or leaving them out leaves none.
    """
    checked = LeakCheck(check.known, check.training, check.validation, check.patients, policy)
    if not checked.seen or policy is SeenPolicy.MARK:
        return checked, names
    examples = ", ".join(checked.seen[:_NAMED_AT_MOST]) + (" ..." if len(checked.seen) > _NAMED_AT_MOST else "")
    counts = (
        f"{len(check.training)} of {len(names)} pictures were trained on, {len(check.validation)} selected on, and "
        f"{len(check.patients)} more are of patients seen then"
    )
    if policy is SeenPolicy.REFUSE:
        raise LeakError(
            f"{counts}, e.g. {examples}; figures would be too good to believe. --seen leave-out goes on without them, "
            "--seen mark keeps them and marks every figure"
        )
    left = set(checked.seen)
    kept = tuple(name for name in names if name not in left)
    if not kept:
        raise LeakError(f"{counts}: none is left to evaluate on; take pictures that the network has not seen")
    return checked, kept


def require_separate_patients(radiographs: LabelledRadiographs, parts: dict[str, tuple[str, ...]]) -> None:
    """Insist that no patient is in two of the parts.

    Raises
    ------
    LeakError
        Names the first patient, the parts, and counts the others.
    """
    owners: dict[str, str] = {}
    shared: dict[str, tuple[str, str]] = {}
    for part, names in parts.items():
        for name in names:
            patient = radiographs.entries[name].patient_id
            if owners.setdefault(patient, part) != part:
                shared.setdefault(patient, (owners[patient], part))
    if shared:
        patient, (first, second) = next(iter(shared.items()))
        raise LeakError(
            f"{len(shared)} patients are in two parts, e.g. {patient} in {first} and in {second}; cut the parts by "
            "patient, or figures are too good to believe"
        )


def kind_of(radiographs: LabelledRadiographs) -> Kind:
    """Return whether the pictures are films or drawings, which are numbered alike."""
    return "film" if radiographs.phantom is None else "drawing"


def seen_images(radiographs: LabelledRadiographs, training: Sequence[str], validation: Sequence[str]) -> SeenImages:
    """Return what a network trained and selected on these pictures has seen."""
    patients = {radiographs.entries[name].patient_id for name in (*training, *validation)}
    return SeenImages.of(kind_of(radiographs), training, validation, patients)


def _seen_by_list(bundle: Bundle, radiographs: LabelledRadiographs) -> SeenImages | None:
    """Return what was seen where the bundle's list hash is that of the data set's own training list."""
    if bundle.trained_on.list_sha256 != list_hash(radiographs.train_val):
        return None
    return seen_images(radiographs, radiographs.train_val, ())


def _by_statement(bundle: Bundle, radiographs: LabelledRadiographs, names: tuple[str, ...]) -> LeakCheck:
    """Return what follows from words alone: drawings are no films; of published weights the official list is known."""
    if PHANTOMS in bundle.trained_on.description and kind_of(radiographs) == "film":
        return LeakCheck(True, (), (), ())
    stated, official = bundle.trained_on.seen_official_test, set(radiographs.test)
    if stated is None or radiographs.source != CHESTXRAY14 or not official.issuperset(names):
        return LeakCheck(False, (), (), ())
    return LeakCheck(True, names if stated else (), (), ())


def _chosen(names: tuple[str, ...], mask: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(name for name, wanted in zip(names, mask, strict=True) if wanted)
