"""The classifier: a bundle made ready to judge radiographs, on the runtime the machine has."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.bundle import Bundle, read_weights
from model.bundle_file import BundleFacts
from model.cam import over_whole_picture
from model.labels import LABELS
from model.preparation import squash
from model.preprocess import levels, normalise
from model.runtimes import Infer, with_openvino, with_torch
from model.suitability import Suitability
from model.views import Views, combined_logits

Runtime = Literal["auto", "openvino", "torch", "cuda"]


class RuntimeUnavailableError(Exception):
    """The asked runtime is not installed; the message says how to get it or what to ask for instead."""


class NotFiniteError(ArithmeticError):
    """A network computed no number for a finding it was trained on; silence would pass for "nothing found"."""


@dataclass(frozen=True)
class Classification:
    """What the network says of one radiograph; every sequence is in the order of ``LABELS``."""

    probabilities: tuple[float | None, ...]
    """Calibrated, 0..1; None where the bundle's output was never trained."""
    logits: NDArray[np.float32]
    """float32 [14], before calibration; outputs that were never trained mean nothing. Of several views: the logits of
    their mean probabilities."""
    maps: NDArray[np.float32]
    """float32 [14, h, w], class activation maps over the whole picture. 7 x 7 cells at 224 px where the network saw it
    whole, and ``maps.mean((1, 2)) + bias == logits`` but for rounding; 28 x 28 cells where it was shown crops."""
    seconds: float
    """Wall time of normalising and the forward pass."""


class Classifier:
    """One bundle on one runtime. Not thread-safe: one per process, made after the fork."""

    def __init__(self, bundle: Bundle, runtime: Literal["openvino", "torch", "cuda"], infer: Infer) -> None:
        self.bundle = bundle
        self.runtime = runtime
        self._infer = infer
        self._check = bundle.suitability_check()

    @classmethod
    def load(
        cls, bundle: Bundle, runtime: Literal["auto", "openvino", "torch"] = "auto", cache_dir: Path | None = None
    ) -> Classifier:
        """Make a bundle ready on the processor, to compute on one thread; for a GPU see ``model.gpu``.

        Parameters
        ----------
        bundle
            From ``load_bundle``.
        runtime
            ``auto`` takes OpenVINO where it is installed, else torch.
        cache_dir
            Folder for OpenVINO's compiled network, to start faster next time; None keeps nothing. torch ignores it.

        Raises
        ------
        RuntimeUnavailableError
            The asked runtime is not installed, or cannot compute in the bundle's precision.
        """
        if runtime == "auto":
            runtime = "openvino" if _is_installed("openvino") else "torch"
        if not _is_installed(runtime):
            raise RuntimeUnavailableError(f"{runtime} is not installed; install it or set runtime = 'auto'")
        if runtime == "openvino":
            return cls(bundle, runtime, with_openvino(bundle, cache_dir))
        if bundle.precision != "fp32":
            raise RuntimeUnavailableError(f"torch does not compute {bundle.precision} here; set precision = 'fp32'")
        import torch  # here, because it takes seconds and half a gigabyte that OpenVINO does not need

        torch.set_num_threads(1)
        return cls(bundle, runtime, with_torch(bundle, read_weights(bundle)))

    def prepare(self, pixels: NDArray[np.uint8]) -> Views:
        """Return what the network is to see of a radiograph: uint8 [H, W], bones bright, any size.

        Raises
        ------
        ValueError
            The array is of another type or shape.
        """
        return prepare(self.bundle, pixels)

    def examine(self, pixels: NDArray[np.uint8]) -> Suitability | None:
        """Say whether a picture may be classified at all; None where the bundle has no check: nobody looked.

        ``classify`` does not ask this by itself: whoever calls it decides what becomes of a picture that fails.

        Parameters
        ----------
        pixels
            uint8 [H, W], bones bright, any size.

        Raises
        ------
        ValueError
            The array is of another type or shape.
        """
        return None if self._check is None else self._check.judge(pixels)

    def classify(self, picture: NDArray[np.uint8] | Views) -> Classification:
        """Judge one radiograph.

        Parameters
        ----------
        picture
            uint8 [H, W], bones bright, any size; or what ``prepare`` made of it.

        Raises
        ------
        ValueError
            The array is of another type or shape.
        NotFiniteError
            The network computed no number.
        """
        views = picture if isinstance(picture, Views) else self.prepare(picture)
        return judge(self.bundle, self._infer, views)


def prepare(facts: BundleFacts, pixels: NDArray[np.uint8]) -> Views:
    """Return what the network of a bundle is to see of a radiograph (see ``Classifier.prepare``)."""
    return (facts.preparation or squash(facts.input_size_px)).views(pixels)


def judge(facts: BundleFacts, infer: Infer, views: Views) -> Classification:
    """Return what a network says of one radiograph (see ``Classifier.classify``)."""
    started = time.perf_counter()
    tensor = (normalise if facts.preparation is None else levels)(views.pixels)
    logits, maps = infer(tensor)
    seconds = time.perf_counter() - started
    combined = combined_logits(logits)
    for label, trained, logit in zip(LABELS, facts.trained, combined, strict=True):
        if trained and not np.isfinite(logit):
            raise NotFiniteError(
                f"bundle {facts.name} {facts.version} computes no finite number for {label}; make the bundle again"
            )
    calibrated = facts.calibration.probabilities(combined)
    probabilities = tuple(
        float(value) if trained else None for value, trained in zip(calibrated, facts.trained, strict=True)
    )
    return Classification(probabilities, combined, over_whole_picture(maps, views.windows), seconds)


def _is_installed(runtime: str) -> bool:
    return importlib.util.find_spec(runtime) is not None
