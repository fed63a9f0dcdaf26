"""Whether the files of a bundle are what its description says, found out without torch and without any pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from model.bundle_file import FORMAT_VERSION, content_sha256

MAXIMUM_FILE_BYTES = 1_000_000_000
"""Size above which a file of a bundle is not even hashed; a DenseNet-121 in float32 has 28 MB."""
MAXIMUM_DESCRIPTION_BYTES = 10_000_000
"""Size above which ``bundle.json`` is not read; it has 10 kB."""

_DTYPES = ("F16", "F32")


class BundleError(Exception):
    """A model bundle cannot be used; the message names the file, what is wrong and what to do."""


def read_description(description: Path) -> dict[str, Any]:
    """Return the fields of ``bundle.json``, unchanged since it was written.

    Raises
    ------
    BundleError
        It is too large, no JSON, of another format version, or was edited.
    """
    _require_size(description, MAXIMUM_DESCRIPTION_BYTES)
    try:
        content = json.loads(description.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{description} is not JSON ({error}); fetch the bundle again") from error
    if not isinstance(content, dict) or content.get("format_version") != FORMAT_VERSION:
        raise BundleError(f"{description}: format_version is not {FORMAT_VERSION}, the only one this release reads")
    if content.pop("content_sha256", None) != content_sha256(content):
        raise BundleError(
            f"{description} was changed after it was written; fetch the bundle again "
            "(operating points are changed with `thresholds` in the configuration)"
        )
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _require_size(file: Path, maximum_bytes: int) -> None:
    size_bytes = file.stat().st_size
    if size_bytes > maximum_bytes:
        raise BundleError(f"{file} has {size_bytes} bytes, more than the {maximum_bytes} of any bundle; fetch it again")


def require_hash(file: Path, expected: str) -> None:
    """Raise BundleError unless the file is there and has this SHA-256 (64 hexadecimal digits)."""
    if not file.is_file():
        raise BundleError(f"{file} is missing; fetch the bundle again")
    _require_size(file, MAXIMUM_FILE_BYTES)
    with file.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if actual != expected:
        raise BundleError(f"{file} is altered or damaged (SHA-256 {actual}, not {expected}); fetch the bundle again")


def require_tensors(weights: Path, shapes: dict[str, tuple[int, ...]], architecture: str) -> None:
    """Raise BundleError unless the file holds exactly these tensors, all in float16 or all in float32."""
    try:
        with safe_open(weights, framework="numpy") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 - not a mapping
            found = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
    except SafetensorError as error:
        raise BundleError(f"{weights} is not a safetensors file ({error})") from error
    first = found.get("classifier.bias", ("", ()))[0]
    dtype = first if first in _DTYPES else _DTYPES[0]
    expected = {name: (dtype, shape) for name, shape in shapes.items()}
    wrong = sorted(name for name in expected | found if found.get(name) != expected.get(name))
    if wrong:
        raise BundleError(
            f"{weights} does not hold a {architecture} in float16 or float32: {len(wrong)} tensors are missing, left "
            f"over or of another shape, first {wrong[0]}; make the bundle again"
        )


def impossible_tensors(tensors: Mapping[str, NDArray[np.floating]]) -> list[str]:
    """Return the names of tensors that no trained network holds: with infinities, no numbers or a negative variance."""
    return [
        name
        for name, tensor in tensors.items()
        if not np.isfinite(tensor).all() or (name.endswith("running_var") and tensor.min() < 0)
    ]
