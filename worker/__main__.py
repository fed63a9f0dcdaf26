"""``python -m worker``: the administrator's commands."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and PyTorch are loaded: as many processes as cores

from worker.cli import main

if __name__ == "__main__":
    main()
