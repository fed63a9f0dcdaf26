"""Which arithmetic a bundle is served in here: the one asked for, if the bundle's trial and the processor allow it."""

from __future__ import annotations

import importlib.util

from model.bundle import Bundle
from model.precision import Precision


def in_served_precision(bundle: Bundle, wanted: Precision, runtime: str) -> tuple[Bundle, str]:
    """Return the bundle as it is to be served, and why that is not as wanted; empty where it is.

    Parameters
    ----------
    runtime
        ``auto``, ``openvino``, ``torch`` or ``cuda``: only OpenVINO computes in bfloat16.
    """
    if wanted == "fp32":
        return bundle, ""
    obstacle = _obstacle(bundle, runtime)
    return (bundle, obstacle) if obstacle else (bundle.served_in(wanted), "")


def _obstacle(bundle: Bundle, runtime: str) -> str:
    if bundle.bf16 is None:
        return "bf16 was never tried with this bundle (python -m training precision)"
    if bundle.bf16.obstacle:
        return f"bf16 did not pass its trial: {bundle.bf16.obstacle}"
    if runtime in ("torch", "cuda") or importlib.util.find_spec("openvino") is None:
        return "only the runtime openvino computes in bf16"
    from model.compiled_network import processor_computes_bf16  # here: float32 on torch needs no OpenVINO

    return "" if processor_computes_bf16() else "this processor has no bf16 arithmetic"
