"""Where programs of the machine are: dcmtk's, Orthanc."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def program_of_machine(name: str) -> str | None:
    """Return the path of a program that is no script of this Python's environment; None where there is none.

    pynetdicom brings a ``storescu``, ``storescp`` and ``echoscu`` of its own, which come first on the path of an
    environment that is activated: dcmtk's options mean nothing to them, and they are many times slower.
    """
    own = Path(sys.executable).parent
    folders = [folder for folder in os.get_exec_path() if Path(folder) != own]
    return shutil.which(name, path=os.pathsep.join([*folders, "/usr/sbin"]))
