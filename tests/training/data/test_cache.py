from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from layouts import write_layout
from PIL import Image

from model.preprocess import to_uint8_224
from training.data.cache import CacheError, damaged_pictures, open_cache
from training.data.cache_build import build_cache
from training.data.chestxray14 import LayoutError, read_layout
from training.data.pictures import read_grey

ROOT = Path(__file__).resolve().parents[3]


def _ignore(done: int, total: int) -> None:
    assert 0 <= done <= total


class Reads:
    """Counts the pictures that a build reports as it reads them."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, done: int, total: int) -> None:
        self.seen.append(done)

    @property
    def read(self) -> int:
        return self.seen[-1] - self.seen[0]


def test_the_cache_holds_exactly_what_serving_would_compute(tmp_path: Path) -> None:
    names = write_layout(tmp_path / "data", patients=6, size_px=300)
    layout = read_layout(tmp_path / "data")
    cache = build_cache(layout, tmp_path / "cache", _ignore)
    expected = np.stack([to_uint8_224(read_grey(layout.paths[name])) for name in (names[4], names[0])])
    assert np.array_equal(cache.gather((names[4], names[0])), expected)
    assert cache.unreadable == {}


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
    assert "cut short" in cache.unreadable[names[1]]
    assert "not 8-bit" in cache.unreadable[names[3]]
    assert set(cache.rows) == set(names[4:])


def test_a_fitting_cache_is_used_again(tmp_path: Path) -> None:
    write_layout(tmp_path / "data", patients=5, test_patients=2)
    layout = read_layout(tmp_path / "data")
    build_cache(layout, tmp_path / "cache", _ignore)
    first = (tmp_path / "cache" / "pixels.npy").stat()
    build_cache(layout, tmp_path / "cache", _ignore)
    assert (tmp_path / "cache" / "pixels.npy").stat().st_ino == first.st_ino


def test_only_changed_repaired_and_added_pictures_are_read_again(tmp_path: Path) -> None:
    names = write_layout(tmp_path / "data", patients=8, test_patients=2)
    layout = read_layout(tmp_path / "data")
    whole = layout.paths[names[1]].read_bytes()
    layout.paths[names[1]].write_bytes(whole[:300])
    first = build_cache(layout.only(set(names) - {names[7]}), tmp_path / "cache", _ignore)
    assert list(first.unreadable) == [names[1]]
    Image.fromarray(np.full((70, 70), 7, np.uint8)).save(layout.paths[names[0]])
    layout.paths[names[1]].write_bytes(whole)
    reads = Reads()
    cache = build_cache(layout, tmp_path / "cache", reads)
    assert reads.read == 3
    assert cache.unreadable == {}
    assert cache.gather((names[0],)).max() == 7
    expected = np.stack([to_uint8_224(read_grey(layout.paths[name])) for name in names[1:]])
    assert np.array_equal(cache.gather(tuple(names[1:])), expected)


def test_a_cache_with_more_pictures_than_asked_for_is_used_as_it_is(tmp_path: Path) -> None:
    names = write_layout(tmp_path / "data", patients=6)
    layout = read_layout(tmp_path / "data")
    build_cache(layout, tmp_path / "cache", _ignore)
    reads = Reads()
    cache = build_cache(layout.only(set(names[2:])), tmp_path / "cache", reads)
    assert reads.read == 0
    assert set(names[2:]) <= set(cache.rows)


def test_a_cache_from_other_settings_is_named_and_replaced_only_when_asked(tmp_path: Path) -> None:
    write_layout(tmp_path / "data", patients=5, test_patients=2)
    layout = read_layout(tmp_path / "data")
    build_cache(layout, tmp_path / "cache", _ignore)
    before = (tmp_path / "cache" / "manifest.json").read_bytes()
    with pytest.raises(CacheError, match=r"size_px 224 where 64 is wanted.*--rebuild-cache"):
        build_cache(layout, tmp_path / "cache", _ignore, 64)
    assert (tmp_path / "cache" / "manifest.json").read_bytes() == before
    assert build_cache(layout, tmp_path / "cache", _ignore, 64, rebuild=True).size_px == 64


def test_a_folder_without_one_readable_picture_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    names = write_layout(tmp_path / "data", patients=4, test_patients=1)
    for name in names:
        (tmp_path / "data" / "images" / name).write_bytes(b"")
    with pytest.raises(LayoutError, match="no listed picture can be read"):
        build_cache(read_layout(tmp_path / "data"), tmp_path / "cache", _ignore)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lock"]


def test_the_manifest_says_what_the_pixels_were_made_with(tmp_path: Path) -> None:
    write_layout(tmp_path / "data", patients=5, test_patients=2, size_px=90)
    layout = read_layout(tmp_path / "data")
    build_cache(layout, tmp_path / "cache", _ignore)
    manifest = json.loads((tmp_path / "cache" / "manifest.json").read_text())
    assert manifest["size_px"] == 224
    assert manifest["pillow"]
    assert manifest["source_sizes_px"] == {"90x90": 5}
    assert manifest["source_bytes"] == sum(path.stat().st_size for path in layout.paths.values())


def test_a_flipped_byte_in_the_cache_names_its_picture(tmp_path: Path) -> None:
    write_layout(tmp_path / "data", patients=5, test_patients=2)
    cache = build_cache(read_layout(tmp_path / "data"), tmp_path / "cache", _ignore)
    assert damaged_pictures(tmp_path / "cache", _ignore) == []
    victim = next(name for name, row in cache.rows.items() if row == 3)
    with (tmp_path / "cache" / "pixels.npy").open("r+b") as file:
        file.seek(-224 * 224 - 1, 2)  # the last byte of the last row but one
        value = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([value ^ 1]))
    assert damaged_pictures(tmp_path / "cache", _ignore) == [victim]


@pytest.mark.parametrize("left_bytes", [100, 0])
@pytest.mark.parametrize("file", ["index.parquet", "pixels.npy"])
def test_a_cache_with_a_damaged_file_is_refused_in_one_sentence(tmp_path: Path, file: str, left_bytes: int) -> None:
    write_layout(tmp_path / "data", patients=5, test_patients=2)
    build_cache(read_layout(tmp_path / "data"), tmp_path / "cache", _ignore)
    path = tmp_path / "cache" / file
    path.write_bytes(path.read_bytes()[:left_bytes])
    with pytest.raises(CacheError, match=r"damaged.*--rebuild-cache"):
        open_cache(tmp_path / "cache")


def test_a_folder_without_a_cache_is_named(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="no finished picture cache"):
        open_cache(tmp_path)


def test_two_processes_that_write_one_file_leave_it_whole(tmp_path: Path) -> None:
    """One took the other's unfinished file away, and the other ended."""
    write = (
        "import sys; from pathlib import Path; from training.data.cache_index import write_whole\n"
        "for _ in range(300): write_whole(sys.argv[2].encode() * 100_000, Path(sys.argv[1]))"
    )
    file = tmp_path / "evaluation.json"
    writers = [subprocess.Popen([sys.executable, "-c", write, file, letter], cwd=ROOT) for letter in "ab"]
    assert [writer.wait(100) for writer in writers] == [0, 0]
    assert file.read_bytes() in (b"a" * 100_000, b"b" * 100_000)
    assert list(tmp_path.iterdir()) == [file]
