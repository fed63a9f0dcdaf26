"""A bundle's network on a GPU, and what becomes of a picture when the GPU fails.

A GPU computes in float32 like everything else here (no TF32): decoding pictures takes longer than that, and the trial
of bfloat16 that a bundle has passed was one of a processor. What it says of the bundle's golden images is compared
before it says anything of a patient.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.bundle import Bundle, read_weights
from model.classifier import Classification, Classifier, NotFiniteError, Runtime, RuntimeUnavailableError
from model.golden import verify_golden
from model.runtimes import with_torch
from model.views import Views

_log = logging.getLogger(__name__)

_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/kfd"))
"""What the drivers of NVIDIA's and AMD's GPUs put there."""


def serving_classifier(bundle: Bundle, runtime: Runtime, cache_dir: Path | None) -> Classifier:
    """Make a bundle ready to judge studies, on a GPU where there is one and it was not asked for otherwise.

    Parameters
    ----------
    runtime
        ``cuda`` insists on the GPU, ``auto`` takes it where it computes the golden images right, else the processor.
    cache_dir
        As of ``Classifier.load``.

    Raises
    ------
    RuntimeUnavailableError
        The asked runtime is not there, or the GPU computes something else.
    """
    if runtime == "cuda":
        return GpuClassifier.proven(bundle, cache_dir)
    if runtime == "auto" and bundle.precision == "fp32" and _is_at_hand():
        try:
            return GpuClassifier.proven(bundle, cache_dir)
        except RuntimeUnavailableError as error:
            _log.warning("%s computes on the processor: %s", bundle.name, error)
    return Classifier.load(bundle, runtime, cache_dir)


class GpuClassifier(Classifier):
    """One bundle on a GPU; goes on without it when it fails, with the picture at hand first."""

    def __init__(self, bundle: Bundle, cache_dir: Path | None) -> None:
        super().__init__(bundle, "cuda", with_torch(bundle, read_weights(bundle), "cuda"))
        self._cache_dir = cache_dir

    @classmethod
    def proven(cls, bundle: Bundle, cache_dir: Path | None) -> GpuClassifier:
        """Make a bundle ready on the GPU and prove it by its golden images.

        Raises
        ------
        RuntimeUnavailableError
            There is no GPU that torch can use, or it computes something else.
        """
        import torch  # here, because it takes seconds and half a gigabyte that a processor alone does not need

        if not torch.cuda.is_available():
            raise RuntimeUnavailableError("torch sees no GPU; install its driver, or set runtime = 'auto'")
        try:
            classifier = cls(bundle, cache_dir)
            results = verify_golden(classifier)
        except RuntimeError as error:  # CUDA out of memory, no kernel for this GPU, and whatever else torch says of it
            raise RuntimeUnavailableError(f"the GPU cannot be used ({type(error).__name__})") from error
        if not results:
            raise RuntimeUnavailableError("the bundle has no golden images to prove a GPU by")
        if classifier.runtime != "cuda" or not all(result.passed for result in results):
            raise RuntimeUnavailableError("the GPU computes other probabilities of the bundle's golden images")
        return classifier

    def classify(self, picture: NDArray[np.uint8] | Views) -> Classification:
        """Judge one radiograph (see ``Classifier.classify``); on the processor once the GPU has failed."""
        views = picture if isinstance(picture, Views) else self.prepare(picture)
        try:
            return super().classify(views)
        except (RuntimeError, NotFiniteError) as error:
            if self.runtime != "cuda":
                raise
            self._go_on_without_gpu(error)
        return super().classify(views)

    def _go_on_without_gpu(self, error: Exception) -> None:
        """Compute on the processor until the process is started anew: after most errors CUDA answers no more."""
        _log.error("the GPU failed (%s); this process goes on without it", type(error).__name__)
        instead = Classifier.load(self.bundle, "auto", self._cache_dir)
        self.runtime, self._infer = instead.runtime, instead._infer


def _is_at_hand() -> bool:
    """Say whether there may be a GPU; asking torch takes seconds."""
    return os.environ.get("CUDA_VISIBLE_DEVICES") != "" and any(path.exists() for path in _DRIVERS)
