"""Is the picture a frontal chest radiograph, upright, whole and with bones bright? What the picture itself says.

Two numbers decide, both from one small network (``model.suitability_network``) that was taught by the bundle's own
training pictures: how much it looks like a frontal chest beside everything else it was shown (the score), and how far
its features lie from those of the training pictures (the distance), which catches what nobody thought of showing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass as checked_dataclass
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from model.suitability_network import FEATURES, check_input, forward, shapes

SUITABILITY_FILE = "suitability.safetensors"
CHECK_KIND: Literal["frontal-chest-64px-v1"] = "frontal-chest-64px-v1"
"""Changed whenever the same tensors would say something else of the same picture."""

_STATISTICS = {"distance.mean": (FEATURES,), "distance.precision": (FEATURES, FEATURES)}


class Verdict(StrEnum):
    """What a picture looks like; all but the last are the network's outputs, in this order."""

    FRONTAL = "frontal"
    INVERTED = "inverted"
    ROTATED_90 = "rotated_90"
    ROTATED_180 = "rotated_180"
    ROTATED_270 = "rotated_270"
    CROPPED = "cropped"
    OTHER = "other"
    BLANK = "blank"
    UNFAMILIAR = "unfamiliar"

    @property
    def words(self) -> str:
        """What is seen, to complete "the picture looks ..."."""
        return _WORDS[self]


OUTPUTS: tuple[Verdict, ...] = tuple(verdict for verdict in Verdict if verdict is not Verdict.UNFAMILIAR)

_WORDS = {
    Verdict.FRONTAL: "like a frontal chest radiograph",
    Verdict.INVERTED: "inverted (bones dark)",
    Verdict.ROTATED_90: "turned by a quarter, counterclockwise",
    Verdict.ROTATED_180: "upside down",
    Verdict.ROTATED_270: "turned by a quarter, clockwise",
    Verdict.CROPPED: "cut off: a large part of the chest is missing",
    Verdict.OTHER: "like another view or body part than a frontal chest",
    Verdict.BLANK: "blank or nearly so",
    Verdict.UNFAMILIAR: "unlike the radiographs the model was trained on",
}


class SuitabilityError(ValueError):
    """The check's file does not hold what it must; the message says what is wrong."""


@dataclass(frozen=True)
class Suitability:
    """What the check says of one picture."""

    verdict: Verdict
    score: float
    """Probability of an upright, whole frontal chest, 0..1, among the network's outputs."""
    distance: float
    """How far from the training pictures, as a share of the largest distance that passes: above 1 is unfamiliar."""

    @property
    def suitable(self) -> bool:
        """Whether the findings network may be asked about this picture."""
        return self.verdict is Verdict.FRONTAL

    @property
    def sentence(self) -> str:
        """For people: what the picture looks like, with both numbers."""
        return f"the picture looks {self.verdict.words} (frontal {self.score:.3f}, distance {self.distance:.2f} of 1)"


@checked_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class SuitabilityFacts:
    """What ``bundle.json`` says of the check; its tensors are in ``suitability.safetensors``."""

    kind: Literal["frontal-chest-64px-v1"] = CHECK_KIND
    outputs: tuple[str, ...] = tuple(map(str, OUTPUTS))
    """What the network's outputs mean, in order."""
    score_limit: Annotated[float, Field(gt=0, lt=1)]
    """A picture passes from this score on."""
    distance_limit: Annotated[float, Field(gt=0)]
    """A picture passes up to this squared Mahalanobis distance; ``Suitability.distance`` is relative to its root."""
    learned_from: Annotated[str, Field(min_length=1)]
    """Pictures it was taught with, in words."""
    list_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the list of training picture names."""
    trial: dict[str, Any] = Field(default_factory=dict)
    """Held-out figures: share of pictures that pass or are caught, by what was done to them."""

    @model_validator(mode="after")
    def _outputs_are_known(self) -> Self:
        if self.outputs != tuple(map(str, OUTPUTS)):
            raise ValueError(f"outputs must be, in this order: {', '.join(OUTPUTS)}")
        return self


class SuitabilityCheck:
    """The check of one bundle, ready to judge pictures; numpy only, a few milliseconds each."""

    def __init__(self, facts: SuitabilityFacts, tensors: Mapping[str, NDArray[np.floating]]) -> None:
        self.facts = facts
        self._tensors = {name: np.asarray(values, np.float32) for name, values in tensors.items()}

    @classmethod
    def from_bytes(cls, facts: SuitabilityFacts, content: bytes) -> SuitabilityCheck:
        """Read what ``to_bytes`` wrote.

        Raises
        ------
        SuitabilityError
            It is no safetensors file, or a tensor is missing, left over, of another shape or not finite.
        """
        try:
            tensors = load_tensors(content)
        except SafetensorError as error:
            raise SuitabilityError(f"{SUITABILITY_FILE} is not a safetensors file ({error})") from error
        expected = shapes(len(OUTPUTS)) | _STATISTICS
        found = {name: tensor.shape for name, tensor in tensors.items()}
        wrong = sorted(name for name in expected | found if expected.get(name) != found.get(name))
        wrong += [name for name, tensor in tensors.items() if not np.isfinite(tensor).all()]
        if wrong:
            raise SuitabilityError(f"{SUITABILITY_FILE}: {wrong[0]} is missing, left over, misshapen or infinite")
        return cls(facts, tensors)

    def to_bytes(self) -> bytes:
        """Return the content of ``suitability.safetensors``: float16, but float32 for where the features lie."""
        kept = {
            name: np.ascontiguousarray(values if name in _STATISTICS else values.astype(np.float16))
            for name, values in self._tensors.items()
        }
        return save_tensors(kept)

    def with_trial(self, trial: dict[str, Any]) -> SuitabilityCheck:
        """Return the same check with the figures of a trial."""
        return SuitabilityCheck(replace(self.facts, trial=trial), self._tensors)

    def judge(self, pixels: NDArray[np.uint8]) -> Suitability:
        """Judge one picture: uint8 [H, W], bones bright, any size.

        Raises
        ------
        ValueError
            The array is of another type or shape.
        SuitabilityError
            The check computes no number; silence would pass for "frontal".
        """
        probabilities, squared = self.measure(pixels)
        score = float(probabilities[0])
        distance = float(np.sqrt(squared / self.facts.distance_limit))
        verdict: Verdict = OUTPUTS[int(probabilities.argmax())]
        if verdict is Verdict.FRONTAL and score < self.facts.score_limit:
            verdict = OUTPUTS[1 + int(probabilities[1:].argmax())]
        if verdict is Verdict.FRONTAL and distance > 1:
            verdict = Verdict.UNFAMILIAR
        return Suitability(verdict, score, distance)

    def measure(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        """Return the outputs' probabilities, float32 [8] in the order of ``OUTPUTS``, and the squared distance."""
        features, logits = forward(self._tensors, check_input(pixels))
        exponentials = np.exp(logits - logits.max())
        away = (features - self._tensors["distance.mean"]).astype(np.float64)
        squared = float(away @ self._tensors["distance.precision"].astype(np.float64) @ away)
        if not (np.isfinite(exponentials).all() and np.isfinite(squared)):  # no number is below any limit
            raise SuitabilityError("the suitability check computes no finite number; make the bundle again")
        return np.asarray(exponentials / exponentials.sum(), np.float32), max(0.0, squared)
