"""What ``bundle.json`` says: its fields, their ranges, and the rules between them.

Every class checks itself when it is made, so a value that stands here can be relied on; pydantic reports all mistakes
of a file at once.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from model.architecture import ARCHITECTURES, InputChannels
from model.calibration import Calibration
from model.labels import LABELS
from model.precision import PrecisionTrial
from model.preparation import Preparation
from model.preprocess import INPUT_SIZE_PX, PREPROCESSING_ID, preprocessing_id
from model.suitability import SUITABILITY_FILE, SuitabilityFacts

FORMAT_VERSION: Literal[1] = 1
DESCRIPTION_FILE = "bundle.json"
WEIGHTS_FILE = "weights.safetensors"
CARD_FILE = "MODEL_CARD.md"

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)?")
_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False)

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Fraction = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class OperatingPoint:
    """The probability from which a finding is flagged, and how it was chosen."""

    threshold: Annotated[float, Field(gt=0, lt=1)]
    """Calibrated probability; a finding is flagged at or above it."""
    chosen_by: Annotated[str, Field(min_length=1)]
    """Rule in words, e.g. ``Youden's J on the validation split``."""
    sensitivity: Fraction | None = None
    """On the data it was chosen on; None = never measured."""
    specificity: Fraction | None = None
    """On the data it was chosen on; None = never measured."""


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class TrainedOn:
    """Which images the weights have seen, so that nobody evaluates on them."""

    description: Annotated[str, Field(min_length=1)]
    list_sha256: Sha256 | None = None
    """SHA-256 of the list of training and validation image names; None = unknown (imported weights). The images
    themselves are in ``seen_images.bin`` (``model.seen_images``), where the bundle has it."""
    seen_official_test: bool | None = None
    """True: trained on, or chosen by, images of ChestX-ray14's official test list, so figures on that list or on the
    boxes (all of them on it) flatter the weights. False: on none of them. None: not stated."""


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class Imported:
    """Where imported weights come from, and what of them is not in the bundle."""

    published: Annotated[str, Field(min_length=1)]
    """Key of ``model.published.PUBLISHED``: whose network it is and how its authors prepared pictures."""
    checkpoint_sha256: Sha256
    weight_set: str | None = None
    """torchxrayvision's name of the weights; None for all others."""
    dropped_outputs: tuple[str, ...] = ()
    """Outputs of the checkpoint that are none of the 14 findings."""


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class GoldenImage:
    """A picture in the bundle and what the network must say of it."""

    file: str
    """Name inside the bundle; an 8-bit grey PNG of any size."""
    probabilities: Annotated[tuple[Fraction | None, ...], Field(min_length=len(LABELS), max_length=len(LABELS))]
    """Calibrated, in the order of ``labels``, from torch in float32; None where untrained."""


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class BundleFacts:
    """What whoever trains or imports a network states about it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+([.-][0-9A-Za-z.-]+)?$")]
    demonstration: bool
    """True = not for patients at all (trained on drawings, say); refused outside the demonstration."""
    trained: Annotated[tuple[bool, ...], Field(min_length=len(LABELS), max_length=len(LABELS))]
    """Per label: False means the output was never trained; it is reported as None and never flags."""
    calibration: Calibration
    operating_points: dict[str, OperatingPoint]
    """One for each trained label that is not ``reported_only``."""
    trained_on: TrainedOn
    reported_only: tuple[str, ...] = ()
    """Trained labels with too few examples for a threshold: their probability is told, and they never flag."""
    metrics: dict[str, Any] = Field(default_factory=dict)
    """Held-out figures with confidence intervals; may be empty for imported weights."""
    localisation: dict[str, Any] = Field(default_factory=dict)
    """Held-out figures of the class activation maps."""
    suitability: SuitabilityFacts | None = None
    """The check that tells a frontal chest radiograph from any other picture; None = pictures are not checked."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Software that made the weights, by distribution name."""
    labels: tuple[str, ...] = LABELS
    architecture: str = "densenet121"
    input_channels: InputChannels = "grey"
    input_size_px: Annotated[int, Field(ge=32, le=2048, multiple_of=32)] = INPUT_SIZE_PX
    """Side of the network's input; a multiple of 32, its stride."""
    preprocessing: str = PREPROCESSING_ID
    """``model.preprocess.preprocessing_id`` of the size, or the identity of ``preparation``."""
    preparation: Preparation | None = None
    """How the authors of published weights prepared pictures; None = as networks trained here are."""
    imported: Imported | None = None
    """Where imported weights come from; None = trained here."""
    bf16: PrecisionTrial | None = None
    """How far bfloat16 is from float32; None = never tried, so it is not served."""

    @property
    def smallest_side_px(self) -> int:
        """Pixels of the shorter side of a picture below which the network would be shown an enlarged one."""
        return self.input_size_px if self.preparation is None else self.preparation.resize_px

    @property
    def channels(self) -> int:
        """Channels of the network's first convolution, 1 or 3."""
        return 3 if self.preparation is None else self.preparation.channels

    @property
    def outputs_sha256(self) -> str:
        """SHA-256 over what, beside the weights, decides a probability: what the network is shown, the calibration."""
        prepared = None if self.preparation is None else self.preparation.sha256
        decides = {
            "input": (self.preprocessing, self.input_channels, prepared),
            "calibration": {name: value for name, value in asdict(self.calibration).items() if value},
            "trained": self.trained,
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    @model_validator(mode="after")
    def _can_be_served(self) -> Self:
        if self.labels != LABELS:
            raise ValueError(f"labels must be, in this order: {', '.join(LABELS)}")
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"architecture {self.architecture!r} is unknown; known: {', '.join(ARCHITECTURES)}")
        self._require_known_input()
        trained = {label for label, is_trained in zip(LABELS, self.trained, strict=True) if is_trained}
        if strange := sorted(set(self.reported_only) - trained):
            raise ValueError(f"reported_only holds {strange[0]}, which is not a trained label")
        if (flagging := trained - set(self.reported_only)) != set(self.operating_points):
            besides = " that are not in reported_only" if self.reported_only else ""
            raise ValueError(
                f"operating_points must hold exactly the trained labels{besides}: {', '.join(sorted(flagging))}"
            )
        return self

    def _require_known_input(self) -> None:
        known, size_px = preprocessing_id(self.input_size_px), self.input_size_px
        if self.preparation is not None:
            known, size_px = self.preparation.identity, self.preparation.size_px
        if (self.preprocessing, self.input_size_px) != (known, size_px):
            raise ValueError(
                f"preprocessing {self.preprocessing!r} at {self.input_size_px} px is not what this program does "
                f"({known!r} at {size_px} px); use a program and a bundle of the same release"
            )
        if (self.input_channels == "published") != (self.preparation is not None):
            raise ValueError("input_channels must be 'published' where the bundle has a preparation, and only there")


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class BundleFile(BundleFacts):
    """The whole of ``bundle.json``: the facts, the golden images and the hash of every file."""

    files: dict[str, Sha256]
    """SHA-256 by name inside the bundle; only files named here are ever read."""
    golden_images: tuple[GoldenImage, ...] = ()
    format_version: Literal[1] = FORMAT_VERSION

    @model_validator(mode="after")
    def _files_are_named(self) -> Self:
        for name in self.files:
            require_file_name(name)
        missing = {WEIGHTS_FILE, CARD_FILE, *(golden.file for golden in self.golden_images)} - set(self.files)
        if missing:
            raise ValueError(f"files lacks the hash of {', '.join(sorted(missing))}")
        if (SUITABILITY_FILE in self.files) != (self.suitability is not None):
            raise ValueError(f"files must name {SUITABILITY_FILE} where the bundle has a suitability check, only there")
        return self

    def to_json(self) -> str:
        """Return the text of ``bundle.json``, with the hash of its own content as last field."""
        content = {name: value for name, value in asdict(self).items() if name in BundleFile.__dataclass_fields__}
        _leave_out_what_is_unset(content)
        return json.dumps(content | {"content_sha256": content_sha256(content)}, indent=1, allow_nan=False) + "\n"


def _leave_out_what_is_unset(content: dict[str, Any]) -> None:
    """Drop the fields that few bundles use, so that earlier releases of format 1 read all others."""
    for holder, name in (
        (content, "reported_only"),
        (content, "preparation"),
        (content, "imported"),
        (content, "bf16"),
        (content["calibration"], "op_threshs"),
        (content["calibration"], "corners"),
        (content["trained_on"], "seen_official_test"),
    ):
        if holder[name] in (None, (), {}):
            del holder[name]


def content_sha256(content: dict[str, Any]) -> str:
    """Return the SHA-256 of the canonical JSON (sorted keys, no spaces) of a bundle file's fields."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def require_file_name(name: str) -> None:
    """Raise ValueError unless the name stays inside the bundle: plain letters, at most one folder, no leading dot."""
    if not _FILE_NAME.fullmatch(name):
        raise ValueError(f"file name {name!r} is refused: a bundle names its own files only (letters, digits, . _ -)")
