"""``python -m worklist``: serve the page, or set its password."""

from __future__ import annotations

from model.loading import ended_by_ctrl_c
from model.standard_streams import prepare_streams

prepare_streams()
with ended_by_ctrl_c():
    from worklist.cli import main

if __name__ == "__main__":
    main()
