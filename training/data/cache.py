"""The picture cache: every listed picture once, squashed to the network's size, as one uint8 array on disk.

``pixels.npy`` is uint8 [N, S, S] in the order of ``index.json``. It is written beside its final name and renamed when
whole; a manifest with the names, the size, the filter and the preprocessing decides whether it still fits.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from model.preprocess import INPUT_SIZE_PX, PREPROCESSING_ID, resize_uint8
from training.data.radiographs import LabelledRadiographs, LayoutError, list_hash

ReportProgress = Callable[[int, int], None]
"""Called with (pictures done, pictures in all)."""


@dataclass(frozen=True)
class PictureCache:
    """Pictures by name."""

    pixels: NDArray[np.uint8]
    """uint8 [N, S, S], read-only memory map."""
    rows: dict[str, int]
    """Row of each readable picture."""
    unreadable: dict[str, str]
    """Listed pictures without usable pixels, and why."""

    def gather(self, names: tuple[str, ...]) -> NDArray[np.uint8]:
        """Return uint8 [len(names), S, S]."""
        return self.pixels[[self.rows[name] for name in names]]


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Return uint8 [H, W] of an 8-bit grey, RGB or RGBA picture (some originals are RGBA with equal channels).

    Raises
    ------
    ValueError, OSError
        The file is not a whole picture of 8 bits.
    """
    with Image.open(path) as image:
        if image.mode not in {"L", "RGB", "RGBA", "LA", "P", "1"}:
            raise ValueError(f"mode {image.mode} is not 8-bit")
        return np.array(image.convert("L"))


def open_cache(folder: Path) -> PictureCache:
    """Open a finished cache; worker processes use this.

    Raises
    ------
    LayoutError
        There is none.
    """
    manifest_path = folder / "index.json"
    if not manifest_path.exists():
        raise LayoutError(f"{folder}: no finished picture cache; start `python -m training --data` again")
    manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
    pixels = np.load(folder / "pixels.npy", mmap_mode="r")
    unreadable: dict[str, str] = manifest["unreadable"]
    rows = {name: row for row, name in enumerate(manifest["names"]) if name not in unreadable}
    return PictureCache(pixels, rows, unreadable)


def build_cache(
    layout: LabelledRadiographs, folder: Path, report: ReportProgress, size_px: int = INPUT_SIZE_PX
) -> PictureCache:
    """Return the cache of every listed picture, building it unless a fitting one is there.

    Raises
    ------
    LayoutError
        None of the pictures can be read.
    """
    names = layout.train_val + layout.test
    bytes_total = sum(layout.paths[name].stat().st_size for name in names if name in layout.paths)
    settings = {
        "list_sha256": list_hash(names),
        "size_px": size_px,
        "preprocessing": PREPROCESSING_ID,
        "pillow": PIL.__version__,
        "bytes_total": bytes_total,
    }
    manifest_path = folder / "index.json"
    if manifest_path.exists() and json.loads(manifest_path.read_text(encoding="utf-8"))["settings"] == settings:
        report(len(names), len(names))
        return open_cache(folder)
    folder.mkdir(parents=True, exist_ok=True)
    manifest_path.unlink(missing_ok=True)
    unreadable = _fill(layout, names, folder / "pixels.npy", size_px, report)
    if len(unreadable) == len(names):
        name, reason = next(iter(unreadable.items()))
        raise LayoutError(f"{layout.root}: no listed picture can be read, e.g. {name}: {reason}")
    partial = manifest_path.with_suffix(".partial")
    partial.write_text(json.dumps({"settings": settings, "names": names, "unreadable": unreadable}), encoding="utf-8")
    partial.replace(manifest_path)
    return open_cache(folder)


def _fill(
    layout: LabelledRadiographs, names: tuple[str, ...], target: Path, size_px: int, report: ReportProgress
) -> dict[str, str]:
    """Write the array; return the pictures that could not be read, and why."""
    partial = target.with_suffix(".partial.npy")
    pixels = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=(len(names), size_px, size_px))
    unreadable: dict[str, str] = {}
    jobs = [(str(layout.paths.get(name, "")), size_px) for name in names]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count() or 1) as pool:
        for row, result in enumerate(pool.imap(_read_resized, jobs, chunksize=16)):
            if isinstance(result, str):
                unreadable[names[row]] = result
            else:
                pixels[row] = result
            report(row + 1, len(names))
    pixels.flush()
    del pixels
    partial.replace(target)
    return unreadable


def _read_resized(job: tuple[str, int]) -> NDArray[np.uint8] | str:
    path, size_px = job
    if not path:
        return "the file is missing"
    try:
        return resize_uint8(read_grey(Path(path)), size_px)
    except (OSError, ValueError, SyntaxError) as error:  # Pillow raises SyntaxError for some broken PNG chunks
        return f"cannot be read: {error}"
