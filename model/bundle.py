"""Model bundles: a folder (or one ``.zip``) with weights, their description, a model card and golden images.

``bundle.json`` holds the SHA-256 of every file and of itself. Loading verifies all of them, the label order, the
preprocessing and the shape of every tensor before anything is computed, without torch and without any pickle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from safetensors.numpy import load_file, save

from model.architecture import ARCHITECTURES
from model.bundle_archive import UnsafeArchiveError, unpack
from model.bundle_file import (
    CARD_FILE,
    DESCRIPTION_FILE,
    WEIGHTS_FILE,
    BundleFacts,
    BundleFile,
    GoldenImage,
    OperatingPoint,
    TrainedOn,
)
from model.bundle_verification import (
    BundleError,
    impossible_tensors,
    read_description,
    require_hash,
    require_tensors,
)
from model.bundle_writing import png, replace_folder, require_replaceable
from model.calibration import Calibration
from model.precision import Precision
from model.seen_images import SEEN_FILE, SeenImages, SeenImagesError
from model.suitability import SUITABILITY_FILE, SuitabilityCheck, SuitabilityError

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


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Bundle(BundleFile):
    """A verified bundle on disk."""

    folder: Path
    precision: Precision = "fp32"
    """What its network is to be computed in; see ``served_in``."""

    @property
    def weights_path(self) -> Path:
        """The tensors: float16 where trained here, float32 where imported, so that they stay what they were."""
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
        """Version, weights and all else that decides a result, in one text, as results carry it."""
        version = f"{self.version}+weights.{self.weights_sha256[:8]}.outputs.{self.outputs_sha256[:8]}"
        version = version if self.suitability is None else f"{version}.check.{self._check_sha256[:8]}"
        return version if self.precision == "fp32" else f"{version}.{self.precision}"

    def served_in(self, precision: Precision) -> Bundle:
        """Return the same bundle, to be computed in another precision, which its version says."""
        return replace(self, precision=precision)

    @property
    def _check_sha256(self) -> str:
        facts = self.suitability
        if facts is None:
            return ""
        decides = f"{facts.kind} {facts.score_limit!r} {facts.distance_limit!r} {self.files[SUITABILITY_FILE]}"
        return hashlib.sha256(decides.encode()).hexdigest()

    def suitability_check(self) -> SuitabilityCheck | None:
        """Return the check that judges pictures before the network sees them; None where the bundle has none.

        Raises
        ------
        BundleError
            Its file is not what it must be.
        """
        if self.suitability is None:
            return None
        try:
            return SuitabilityCheck.from_bytes(self.suitability, (self.folder / SUITABILITY_FILE).read_bytes())
        except SuitabilityError as error:
            raise BundleError(f"{self.folder}: {error}; make the bundle again") from error

    def seen_images(self) -> SeenImages | None:
        """Return which images the weights have seen; None where the bundle does not say.

        Raises
        ------
        BundleError
            The file that says it is damaged.
        """
        if SEEN_FILE not in self.files:
            return None
        try:
            return SeenImages.from_bytes((self.folder / SEEN_FILE).read_bytes())
        except SeenImagesError as error:
            raise BundleError(f"{self.folder}: {error}") from error


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
    try:
        return _load(path)
    except OSError as error:
        raise BundleError(f"model bundle {path} cannot be read: {error.strerror or type(error).__name__}") from error


def _load(path: Path) -> Bundle:
    if not path.exists():
        raise BundleError(f"model bundle {path} does not exist; name the folder or the .zip file of one")
    if path.is_file():
        try:
            path = unpack(path)
        except UnsafeArchiveError as error:
            raise BundleError(f"model bundle {path}: {error}") from error
    description = path / DESCRIPTION_FILE
    if not description.is_file():
        raise BundleError(f"{path} is not a model bundle: it has no {DESCRIPTION_FILE}; name the folder that holds it")
    content = read_description(description)
    try:
        bundle = TypeAdapter(Bundle).validate_python(content | {"folder": path})
    except ValidationError as error:
        raise BundleError(f"{description}: {_all_mistakes(error)}") from error
    for name, expected in bundle.files.items():
        require_hash(path / name, expected)
    shapes = ARCHITECTURES[bundle.architecture].weight_shapes(bundle.channels)
    require_tensors(bundle.weights_path, shapes, bundle.architecture)
    read_weights(bundle)  # refuses what no trained network holds, also where a compiled one is kept and read instead
    bundle.suitability_check()
    return bundle


def _all_mistakes(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}" if mistake["loc"] else mistake["msg"]
        for mistake in error.errors(include_url=False, include_input=False)
    )


def read_weights(bundle: Bundle) -> dict[str, NDArray[np.floating]]:
    """Return the bundle's tensors by torchvision's names, all float16 or all float32, without torch.

    Raises
    ------
    BundleError
        A tensor holds what no trained network does; OpenVINO would compute 0 from it, which looks like a finding's
        absence.
    """
    tensors: dict[str, NDArray[np.floating]] = load_file(bundle.weights_path)
    if impossible := impossible_tensors(tensors):
        raise BundleError(
            f"{bundle.weights_path}: {impossible[0]} holds infinities, no numbers or a negative variance "
            f"({len(impossible)} such tensors); make the bundle again"
        )
    return tensors


def write_bundle(
    path: Path,
    facts: BundleFacts,
    weights: Mapping[str, NDArray[np.floating]],
    card: str,
    golden: Sequence[tuple[str, NDArray[np.uint8], Sequence[float | None]]] = (),
    seen: SeenImages | None = None,
    check: SuitabilityCheck | None = None,
) -> Bundle:
    """Write a bundle folder in one step and return it as loaded again; a bundle already there is replaced.

    Parameters
    ----------
    path
        The folder to make.
    facts
        What is known of the network.
    weights
        Tensors by torchvision's names, all float16 (``model.densenet.weights_of``) or all float32.
    card
        Text of ``MODEL_CARD.md``.
    golden
        Name without suffix, uint8 [H, W] pixels and the 14 expected probabilities of each golden image
        (``model.golden.expected_probabilities``).
    seen
        Which images the weights have seen; None = unknown.
    check
        Judges pictures before the network sees them; it takes the place of ``facts.suitability``. None = none.

    Raises
    ------
    BundleError
        A tensor is not finite, something that is no bundle is in the way, the disk is full or the folder not writable,
        or the result would not load. A bundle that was there stays.
    """
    if impossible := impossible_tensors(weights):
        raise BundleError(
            f"tensor {impossible[0]} is not finite in {weights[impossible[0]].dtype}, or a negative variance "
            f"({len(impossible)} such tensors); nothing written"
        )
    require_replaceable(path)
    contents = {WEIGHTS_FILE: save(dict(weights)), CARD_FILE: card.encode()}
    contents |= {f"golden/{name}.png": png(pixels) for name, pixels, _ in golden}
    contents |= {} if seen is None else {SEEN_FILE: seen.to_bytes()}
    contents |= {} if check is None else {SUITABILITY_FILE: check.to_bytes()}
    images = tuple(GoldenImage(file=f"golden/{name}.png", probabilities=tuple(p)) for name, _, p in golden)
    files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    described = TypeAdapter(BundleFile).validate_python(
        asdict(replace(facts, suitability=None if check is None else check.facts))
        | {"files": files, "golden_images": images}
    )
    contents[DESCRIPTION_FILE] = described.to_json().encode()
    try:
        replace_folder(path, contents, load_bundle)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BundleError(
            f"{path}: the bundle cannot be written ({reason}); make room or name another folder"
        ) from error
    return load_bundle(path)
