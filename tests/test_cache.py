from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layouts import write_layout
from PIL import Image

from model.preprocess import to_uint8_224
from training.data.cache import build_cache, read_grey
from training.data.chestxray14 import LayoutError, read_layout


def _ignore(done: int, total: int) -> None:
    assert 0 <= done <= total


def test_the_cache_holds_exactly_what_serving_would_compute(tmp_path: Path) -> None:
    names = write_layout(tmp_path / "data", patients=6, size_px=300)
    layout = read_layout(tmp_path / "data")
    cache = build_cache(layout, tmp_path / "cache", _ignore)
    expected = np.stack([to_uint8_224(read_grey(layout.paths[name])) for name in (names[4], names[0])])
    assert np.array_equal(cache.gather((names[4], names[0])), expected)
    assert cache.unreadable == {}


@pytest.mark.parametrize("mode", ["RGBA", "RGB", "LA", "L"])
def test_colour_and_alpha_originals_give_the_same_grey_levels(tmp_path: Path, mode: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(tmp_path / "picture.png")
    assert np.array_equal(read_grey(tmp_path / "picture.png"), pixels)


def test_missing_truncated_and_16_bit_pictures_are_named_and_left_out(tmp_path: Path) -> None:
    names = write_layout(tmp_path / "data", patients=6)
    images = tmp_path / "data" / "images"
    (images / names[0]).unlink()
    (images / names[1]).write_bytes((images / names[1]).read_bytes()[:500])
    (images / names[2]).write_bytes(b"not a picture")
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(images / names[3])
    cache = build_cache(read_layout(tmp_path / "data"), tmp_path / "cache", _ignore)
    assert list(cache.unreadable) == names[:4]
    assert cache.unreadable[names[0]] == "the file is missing"
    assert "not 8-bit" in cache.unreadable[names[3]]
    assert set(cache.rows) == set(names[4:])


def test_a_fitting_cache_is_used_again_and_a_changed_picture_makes_a_new_one(tmp_path: Path) -> None:
    names = write_layout(tmp_path / "data", patients=5, test_patients=2)
    layout = read_layout(tmp_path / "data")
    build_cache(layout, tmp_path / "cache", _ignore)
    first = (tmp_path / "cache" / "pixels.npy").stat()
    build_cache(layout, tmp_path / "cache", _ignore)
    assert (tmp_path / "cache" / "pixels.npy").stat().st_ino == first.st_ino
    Image.fromarray(np.full((70, 70), 7, np.uint8)).save(layout.paths[names[0]])
    changed = build_cache(layout, tmp_path / "cache", _ignore)
    assert changed.gather((names[0],)).max() == 7


def test_a_folder_without_one_readable_picture_is_refused(tmp_path: Path) -> None:
    names = write_layout(tmp_path / "data", patients=4, test_patients=1)
    for name in names:
        (tmp_path / "data" / "images" / name).write_bytes(b"")
    with pytest.raises(LayoutError, match="no listed picture can be read"):
        build_cache(read_layout(tmp_path / "data"), tmp_path / "cache", _ignore)
    assert not (tmp_path / "cache" / "index.json").exists()
