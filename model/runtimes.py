"""The two runtimes of a bundle's network: OpenVINO, and torch as its reference, stand-in and way to a GPU.

Both compute float32, OpenVINO bfloat16 too, and give logits and class activation maps in one forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from model.bundle import Bundle, read_weights
from model.bundle_file import BundleFacts
from model.precision import Precision

Arrays = tuple[NDArray[np.float32], NDArray[np.float32]]
Infer = Callable[[NDArray[np.float32]], Arrays]
"""float32 [V, 1, S, S] -> logits [V, 14] and maps [V, 14, S / 32, S / 32]."""


def with_openvino(bundle: Bundle, cache_dir: Path | None) -> Infer:
    """Return the network on OpenVINO, one thread; compiled networks are kept in ``cache_dir`` unless it is None."""
    from model import compiled_network, openvino_network  # here: torch alone is enough where OpenVINO has no wheel

    prepared = "" if bundle.preparation is None else bundle.preparation.sha256
    identity = (
        f"graph {openvino_network.GRAPH_VERSION} {bundle.weights_sha256} {bundle.architecture} {bundle.input_channels} "
        f"{bundle.input_size_px} {prepared}"
    )

    weights = cache(lambda: read_weights(bundle))  # once for both, and only where something has to be compiled

    def compiled(part: str, build: Callable[..., object], precision: Precision) -> Any:
        return compiled_network.compiled(lambda: build(weights(), bundle), f"{identity} {part}", cache_dir, precision)

    if bundle.precision == "fp32":
        networks = [compiled("network", openvino_network.build_network, "fp32")]
    else:
        networks = [
            compiled("stem", openvino_network.build_stem, "fp32"),
            compiled("blocks", openvino_network.build_blocks, bundle.precision),
        ]
    first, *others = requests = openvino_network.chained_requests(*networks)

    def one(tensor: NDArray[np.float32]) -> Arrays:
        first.infer({0: tensor})
        for request in others:
            request.infer()
        # Copies: the requests' own memory is overwritten by the next image.
        return np.array(requests[-1].get_output_tensor(0).data), np.array(requests[-1].get_output_tensor(1).data)

    def infer(tensor: NDArray[np.float32]) -> Arrays:
        if len(tensor) == 1:
            return one(tensor)
        # One after the other: a batch gains nothing on a CPU, and the network keeps one fixed shape.
        logits, maps = zip(*(one(view[None]) for view in tensor), strict=True)
        return np.concatenate(logits), np.concatenate(maps)

    return infer


def with_torch(facts: BundleFacts, weights: Mapping[str, NDArray[np.floating]], device: str = "cpu") -> Infer:
    """Return the network on torch, all views in one batch.

    Parameters
    ----------
    device
        As torch names it: ``cpu``, ``cuda`` ...
    """
    import torch  # here, because it takes seconds and half a gigabyte that OpenVINO does not need

    from model.densenet import network_with

    network = network_with(weights, facts.input_channels, facts.architecture, facts.preparation).to(device)
    if device != "cpu":
        torch.backends.cudnn.allow_tf32 = False  # float32 is to be what it is everywhere else
        network = network.to(memory_format=torch.channels_last)

    def infer(tensor: NDArray[np.float32]) -> Arrays:
        with torch.inference_mode():
            logits, maps = network(torch.from_numpy(tensor).to(device))
        return cast(Arrays, (logits.cpu().numpy(), maps.cpu().numpy()))

    return infer
