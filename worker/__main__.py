"""``python -m worker``: the administrator's commands."""

from __future__ import annotations

import os

from model.loading import ended_by_ctrl_c
from model.standard_streams import prepare_streams

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and PyTorch are loaded: as many processes as cores

prepare_streams()
with ended_by_ctrl_c():
    from worker.cli import main

if __name__ == "__main__":
    main()
