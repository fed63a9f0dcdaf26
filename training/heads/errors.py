"""What can go wrong with features, heads and sweeps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class HeadError(Exception):
    """Features or a head cannot be made or used; the message names the file or choice and what to do."""


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Make the folder, and turn what the system refuses inside the block into one sentence.

    Raises
    ------
    HeadError
        The disk is full, or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise HeadError(
            f"{folder} cannot be written to ({error.strerror or error}); make room or name another folder with --out. "
            "The same command continues"
        ) from error
