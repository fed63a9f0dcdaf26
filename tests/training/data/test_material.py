from __future__ import annotations

from pathlib import Path

import pytest
from layouts import write_layout

from training.data.chestxray14 import LayoutError
from training.material import DataChoices, read_complete_folder


def test_missing_pictures_are_named_and_counted_and_the_run_stops(tmp_path: Path) -> None:
    names = write_layout(tmp_path)
    for name in names[2:4]:
        (tmp_path / "images" / name).unlink()
    with pytest.raises(LayoutError, match=f"2 of 10 listed pictures have no file: {names[2]}, {names[3]}"):
        read_complete_folder(DataChoices(tmp_path, tmp_path / "cache"))


def test_missing_pictures_are_left_out_when_asked(tmp_path: Path) -> None:
    names = write_layout(tmp_path)
    (tmp_path / "images" / names[2]).unlink()
    layout = read_complete_folder(DataChoices(tmp_path, tmp_path / "cache", allow_missing=True))
    assert layout.train_val == (*names[:2], *names[3:7])
