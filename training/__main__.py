"""``python -m training``."""

from __future__ import annotations

if __name__ == "__main__":
    from model.loading import ended_by_ctrl_c
    from model.standard_streams import prepare_streams

    prepare_streams()
    with ended_by_ctrl_c():
        from training.cli import main  # here, because the processes that training starts load this file, too

    main()
