"""Builds that are killed, that run out of disk, or that meet another one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from layouts import write_layout
from PIL import Image

from benchmarks.process_tree import descendants
from training.data.cache import CacheError, damaged_pictures, open_cache
from training.data.cache_build import build_cache
from training.data.chestxray14 import read_layout
from training.data.radiographs import LabelledRadiographs
from training.data.unfinished_cache import PARTIAL_PIXELS_FILE, PARTIAL_RECORDS_FILE, only_builder

ROOT = Path(__file__).resolve().parents[3]
BUILD = """
import sys
from pathlib import Path
from training.data.cache_build import build_cache
from training.data.chestxray14 import read_layout
build_cache(read_layout(Path(sys.argv[1])), Path(sys.argv[2]), lambda done, total: None, processes=2)
"""
PICTURES = 150


class Progress:
    """Keeps the first and the last number of pictures that a build reports."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.last = 0

    def __call__(self, done: int, total: int) -> None:
        self.first = done if self.first is None else self.first
        self.last = done


@pytest.fixture(scope="module")
def slow_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose pictures take some milliseconds each: one large picture under many names."""
    folder = tmp_path_factory.mktemp("slow") / "data"
    names = write_layout(folder, patients=PICTURES, test_patients=20)
    noise = np.random.default_rng(1).integers(0, 256, (1200, 1200), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "first.png", compress_level=1)
    for name in names:
        shutil.copyfile(folder / "first.png", folder / "images" / name)
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted here ({mounted.stderr.strip()})")
    yield folder
    subprocess.run(["umount", folder], check=True)


def _done(folder: Path) -> int:
    records = folder / PARTIAL_RECORDS_FILE
    try:
        return int(np.load(records)["done"].sum())
    except (FileNotFoundError, ValueError, EOFError):
        return 0  # not there yet, or not whole yet


@pytest.mark.timeout(300)
def test_a_killed_build_leaves_no_process_and_goes_on_where_it_was(slow_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    process = subprocess.Popen([sys.executable, "-c", BUILD, slow_data, folder], cwd=ROOT)
    while process.poll() is None and _done(folder) < 20:
        time.sleep(0.02)
    family = descendants(process.pid)
    assert len(family) >= 3  # itself and two that decode
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = _done(folder)
    assert 20 <= kept < PICTURES
    with pytest.raises(CacheError, match="run the same command again"):
        open_cache(folder)
    progress = Progress()
    cache = build_cache(read_layout(slow_data), folder, progress)
    assert progress.first == kept
    assert progress.last == PICTURES
    assert damaged_pictures(folder, Progress()) == []
    assert len(cache.rows) == PICTURES
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in family[1:]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in family[1:])


class Interrupted(Exception):
    """Ends a build before it is done."""


def _stop_at_five(done: int, total: int) -> None:
    if done == 5:
        raise Interrupted


def _seven(data: Path) -> LabelledRadiographs:
    layout = read_layout(data)
    return layout.only({*layout.train_val[:6], layout.test[0]})


@pytest.mark.parametrize("file", [PARTIAL_PIXELS_FILE, PARTIAL_RECORDS_FILE])
@pytest.mark.parametrize("left_bytes", [0, 10, 140])
def test_a_build_of_which_a_power_cut_left_a_file_empty_or_short_begins_anew(
    slow_data: Path, tmp_path: Path, file: str, left_bytes: int
) -> None:
    few, folder = _seven(slow_data), tmp_path / "cache"
    with pytest.raises(Interrupted):
        build_cache(few, folder, _stop_at_five)
    os.truncate(folder / file, left_bytes)
    progress = Progress()
    build_cache(few, folder, progress)
    assert (progress.first, progress.last) == (0, 7)
    assert damaged_pictures(folder, Progress()) == []


def test_a_build_whose_pixels_lost_their_first_bytes_begins_anew(slow_data: Path, tmp_path: Path) -> None:
    few, folder = _seven(slow_data), tmp_path / "cache"
    with pytest.raises(Interrupted):
        build_cache(few, folder, _stop_at_five)
    with (folder / PARTIAL_PIXELS_FILE).open("r+b") as stream:
        stream.write(bytes(128))
    build_cache(few, folder, Progress())
    assert damaged_pictures(folder, Progress()) == []


def test_a_row_whose_pixels_did_not_reach_the_disk_is_read_again(slow_data: Path, tmp_path: Path) -> None:
    """As after a power cut: the record says done, the pixels are older."""
    few, folder = _seven(slow_data), tmp_path / "cache"
    with pytest.raises(Interrupted):
        build_cache(few, folder, _stop_at_five)
    pixels = np.lib.format.open_memmap(folder / PARTIAL_PIXELS_FILE, mode="r+")
    pixels[2] = 0
    pixels.flush()
    progress = Progress()
    build_cache(few, folder, progress)
    assert progress.first == 4
    assert damaged_pictures(folder, Progress()) == []


def test_an_unfinished_cache_from_other_settings_is_named(slow_data: Path, tmp_path: Path) -> None:
    few = read_layout(slow_data)
    few = few.only({*few.train_val[:3], few.test[0]})

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_cache(few, tmp_path / "cache", stop)
    with pytest.raises(CacheError, match=r"unfinished cache made with other settings \(size_px 224 where 96"):
        build_cache(few, tmp_path / "cache", Progress(), 96)
    assert build_cache(few, tmp_path / "cache", Progress(), 96, rebuild=True).size_px == 96


def test_a_disk_too_small_is_named_before_anything_is_read(slow_data: Path, small_disk: Path) -> None:
    layout, progress = read_layout(slow_data), Progress()
    few = layout.only({*layout.train_val[:50], layout.test[0]})  # 51 x 224 x 224 bytes = 2.6 MB
    with pytest.raises(CacheError, match=r"disk is full; the pictures take 2\.6 MB, 2\.\d MB are free.*continues"):
        build_cache(few, small_disk / "cache", progress)
    assert progress.first is None
    assert [path.name for path in (small_disk / "cache").iterdir()] == ["lock"]
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    assert len(build_cache(few, small_disk / "cache", progress).rows) == 51


def test_a_disk_that_fills_up_at_the_end_loses_no_picture(slow_data: Path, small_disk: Path) -> None:
    layout = read_layout(slow_data)
    few = layout.only({*layout.train_val[:20], layout.test[0]})
    filler = small_disk / "filler"

    def fill_up(done: int, total: int) -> None:
        if done == total:
            free = shutil.disk_usage(small_disk).free
            filler.write_bytes(bytes(free))

    with pytest.raises(CacheError, match="disk is full"):
        build_cache(few, small_disk / "cache", fill_up)
    with pytest.raises(CacheError, match="no finished picture cache"):
        open_cache(small_disk / "cache")
    filler.unlink()
    progress = Progress()
    cache = build_cache(few, small_disk / "cache", progress)
    assert progress.first == len(few.listed)  # nothing was read again
    assert len(cache.rows) == len(few.listed)


def test_the_second_of_two_builders_waits_and_uses_what_the_first_built(slow_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    with only_builder(folder):
        process = subprocess.Popen(
            [sys.executable, "-c", BUILD, slow_data, folder], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        said = process.stderr.readline()  # in silence it looked as if it did nothing
        assert "another process builds this picture cache; waiting" in said
        assert not (folder / PARTIAL_PIXELS_FILE).exists()
    assert process.communicate(timeout=100)[1] == ""
    assert process.returncode == 0
    assert len(open_cache(folder).rows) == PICTURES


def test_a_reader_that_is_killed_ends_the_build_in_one_sentence(slow_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    victims: list[int] = []

    def kill_a_reader(done: int, total: int) -> None:
        if done == 10 and not victims:
            # The first child may be multiprocessing's resource tracker, which decodes nothing.
            readers = [pid for pid in descendants(os.getpid())[1:] if b"spawn_main" in _command(pid)]
            victims.append(readers[0])
            os.kill(readers[0], signal.SIGKILL)

    with pytest.raises(CacheError, match="was killed, perhaps for lack of memory"):
        build_cache(read_layout(slow_data), folder, kill_a_reader, processes=2)
    assert 10 <= _done(folder) < PICTURES


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _read_half(data: Path, folder: Path) -> None:
    """Leave an unfinished cache: the build is broken off after some pictures."""

    def stop(done: int, total: int) -> None:
        if done > 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_cache(read_layout(data), folder, stop, processes=1)


def test_a_cache_of_another_data_set_is_named_and_left_alone_though_the_names_are_alike(tmp_path: Path) -> None:
    write_layout(tmp_path / "first", patients=12)
    write_layout(tmp_path / "second", patients=16, size_px=80)
    for state, prepare in (
        ("holds", lambda folder: build_cache(read_layout(tmp_path / "first"), folder, lambda done, total: None)),
        ("has begun", lambda folder: _read_half(tmp_path / "first", folder)),
    ):
        folder = tmp_path / state
        prepare(folder)
        before = {file.name: file.read_bytes() for file in folder.iterdir()}
        with pytest.raises(CacheError, match=f"{state} a cache of other pictures: 0 of its") as caught:
            build_cache(read_layout(tmp_path / "second"), folder, lambda done, total: None)
        assert "--rebuild-cache" in str(caught.value)
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
        rebuilt = build_cache(read_layout(tmp_path / "second"), folder, lambda done, total: None, rebuild=True)
        assert len(rebuilt.rows) == 16


def test_a_data_set_that_grew_and_lost_a_few_pictures_keeps_its_cache(tmp_path: Path) -> None:
    names = write_layout(tmp_path / "data", patients=12)
    layout = read_layout(tmp_path / "data")
    build_cache(layout.only(set(names[:10])), tmp_path / "cache", lambda done, total: None)
    progress = Progress()
    cache = build_cache(layout.only(set(names[2:])), tmp_path / "cache", progress)
    assert set(cache.rows) == set(names[2:])
    assert progress.first == 8


def test_another_part_of_the_same_data_set_replaces_the_first(tmp_path: Path) -> None:
    names = write_layout(tmp_path / "data", patients=12)
    layout = read_layout(tmp_path / "data")
    build_cache(layout.only(set(names[:6])), tmp_path / "cache", lambda done, total: None)
    cache = build_cache(layout.only(set(names[6:])), tmp_path / "cache", lambda done, total: None)
    assert set(cache.rows) == set(names[6:])
