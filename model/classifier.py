"""The classifier: a bundle made ready to judge radiographs, on the runtime the machine has.

Both runtimes compute float32 on one thread and give the logits and the class activation maps in one forward pass.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from model.architecture import ARCHITECTURES
from model.bundle import Bundle, read_weights
from model.preprocess import INPUT_SIZE_PX, normalise

Runtime = Literal["auto", "openvino", "torch"]
Arrays = tuple[NDArray[np.float32], NDArray[np.float32]]
_Infer = Callable[[NDArray[np.float32]], Arrays]
"""[1, 1, 224, 224] -> logits [1, 14] and maps [1, 14, 7, 7]."""


class RuntimeUnavailableError(Exception):
    """The asked runtime is not installed; the message says how to get it or what to ask for instead."""


@dataclass(frozen=True)
class Classification:
    """What the network says of one radiograph; every sequence is in the order of ``LABELS``."""

    probabilities: tuple[float | None, ...]
    """Calibrated, 0..1; None where the bundle's output was never trained."""
    logits: NDArray[np.float32]
    """float32 [14], before calibration; outputs that were never trained mean nothing."""
    maps: NDArray[np.float32]
    """float32 [14, 7, 7], class activation maps; ``maps.mean((1, 2)) + bias == logits``."""
    seconds: float
    """Wall time of normalising and the forward pass."""


class Classifier:
    """One bundle on one runtime. Not thread-safe: one per process, made after the fork."""

    def __init__(self, bundle: Bundle, runtime: Literal["openvino", "torch"], infer: _Infer) -> None:
        self.bundle = bundle
        self.runtime = runtime
        self._infer = infer

    @classmethod
    def load(cls, bundle: Bundle, runtime: Runtime = "auto", cache_dir: Path | None = None) -> Classifier:
        """Make a bundle ready.

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
            The asked runtime is not installed.
        """
        if runtime == "auto":
            runtime = "openvino" if _is_installed("openvino") else "torch"
        if not _is_installed(runtime):
            raise RuntimeUnavailableError(f"{runtime} is not installed; install it or set runtime = 'auto'")
        infer = _with_openvino(bundle, cache_dir) if runtime == "openvino" else _with_torch(bundle)
        return cls(bundle, runtime, infer)

    def classify(self, pixels_224: NDArray[np.uint8]) -> Classification:
        """Judge one radiograph.

        Parameters
        ----------
        pixels_224
            uint8 [224, 224], bones bright, from ``preprocess.to_uint8_224``.

        Raises
        ------
        ValueError
            The array is of another type or shape.
        """
        if pixels_224.dtype != np.uint8 or pixels_224.shape != (INPUT_SIZE_PX, INPUT_SIZE_PX):
            raise ValueError(
                f"classify takes uint8 [{INPUT_SIZE_PX}, {INPUT_SIZE_PX}] from preprocess.to_uint8_224, "
                f"got {pixels_224.dtype} {list(pixels_224.shape)}"
            )
        started = time.perf_counter()
        logits, maps = self._infer(normalise(pixels_224[None]))
        seconds = time.perf_counter() - started
        calibrated = self.bundle.calibration.probabilities(logits[0])
        probabilities = tuple(
            float(value) if trained else None for value, trained in zip(calibrated, self.bundle.trained, strict=True)
        )
        return Classification(probabilities, logits[0], maps[0], seconds)


def _is_installed(runtime: str) -> bool:
    return importlib.util.find_spec(runtime) is not None


def _with_openvino(bundle: Bundle, cache_dir: Path | None) -> _Infer:
    from model import compiled_network, openvino_network  # here: torch alone is enough where OpenVINO has no wheel

    def build() -> object:
        return openvino_network.build(read_weights(bundle), ARCHITECTURES[bundle.architecture], bundle.input_channels)

    identity = f"{bundle.weights_sha256} {bundle.architecture} {bundle.input_channels}"
    request = compiled_network.compiled(build, identity, cache_dir).create_infer_request()

    def infer(tensor: NDArray[np.float32]) -> Arrays:
        request.infer({0: tensor})
        # Copies: the request's own memory is overwritten by the next image.
        return tuple(np.array(request.get_output_tensor(index).data) for index in range(2))  # type: ignore[return-value]

    return infer


def _with_torch(bundle: Bundle) -> _Infer:
    import torch  # here, because it takes seconds and half a gigabyte that OpenVINO does not need

    from model.densenet import network_with

    torch.set_num_threads(1)
    network = network_with(read_weights(bundle), bundle.input_channels, bundle.architecture)

    def infer(tensor: NDArray[np.float32]) -> Arrays:
        with torch.inference_mode():
            logits, maps = network(torch.from_numpy(tensor))
        return cast(Arrays, (logits.numpy(), maps.numpy()))

    return infer
