"""The network alone, beside what the processor could do at most: ``python -m benchmarks.network``.

A bundle's network on one picture and one thread, on every runtime, in turn: milliseconds, and the share of the peak of
float32 fused multiply-adds, which a C program measures on one thread in the same minutes (it needs ``cc``). What maps
cost is the difference to a network without them, beside Grad-CAM's backward pass. Probabilities are compared with
torch's. With a GPU also images per second by batch and precision, as a share of its largest measured matrix product.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.bars import Bar, at_least, at_most
from benchmarks.receivers import needed
from benchmarks.windows import Measured, in_turn
from model.bundle import Bundle, load_bundle, read_weights
from model.compiled_network import cpu_settings, processor_computes_bf16
from model.densenet import DenseNet121Cam, network_with
from model.openvino_network import build_blocks, build_network, build_stem, chained_requests
from model.precision import Precision
from model.preprocess import normalise, to_uint8_224
from model.quiet_openvino import openvino
from worker.foundation.kept_memory import keep_freed_memory
from worker.settings.config import STARTER_BUNDLE

SHARE_BAR = (0.80, 0.88)
"""Of the measured peak, the worker's way (design/performance.md)."""
DIFFERENCE_BAR = (1e-4, 1e-5)
"""Between float32 runtimes, of a probability (design/performance.md)."""
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
MATRIX = 8192
OURS = "OpenVINO fp32"
Tensor = NDArray[np.float32]
Infer = Callable[[Tensor], Tensor]
"""float32 [1, 1, S, S] -> logits [14]."""


@dataclass(frozen=True)
class Row:
    """One runtime."""

    runtime: str
    measured: Measured
    share: float
    difference: float
    """Largest of a probability, from torch's."""

    def as_dict(self, eager_seconds: float) -> dict[str, Any]:
        """Return plain values."""
        return {
            "runtime": self.runtime,
            "ms": round(1e3 * self.measured.median_seconds, 2),
            "times as fast as torch": round(eager_seconds / self.measured.median_seconds, 2),
            "share of peak": round(self.share, 3),
            "max |dp|": f"{self.difference:.1e}",
            "noisy": self.measured.noisy,
        }


def measured_peak(folder: Path) -> float:
    """Return GFLOP/s of one thread, float32."""
    program = folder / "fma_peak"
    source = Path(__file__).with_name("fma_peak.c")
    subprocess.run(
        [needed("cc"), "-O3", "-march=native", "-ffp-contract=fast", "-o", str(program), str(source)],
        check=True,
        capture_output=True,
    )
    return float(subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout)


def flops_of(network: torch.nn.Module, tensor: torch.Tensor) -> float:
    """Return the floating point operations of one picture, two for a multiply-add."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(tensor)
    return float(counter.get_total_flops()) / len(tensor)


def runtimes(bundle: Bundle) -> dict[str, Infer]:
    """Return every way to compute the logits of one picture."""
    weights = read_weights(bundle)
    eager = network_with(weights, bundle.input_channels, bundle.architecture)
    last = network_with(weights, bundle.input_channels, bundle.architecture).to(memory_format=torch.channels_last)
    whole = build_network(weights, bundle)
    without_maps = openvino.Model([whole.outputs[0]], whole.get_parameters(), "without maps")
    ways = {
        "torch fp32": _with_torch(eager, torch.contiguous_format),
        "torch fp32 channels_last": _with_torch(last, torch.channels_last),
        "torch fp32 with Grad-CAM": _with_grad_cam(eager),
        OURS: _with_openvino((whole, "fp32")),
        "OpenVINO fp32 without maps": _with_openvino((without_maps, "fp32")),
    }
    if processor_computes_bf16():
        stem, blocks = build_stem(weights, bundle), build_blocks(weights, bundle)
        ways["OpenVINO bf16"] = _with_openvino((stem, "fp32"), (blocks, "bf16"))
    return ways


def _with_torch(network: DenseNet121Cam, layout: torch.memory_format) -> Infer:
    def infer(tensor: Tensor) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = network(torch.from_numpy(tensor).contiguous(memory_format=layout))[0].numpy()
        return logits.reshape(-1)

    return infer


def _with_grad_cam(network: DenseNet121Cam) -> Infer:
    """Return the usual way to a map: forward, and back from one finding to the last features."""

    def infer(tensor: Tensor) -> Tensor:
        features = torch.relu(network.features(torch.from_numpy(tensor).expand(-1, network.channels, -1, -1)))
        features.retain_grad()
        logits = network.classifier(features.mean((2, 3)))
        logits[0, 0].backward()
        assert features.grad is not None
        torch.relu((features.grad.mean((2, 3), keepdim=True) * features).sum(1))
        network.zero_grad()
        found: Tensor = logits.detach().numpy()
        return found.reshape(-1)

    return infer


def flops_of_graph(graph: Any) -> float:
    """Return two for each multiplication of the graph's convolutions."""
    count = 0.0
    for node in graph.get_ops():
        if node.get_type_name() == "Convolution":
            _, channels, height, width = node.input_value(1).get_shape()
            count += 2 * channels * height * width * float(np.prod(node.output(0).get_shape()))
    return count


def _with_openvino(*graphs: tuple[Any, Precision]) -> Infer:
    core = openvino.Core()
    compiled = (core.compile_model(graph, "CPU", cpu_settings(precision)) for graph, precision in graphs)
    first, *others = requests = chained_requests(*compiled)

    def infer(tensor: Tensor) -> Tensor:
        first.infer({0: tensor})
        for request in others:
            request.infer()
        return np.asarray(requests[-1].get_output_tensor(0).data[0]).copy()

    return infer


def processor(folder: Path) -> dict[str, Any]:
    """Measure every runtime on one thread."""
    torch.set_num_threads(1)
    bundle = load_bundle(STARTER_BUNDLE)
    with Image.open(bundle.golden[0][0]) as picture:
        tensor = normalise(to_uint8_224(np.array(picture.convert("L")))[None])
    ways = runtimes(bundle)
    network = network_with(read_weights(bundle), bundle.input_channels, bundle.architecture)
    flops = flops_of(network, torch.from_numpy(tensor))
    before = measured_peak(folder)
    measured = in_turn({name: partial(way, tensor) for name, way in ways.items()}, 0.5)
    peak = max(before, measured_peak(folder))
    truth = bundle.calibration.probabilities(ways["torch fp32"](tensor))
    rows = [
        Row(
            name,
            of,
            flops / of.median_seconds / (peak * 1e9),
            float(np.abs(bundle.calibration.probabilities(ways[name](tensor)) - truth).max()),
        )
        for name, of in measured.items()
    ]
    eager = measured["torch fp32"].median_seconds
    maps = measured[OURS].median_seconds - measured["OpenVINO fp32 without maps"].median_seconds
    weights = read_weights(bundle)
    done = flops_of_graph(build_network(weights, bundle))
    share = done / measured[OURS].median_seconds / (peak * 1e9)
    ours = next(row for row in rows if row.runtime == OURS)
    bars = [
        at_least("share of one thread's peak, operations as the network is written down", ours.share, SHARE_BAR, 3),
        at_least("share of one thread's peak, operations that are computed", share, SHARE_BAR, 3),
        at_most("largest difference of a probability from torch's", ours.difference, DIFFERENCE_BAR, 9),
    ]
    return {
        "rows": [row.as_dict(eager) for row in rows],
        "notes": [
            f"the shares are of the network's own {flops / 1e9:.2f} GFLOP; OpenVINO's graphs compute the same with "
            f"{done / 1e9:.2f} (pooled before it convolves, one channel for a grey picture)",
            f"{flops / 1e9:.2f} GFLOP for each picture; peak of one thread {peak:.0f} GFLOP/s (float32, measured)",
            f"maps of all findings cost {1e3 * maps:.2f} ms beside the network without them",
        ],
        "bars": [bar.as_dict() for bar in bars],
        "right": all(row.difference <= DIFFERENCE_BAR[0] for row in rows if "bf16" not in row.runtime),
    }


def accelerator(device: torch.device, batches: tuple[int, ...], matrix: int) -> list[dict[str, Any]]:
    """Measure batches of pictures on a device that torch knows, as a share of its largest matrix product."""
    bundle = load_bundle(STARTER_BUNDLE)
    network = network_with(read_weights(bundle), bundle.input_channels, bundle.architecture).to(device)
    flops = flops_of(network, torch.zeros(1, 1, bundle.input_size_px, bundle.input_size_px, device=device))
    rows = []
    for kind in (torch.float32, torch.bfloat16):
        network = network.to(kind).to(memory_format=torch.channels_last)
        square = torch.ones(matrix, matrix, dtype=kind, device=device)
        peak = 2 * matrix**3 / _seconds(partial(torch.matmul, square, square), device)
        for batch in batches:
            pictures = torch.zeros(batch, 1, bundle.input_size_px, bundle.input_size_px, dtype=kind, device=device)
            rate = batch / _seconds(partial(network, pictures), device)
            rows.append(
                {
                    "precision": str(kind).removeprefix("torch."),
                    "batch": batch,
                    "images per second": round(rate, 1),
                    "share of peak": round(rate * flops / peak, 3),
                }
            )
    return rows


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the median time of one run, the device waited for."""
    times = []
    with torch.inference_mode():
        for _ in range(8):
            started = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - started)
    return sorted(times[3:])[2]  # the first ones choose kernels


def main() -> None:
    """Measure, print, and end with status 1 if float32 runtimes disagree."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.network", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="write JSON to standard output")
    arguments = parser.parse_args()
    keep_freed_memory()  # as the worker does; every runtime has its memory from the same heap
    with tempfile.TemporaryDirectory() as folder:
        found = processor(Path(folder))
    if torch.cuda.is_available():
        device = torch.device("cuda")
        found["tables"] = {torch.cuda.get_device_name(device): accelerator(device, BATCHES, MATRIX)}
    else:
        found["notes"].append("a GPU was not measured: torch sees none on this machine")
    if arguments.json:
        json.dump(found, sys.stdout, indent=1)
    else:
        _print(found)
    sys.exit(0 if found["right"] else 1)


def _print(found: dict[str, Any]) -> None:
    for rows in (found["rows"], *found.get("tables", {}).values()):
        print("  ".join(rows[0]))
        for row in rows:
            print("  ".join(str(value) for value in row.values()))
    print(*(Bar(**bar) for bar in found["bars"]), *found["notes"], sep="\n")


if __name__ == "__main__":
    main()
