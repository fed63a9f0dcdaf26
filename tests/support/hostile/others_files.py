"""Files that another user owns: written as the kernel says it, for tests may run as root, whom it refuses nothing."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest


def give_to_another_user(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Have everything below the folder refused to this process, as long as the patch holds."""

    real = folder.resolve()

    def refusing(method: Any) -> Any:
        def ask(path: Path, *arguments: Any, **keywords: Any) -> Any:
            if path.is_relative_to(real) or path.is_relative_to(folder):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return method(path, *arguments, **keywords)

        return ask

    for name in ("is_file", "open", "stat"):
        patch.setattr(Path, name, refusing(getattr(Path, name)))
