"""Figures left blank, for tests of what stands beside them: to lay out and draw one takes half a second."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import pytest
from matplotlib.figure import Figure
from PIL import Image


@contextmanager
def figures_left_blank() -> Iterator[None]:
    """Let what is saved meanwhile be a PNG of one grey picture element.

    ``test_the_report_holds_the_pictures_that_the_recipe_asks_for`` and the test of the command ``report`` draw all.
    """

    def save(_figure: Figure, stream: BytesIO, **_options: object) -> None:
        Image.new("L", (1, 1)).save(stream, "png")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", save)
        yield


@pytest.fixture
def blank_figures() -> Iterator[None]:
    """Leave figures blank during a test."""
    with figures_left_blank():
        yield
