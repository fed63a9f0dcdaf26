"""How a radiograph becomes a network's input: resized, cut into views, and normalised.

Networks trained here see the whole picture squashed to a square (``squash``). Published networks were tested on crops
and with other numbers; each bundle of one carries its own ``Preparation``, and inference follows it. Sizes, crops and
their rounding are those of torchvision's ``Resize``, ``CenterCrop`` and ``TenCrop`` on Pillow pictures.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import cache
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from model.preprocess import GREY_MEAN, GREY_STD, require_grey
from model.views import WHOLE, Views, Window

SideInPixels = Annotated[int, Field(ge=32, le=2048)]
PerChannel = Annotated[tuple[float, ...], Field(min_length=1, max_length=3)]

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Preparation:
    """One way from a grey picture to a network's input."""

    resize: Literal["squash", "short-side", "square-crop"]
    """``squash``: both sides to ``resize_px``. ``short-side``: the shorter side, keeping proportions. ``square-crop``:
    the largest square around the centre, then both its sides."""
    resize_px: SideInPixels
    crops: Literal["whole", "centre", "ten"]
    """What is cut from the resized picture: nothing, the centre, or four corners, the centre and their mirror images
    (whose probabilities are averaged)."""
    size_px: SideInPixels
    """Side of each view, the network's input."""
    filter: Literal["bilinear", "bicubic"] = "bilinear"
    """Pillow's antialiased filter, on uint8."""
    mean: PerChannel
    """Subtracted from grey levels in 0..1; one number per channel of the first convolution, 1 or 3."""
    std: PerChannel
    """Then divided by."""

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if len(self.mean) == 2 or len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise ValueError("mean and std must hold 1 or 3 numbers each, and every std must be above 0")
        if self.size_px % 32:
            raise ValueError(f"size_px {self.size_px} is not a multiple of 32, the network's stride")
        if self.crops == "whole" and (self.resize == "short-side" or self.resize_px != self.size_px):
            raise ValueError("a whole picture must be resized to a square of size_px")
        if self.size_px > self.resize_px:
            raise ValueError(f"a view of {self.size_px} px cannot be cut from a picture of {self.resize_px} px")
        return self

    @property
    def channels(self) -> int:
        """Channels of the network's first convolution, 1 or 3."""
        return len(self.mean)

    @property
    def identity(self) -> str:
        """Names this recipe's geometry, as a bundle's ``preprocessing`` states it; change it when a pixel would."""
        return f"{self.resize}{self.resize_px}-{self.crops}{self.size_px}-{self.filter}-v1"

    @property
    def sha256(self) -> str:
        """SHA-256 over every field, 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def views(self, pixels: NDArray[np.uint8]) -> Views:
        """Return what the network is shown of a picture: uint8 [H, W], bones bright, any H, W >= 1.

        Raises
        ------
        ValueError
            The array is not uint8 [H, W] with at least one pixel, or so narrow that its long side would not fit.
        """
        require_grey(pixels)
        field = WHOLE
        if self.resize == "square-crop":
            pixels, field = _centre_square(pixels)
        resized = self._resized(pixels)
        if self.crops == "whole":
            return Views(resized[None], (field,))
        corners = _corners(resized.shape, self.size_px, all_five=self.crops == "ten")
        views = [_view(resized, corner, self.size_px, mirrored=False) for corner in corners]
        if self.crops == "ten":
            views += [_view(resized, corner, self.size_px, mirrored=True) for corner in corners]
        return Views(np.stack([view for view, _ in views]), tuple(_inside(window, field) for _, window in views))

    def _resized(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = pixels.shape
        size = (self.resize_px, self.resize_px)
        if self.resize == "short-side":
            long_px = int(self.resize_px * max(height, width) / min(height, width))
            if long_px > _LONGEST_PX:
                raise ValueError(f"a picture of {width} x {height} px is too narrow for {self.identity}")
            size = (self.resize_px, long_px) if width <= height else (long_px, self.resize_px)
        image = Image.fromarray(np.ascontiguousarray(pixels))
        return np.array(image.resize(size, _FILTERS[self.filter]))


_LONGEST_PX = 20_000  # a strip of one pixel must not become gigabytes


@cache
def squash(size_px: int) -> Preparation:
    """Return the way of networks trained here: the whole picture, one normalised grey channel."""
    return Preparation(
        resize="squash", resize_px=size_px, crops="whole", size_px=size_px, mean=(GREY_MEAN,), std=(GREY_STD,)
    )


def _centre_square(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Window]:
    """Cut the largest square around the centre, rounding as torchxrayvision's ``XRayCenterCrop`` does."""
    height, width = pixels.shape
    side = min(height, width)
    left, top = width // 2 - side // 2, height // 2 - side // 2
    window = Window(left / width, top / height, (left + side) / width, (top + side) / height)
    return pixels[top : top + side, left : left + side], window


def _corners(shape: tuple[int, ...], size_px: int, *, all_five: bool) -> list[tuple[int, int]]:
    """Return (left, top) of the crops in torchvision's order: corners row by row, then the centre."""
    right, bottom = shape[1] - size_px, shape[0] - size_px
    centre = (round(right / 2), round(bottom / 2))
    return [(0, 0), (right, 0), (0, bottom), (right, bottom), centre] if all_five else [centre]


def _view(
    picture: NDArray[np.uint8], corner: tuple[int, int], size_px: int, *, mirrored: bool
) -> tuple[NDArray[np.uint8], Window]:
    """Cut one view; a mirrored one is cut from the mirrored picture, so its window lies on the other side."""
    left, top = corner
    height, width = picture.shape
    view = (picture[:, ::-1] if mirrored else picture)[top : top + size_px, left : left + size_px]
    if mirrored:
        left = width - size_px - left
    return view, Window(left / width, top / height, (left + size_px) / width, (top + size_px) / height, mirrored)


def _inside(window: Window, field: Window) -> Window:
    """Return a window of a field as a window of the whole picture."""
    width, height = field.right - field.left, field.bottom - field.top
    return Window(
        field.left + window.left * width,
        field.top + window.top * height,
        field.left + window.right * width,
        field.top + window.bottom * height,
        window.mirrored,
    )
