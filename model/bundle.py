"""Model bundles: a folder (or one ``.zip``) with weights, their description, a model card and golden images.

``bundle.json`` holds the SHA-256 of every file and of itself. Loading verifies all of them, the label order, the
preprocessing and the shape of every tensor before anything is computed, without torch and without any pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from model.architecture import ARCHITECTURES
from model.bundle_archive import UnsafeArchiveError, unpack
from model.bundle_file import (
    CARD_FILE,
    FORMAT_VERSION,
    WEIGHTS_FILE,
    BundleFacts,
    BundleFile,
    GoldenImage,
    OperatingPoint,
    TrainedOn,
    content_sha256,
)
from model.calibration import Calibration

__all__ = [
    "Bundle",
    "BundleError",
    "BundleFacts",
    "Calibration",
    "OperatingPoint",
    "TrainedOn",
    "load_bundle",
    "read_weights",
    "write_bundle",
]

_DESCRIPTION_FILE = "bundle.json"


class BundleError(Exception):
    """A model bundle cannot be used; the message names the file, what is wrong and what to do."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Bundle(BundleFile):
    """A verified bundle on disk."""

    folder: Path

    @property
    def weights_path(self) -> Path:
        """The float16 tensors."""
        return self.folder / WEIGHTS_FILE

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights file, 64 hexadecimal digits."""
        return self.files[WEIGHTS_FILE]

    @property
    def card_path(self) -> Path:
        """The model card, Markdown."""
        return self.folder / CARD_FILE

    @property
    def golden(self) -> list[tuple[Path, tuple[float | None, ...]]]:
        """Each golden image's path with the 14 probabilities expected of it."""
        return [(self.folder / image.file, image.probabilities) for image in self.golden_images]

    @property
    def model_version(self) -> str:
        """Version and weights in one text, as results carry it."""
        return f"{self.version}+weights.{self.weights_sha256[:8]}"


def load_bundle(path: Path) -> Bundle:
    """Read and verify a bundle.

    Parameters
    ----------
    path
        The folder, or a ``.zip`` of it, which is unpacked once beside itself.

    Raises
    ------
    BundleError
        Something is missing, altered or of another release.
    """
    if not path.exists():
        raise BundleError(
            f"model bundle {path} does not exist; set `bundles` in the configuration to a bundle's folder"
        )
    if path.is_file():
        try:
            path = unpack(path)
        except UnsafeArchiveError as error:
            raise BundleError(f"model bundle {path}: {error}") from error
    description = path / _DESCRIPTION_FILE
    if not description.is_file():
        raise BundleError(f"{path} is not a model bundle: it has no {_DESCRIPTION_FILE}; name the folder that holds it")
    content = _read_description(description)
    try:
        bundle = TypeAdapter(Bundle).validate_python(content | {"folder": path})
    except ValidationError as error:
        raise BundleError(f"{description}: {_all_mistakes(error)}") from error
    for name, expected in bundle.files.items():
        _require_hash(path / name, expected)
    _require_shapes(bundle)
    return bundle


def _read_description(description: Path) -> dict[str, Any]:
    try:
        content = json.loads(description.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(f"{description} is not JSON ({error}); fetch the bundle again") from error
    if not isinstance(content, dict) or content.get("format_version") != FORMAT_VERSION:
        raise BundleError(f"{description}: format_version is not {FORMAT_VERSION}, the only one this release reads")
    if content.pop("content_sha256", None) != content_sha256(content):
        raise BundleError(
            f"{description} was changed after it was written; fetch the bundle again "
            "(operating points are changed with `thresholds` in the configuration)"
        )
    return content


def _all_mistakes(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}" if mistake["loc"] else mistake["msg"]
        for mistake in error.errors(include_url=False, include_input=False)
    )


def _require_hash(file: Path, expected: str) -> None:
    if not file.is_file():
        raise BundleError(f"{file} is missing; fetch the bundle again")
    with file.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if actual != expected:
        raise BundleError(f"{file} is altered or damaged (SHA-256 {actual}, not {expected}); fetch the bundle again")


def _require_shapes(bundle: Bundle) -> None:
    expected = ARCHITECTURES[bundle.architecture].weight_shapes()
    try:
        with safe_open(bundle.weights_path, framework="numpy") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 - not a mapping
            found = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
    except SafetensorError as error:
        raise BundleError(f"{bundle.weights_path} is not a safetensors file ({error})") from error
    wrong = sorted(name for name in expected | found if found.get(name) != ("F16", expected.get(name)))
    if wrong:
        raise BundleError(
            f"{bundle.weights_path} does not hold a {bundle.architecture} in float16: {len(wrong)} tensors are "
            f"missing, left over or of another shape, first {wrong[0]}; make the bundle again"
        )


def read_weights(bundle: Bundle) -> dict[str, NDArray[np.float16]]:
    """Return the bundle's tensors by torchvision's names, float16, without torch."""
    tensors: dict[str, NDArray[np.float16]] = load_file(bundle.weights_path)
    return tensors


def write_bundle(
    path: Path,
    facts: BundleFacts,
    weights: Mapping[str, NDArray[np.float16]],
    card: str,
    golden: Sequence[tuple[str, NDArray[np.uint8], Sequence[float | None]]] = (),
) -> Bundle:
    """Write a bundle folder in one step and return it as loaded again; a bundle already there is replaced.

    Parameters
    ----------
    path
        The folder to make.
    facts
        What is known of the network.
    weights
        float16 tensors by torchvision's names (``model.densenet.weights_of``).
    card
        Text of ``MODEL_CARD.md``.
    golden
        Name without suffix, uint8 [H, W] pixels and the 14 expected probabilities of each golden image
        (``model.golden.expected_probabilities``).

    Raises
    ------
    BundleError
        A tensor is not finite in float16, or the result would not load.
    """
    infinite = [name for name, tensor in weights.items() if not np.isfinite(tensor).all()]
    if infinite:
        raise BundleError(
            f"tensor {infinite[0]} is not finite in float16 ({len(infinite)} such tensors); nothing written"
        )
    contents = {WEIGHTS_FILE: save(dict(weights)), CARD_FILE: card.encode()}
    contents |= {f"golden/{name}.png": _png(pixels) for name, pixels, _ in golden}
    images = tuple(GoldenImage(file=f"golden/{name}.png", probabilities=tuple(p)) for name, _, p in golden)
    files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    described = TypeAdapter(BundleFile).validate_python(asdict(facts) | {"files": files, "golden_images": images})
    contents[_DESCRIPTION_FILE] = described.to_json().encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as temporary:
        new = Path(temporary) / "new"
        for name, content in contents.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            _write_durably(new / name, content)
        load_bundle(new)
        if path.exists():
            path.rename(Path(temporary) / "old")
        new.rename(path)
    return load_bundle(path)


def _write_durably(file: Path, content: bytes) -> None:
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _png(pixels: NDArray[np.uint8]) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", optimize=True)
    return stream.getvalue()
