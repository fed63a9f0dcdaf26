"""Text on pictures, in the font that comes with Pillow, so that a picture looks the same on every machine."""

from __future__ import annotations

from functools import lru_cache

from PIL import ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

SMALLEST_PX = 11
"""Nothing is set smaller, so that it stays legible at the picture's own size."""
WHITE, GREY, AMBER = (232, 232, 232), (176, 176, 176), (255, 191, 64)
"""White is held back a little: in a dark room it would be the brightest thing on the screen."""


def fitting_font(draw: ImageDraw.ImageDraw, text: str, size_px: int, room_px: float) -> Font:
    """Return the largest font up to `size_px` in which `text` fits into `room_px`; never below `SMALLEST_PX`."""
    while size_px > SMALLEST_PX and draw.textlength(text, font=font_of_size(size_px)) > room_px:
        size_px -= 1
    return font_of_size(size_px)


def fitting_text(draw: ImageDraw.ImageDraw, text: str, font: Font, room_px: float) -> str:
    """Return `text`, cut with three dots where even so it does not fit into `room_px`."""
    if draw.textlength(text, font=font) <= room_px:
        return text
    while text and draw.textlength(f"{text}...", font=font) > room_px:
        text = text[:-1]
    return f"{text.rstrip()}..."


@lru_cache(maxsize=64)
def font_of_size(size_px: int) -> Font:
    """Return the font at that size."""
    return ImageFont.load_default(size_px)
