"""OpenVINO without its telemetry: the one place of this project that imports it.

``import openvino`` reports the import to its maker's analytics service unless the host opted out. A program beside a
PACS must not call anybody, so the reporting package is made unavailable first; OpenVINO then uses its own silent stub.
Its converter of other models is made unavailable, too: loading it takes a third of the time, and nothing is converted.
"""

from __future__ import annotations

import sys

for _unwanted in ("openvino_telemetry", "openvino.tools"):
    sys.modules[_unwanted] = None  # type: ignore[assignment]  # None makes the import fail, by the language's rule

import openvino  # noqa: E402
from openvino import opset13 as op  # noqa: E402

__all__ = ["op", "openvino"]
