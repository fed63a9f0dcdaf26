"""Published DenseNet-121s: what their outputs mean and how their authors prepared pictures when they tested them.

Read in the authors' own code; ``docs/models.md`` names each repository. None of the weights is part of this program.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from model.labels import LABELS
from model.preparation import Preparation
from model.preprocess import IMAGENET_MEAN, IMAGENET_STD
from model.torchxrayvision import OUTPUTS, WEIGHT_SETS


@dataclass(frozen=True)
class Published:
    """A network that somebody else trained."""

    outputs: tuple[str, ...]
    """Name of each output in order; those that are none of ``LABELS`` are dropped."""
    preparation: Preparation | None
    """None = as networks trained here are shown pictures."""
    trained_on: str
    """In words."""
    seen_official_test: bool | None
    """Whether images of ChestX-ray14's official test list took part in training or choosing it; None = not known."""
    op_threshs: tuple[float | None, ...] | None = None
    """torchxrayvision: operating threshold of each output, None where it was never trained."""

    @property
    def channels(self) -> int:
        """Channels of the first convolution, 1 or 3."""
        return 3 if self.preparation is None else self.preparation.channels


def _imagenet(**geometry: object) -> Preparation:
    return Preparation(**geometry, size_px=224, mean=IMAGENET_MEAN, std=IMAGENET_STD)  # type: ignore[arg-type]


_COMMUNITY_SPLIT = (
    "ChestX-ray14, a random split by patient (78,468 / 11,219 / 22,433 images), not the official one: its training "
    "list holds 17,920 of the 25,596 images of the official test list"
)
_TEN_CROPS = _imagenet(resize="short-side", resize_px=256, crops="ten")
_XRAY_STATISTICS = Preparation(
    resize="short-side",
    resize_px=256,
    crops="centre",
    size_px=224,
    filter="bicubic",
    mean=(0.5056,) * 3,
    std=(0.252,) * 3,
)
_CHOSEN_ON_TEST = (
    "ChestX-ray14, official training list; the checkpoint was chosen by its figures on the official test list"
)

PUBLISHED: dict[str, Published] = {
    "arnoweng": Published(LABELS, _TEN_CROPS, _COMMUNITY_SPLIT, True),
    "zoogzog": Published(LABELS, _TEN_CROPS, _COMMUNITY_SPLIT, True),
    "zech": Published(
        LABELS,
        _imagenet(resize="short-side", resize_px=224, crops="centre"),
        "ChestX-ray14, a random split by patient, not the official one: its training list overlaps the official test",
        True,
    ),
    "thtang": Published(
        LABELS[:8],
        _imagenet(resize="squash", resize_px=256, crops="centre"),
        "ChestX-ray14, lists of a course, of images with one of eight findings; overlap with the official test unknown",
        None,
    ),
    "medical-mae": Published(LABELS, _XRAY_STATISTICS, _CHOSEN_ON_TEST, True),
    "eva-x": Published(LABELS, _XRAY_STATISTICS, _CHOSEN_ON_TEST, True),
    "torchxrayvision": Published(
        OUTPUTS,
        # (2 x / 255 - 1) * 1024, exactly: both are powers of two away from (x / 255 - 0.5) / 2**-11.
        Preparation(resize="square-crop", resize_px=224, crops="whole", size_px=224, mean=(0.5,), std=(2.0**-11,)),
        "see the weight set",
        None,
    ),
    "plain": Published(LABELS, _imagenet(resize="squash", resize_px=224, crops="whole"), "not stated", None),
    "own": Published(LABELS, None, "not stated", None),
}
"""``plain``: any other torchvision DenseNet-121 with our 14 outputs, shown the whole picture in ImageNet's colours.
``own``: one that was trained here, whose checkpoint is all there is."""


def with_weight_set(published: Published, name: str) -> Published:
    """Return torchxrayvision's network with one of its sets of weights."""
    weight_set = WEIGHT_SETS[name]
    return replace(
        published,
        trained_on=f"{weight_set.trained_on} (torchxrayvision, weight set {name})",
        seen_official_test=weight_set.seen_official_test,
        op_threshs=weight_set.op_threshs,
    )


def recognised(*, module: str | None, prefix: str, sequential_head: bool, outputs: int, channels: int) -> str | None:
    """Return whose network it is as far as the file's own layout tells, or None.

    Parameters
    ----------
    module
        Class of a whole pickled network.
    prefix
        What wrapped the tensors' names.
    sequential_head
        Whether the classifier was a sequence, as it is where a sigmoid follows it.
    outputs, channels
        Of the classifier, of the first convolution.
    """
    if (outputs, channels) == (len(OUTPUTS), 1):
        return "torchxrayvision"
    if not sequential_head or channels != 3:
        return None
    if module is not None:
        return "zech" if outputs == len(LABELS) else None
    if "densenet121." in prefix:
        return {len(LABELS): "arnoweng", 8: "thtang"}.get(outputs)
    return None
