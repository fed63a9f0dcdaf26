"""From a radiograph to the network's input: the one function that training and serving share.

The whole image is squashed to a square. Resizing is Pillow's antialiased bilinear filter on uint8, the same code that
makes the training cache, so a served picture and a training picture of the same film are equal byte for byte.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

INPUT_SIZE_PX = 224
"""Side of the input unless a bundle says otherwise."""


def preprocessing_id(size_px: int) -> str:
    """Return the name of this exact recipe at one size. Change it whenever a pixel would change."""
    return f"squash{size_px}-bilinear-imagenet-v1"


PREPROCESSING_ID = preprocessing_id(INPUT_SIZE_PX)
"""The recipe at the usual size; a bundle made with a recipe this program does not know is refused."""

GREY_MEAN = 0.449
"""Mean of ImageNet's three channel means (torchvision), grey levels in 0..1."""
GREY_STD = 0.226
"""Mean of ImageNet's three channel deviations (torchvision), grey levels in 0..1."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""torchvision's means of R, G, B in 0..1, for networks trained on colours."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""torchvision's deviations of R, G, B in 0..1."""


def resize_uint8(pixels: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Squash a grey image to a square.

    Parameters
    ----------
    pixels
        uint8 [H, W], bones bright; any H, W >= 1.
    size_px
        Side of the result.

    Returns
    -------
    uint8 [size_px, size_px]

    Raises
    ------
    ValueError
        The array is not uint8 [H, W] with at least one pixel.
    """
    require_grey(pixels)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.array(image.resize((size_px, size_px), Image.Resampling.BILINEAR))


def require_grey(pixels: NDArray[np.uint8]) -> None:
    """Raise ValueError unless the array is uint8 [H, W] with at least one pixel."""
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.size == 0:
        raise ValueError(f"a picture must be uint8 [H, W] with pixels in it, got {pixels.dtype} {list(pixels.shape)}")


def to_uint8_224(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture the network sees: uint8 [H, W] bones bright -> uint8 [224, 224]."""
    return resize_uint8(pixels, INPUT_SIZE_PX)


def normalise(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the network's input: uint8 [N, S, S] -> float32 [N, 1, S, S], ``(x / 255 - 0.449) / 0.226``.

    Raises
    ------
    ValueError
        The array is not uint8 [N, S, S].
    """
    _require_squares(pixels)
    scale = np.float32(1 / (255 * GREY_STD))
    return (pixels.astype(np.float32) * scale - np.float32(GREY_MEAN / GREY_STD))[:, None]


def levels(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return grey levels in 0..1 as torchvision's ``ToTensor`` does: uint8 [N, S, S] -> float32 [N, 1, S, S].

    Raises
    ------
    ValueError
        The array is not uint8 [N, S, S].
    """
    _require_squares(pixels)
    return (pixels.astype(np.float32) / np.float32(255))[:, None]


def _require_squares(pixels: NDArray[np.uint8]) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise ValueError(f"pictures must be uint8 [N, S, S], got {pixels.dtype} {list(pixels.shape)}")
