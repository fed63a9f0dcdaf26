"""Compiled networks kept between starts: reading one back takes a third of the time of compiling it.

One file per bundle, OpenVINO version and processor: the SHA-256 of the rest, then OpenVINO's exported network. A file
that does not match its hash, or that OpenVINO refuses, is made anew; losing the folder costs half a second.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model.precision import Precision
from model.quiet_openvino import openvino

_log = logging.getLogger(__name__)
_DIGEST_BYTES = 32

_HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16"}


def cpu_settings(precision: Precision = "fp32") -> dict[str, Any]:
    """Return what OpenVINO is told.

    One thread per process and as many processes as cores is the fastest layout on CPU. Threads are not pinned, else
    every process would sit on the same core. The precision is demanded, because newer processors would choose bfloat16
    by themselves.
    """
    return {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "ENABLE_CPU_PINNING": False,
    }


def processor_computes_bf16() -> bool:
    """Return whether this processor has bfloat16 arithmetic; OpenVINO would do without it, and gain nothing."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def processor_name() -> str:
    """Return the processor's name as OpenVINO tells it."""
    return str(openvino.Core().get_property("CPU", "FULL_DEVICE_NAME"))


def compiled(build: Callable[[], Any], identity: str, cache_dir: Path | None, precision: Precision = "fp32") -> Any:
    """Return a compiled network, from the cache where it is kept.

    Parameters
    ----------
    build
        Makes the ``openvino.Model``; called only when nothing usable is kept.
    identity
        Everything the network depends on (weights, architecture, input, version of the graph), in one text.
    cache_dir
        Folder for compiled networks; None keeps nothing.
    precision
        Of the arithmetic.
    """
    core, settings = openvino.Core(), cpu_settings(precision)
    if cache_dir is None:
        return core.compile_model(build(), "CPU", settings)
    processor = (core.get_property("CPU", "FULL_DEVICE_NAME"), core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    key = hashlib.sha256(repr((identity, precision, openvino.__version__, processor)).encode()).hexdigest()
    kept = cache_dir / f"{key[:32]}.network"
    network = _read(core, kept, settings)
    if network is None:
        network = core.compile_model(build(), "CPU", settings)
        try:
            _keep(network, kept)
        except OSError as error:
            _log.warning("compiled network %s cannot be kept (%s); the next start compiles again", kept, error.strerror)
    return network


def _read(core: Any, kept: Path, settings: dict[str, Any]) -> Any | None:
    try:
        with kept.open("rb") as file:  # in two pieces: cutting 28 MB in two copies them
            digest, content = file.read(_DIGEST_BYTES), file.read()
    except OSError:
        return None
    if hashlib.sha256(content).digest() != digest:
        _log.warning("compiled network %s is damaged; compiling again", kept)
        return None
    try:
        return core.import_model(content, "CPU", settings)
    except RuntimeError:
        _log.warning("compiled network %s is of another OpenVINO; compiling again", kept)
        return None


def _keep(network: Any, kept: Path) -> None:
    """Write the network under its final name in one step; processes that start together write the same bytes."""
    stream = network.export_model()
    content: bytes = stream if isinstance(stream, bytes) else stream.getvalue()
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".") as temporary:
        new = Path(temporary) / kept.name
        with new.open("wb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(kept)
