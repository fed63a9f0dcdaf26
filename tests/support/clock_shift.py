"""A wall clock that can be set wrong, for programs started with `environment` (Linux; needs a C compiler)."""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("clock_shift.c")


@dataclass
class ClockShift:
    """The wall clock of every program that was started with `environment`; right until it is set wrong."""

    folder: Path
    """Readable for all those programs."""

    @property
    def environment(self) -> dict[str, str]:
        """What a program has to be started with; empty where there is no C compiler."""
        return {"LD_PRELOAD": str(self._library), "CLOCK_SHIFT_FILE": str(self._file)} if self.built else {}

    @property
    def built(self) -> bool:
        """Whether clocks can be set wrong here."""
        return self._library.is_file()

    def build(self) -> None:
        """Compile the library, where this machine has a compiler."""
        self.set_wrong(0.0)
        if compiler := shutil.which("cc"):
            subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", self._library, SOURCE], check=True)

    def set_wrong(self, seconds: float) -> None:
        """Have the clocks go before (or, below 0, after) the right time by that much from now on; 0 sets them right."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("q", round(seconds * 1e9)))  # one aligned word: no reader sees half of it

    @property
    def _library(self) -> Path:
        return self.folder / "clock_shift.so"

    @property
    def _file(self) -> Path:
        return self.folder / "clock_shift"
