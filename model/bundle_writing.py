"""Putting a bundle's files on disk: all of them or none, and never in the place of anything but a bundle."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.bundle_file import DESCRIPTION_FILE
from model.bundle_verification import BundleError


def require_replaceable(path: Path) -> None:
    """Raise BundleError where replacing would take somebody's files away: only a bundle or nothing may be there."""
    if path.is_dir() and ((path / DESCRIPTION_FILE).is_file() or not any(path.iterdir())):
        return
    if path.exists():
        raise BundleError(
            f"{path} is there already and is not a model bundle; name another folder, nothing was written"
        )


def replace_folder(path: Path, contents: Mapping[str, bytes], verify: Callable[[Path], object]) -> None:
    """Write the files beside ``path`` durably, verify them there, and put the folder in place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as temporary:
        new = Path(temporary) / "new"
        for name, content in contents.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            _write_durably(new / name, content)
        verify(new)
        old = Path(temporary) / "old"
        if path.exists():
            path.rename(old)
        try:
            new.rename(path)
        except OSError:
            if old.exists():  # else it would go with the temporary folder
                old.rename(path)
            raise


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return uint8 [H, W] as the bytes of a PNG."""
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _write_durably(file: Path, content: bytes) -> None:
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
