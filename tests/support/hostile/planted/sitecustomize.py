"""Loaded by every Python process whose PYTHONPATH begins with this folder: gives the decoder bugs that a file reaches.

Pixel data that begin with a mark make `dicom_io.pixels.decoding.decode_frame` do what a bug of a native decoder would
do. The product knows nothing of it. ``PLANTED_LIMITS=3,5`` shortens the time limits of Celery's tasks, in seconds.
"""

from __future__ import annotations

import collections
import ctypes
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import os
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

MARK = b"PLANTED:"
MEMORY_BYTES = 2 << 30
"""What is taken before it gives up, for the sake of the machine."""


def crash() -> None:
    """Read address 0: SIGSEGV."""
    ctypes.string_at(0)


def eat() -> None:
    """Take memory until somebody ends the process."""
    taken = []
    for _ in range(MEMORY_BYTES >> 24):
        taken.append(b"\1" * (1 << 24))  # written, so that it is really there
        time.sleep(0.01)
    time.sleep(3600)


def loop() -> None:
    """Never return, in Python code, which signals interrupt."""
    while True:
        pass


def native() -> None:
    """Never return, in native code that has let the interpreter go, as decoders do."""
    while True:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


def stuck() -> None:
    """Never return, in native code that holds the interpreter: no other thread of the process runs, none renews."""
    collections.deque(itertools.repeat(None), maxlen=0)


DEEDS: dict[bytes, Callable[[], None]] = {
    b"crash": crash, b"eat": eat, b"loop": loop, b"native": native, b"stuck": stuck,
}  # fmt: skip


def _plant_decoder(module: Any) -> None:
    decode_frame = module.decode_frame

    def planted(dataset: Any) -> Any:
        start = bytes(dataset.get("PixelData", b"")[:16])
        if start.startswith(MARK):
            DEEDS[start[len(MARK) :].rstrip(b"\0")]()
        return decode_frame(dataset)

    module.decode_frame = planted


def _plant_limits(module: Any) -> None:
    soft, hard = os.environ["PLANTED_LIMITS"].split(",")
    module.SOFT_TIME_LIMIT_SECONDS, module.HARD_TIME_LIMIT_SECONDS = int(soft), int(hard)


_PLANTS: dict[str, Callable[[Any], None]] = {"dicom_io.pixels.decoding": _plant_decoder}
if "PLANTED_LIMITS" in os.environ:
    _PLANTS["worker.queue.celery_app"] = _plant_limits


class _Planter(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Changes these modules right after they were loaded."""

    def find_spec(
        self, fullname: str, path: Any, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _PLANTS:
            return None
        sys.meta_path.remove(self)
        try:
            found = importlib.util.find_spec(fullname)
        finally:
            sys.meta_path.insert(0, self)
        if found is None or found.loader is None:
            return None
        execute = found.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _PLANTS[fullname](module)

        found.loader.exec_module = exec_module  # type: ignore[method-assign]
        return found


sys.meta_path.insert(0, _Planter())
