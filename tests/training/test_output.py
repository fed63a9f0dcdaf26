"""What the system refuses to write, in one sentence."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from training.output import OutputError, writing_to


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "make room and run"), (errno.EDQUOT, "make room and run"), (errno.EACCES, "that you may write to")],
)
def test_room_is_asked_for_only_where_there_is_none(number: int, remedy: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=remedy) as caught, writing_to(tmp_path / "run"):
        raise OSError(number, os.strerror(number))
    assert os.strerror(number) in str(caught.value)
