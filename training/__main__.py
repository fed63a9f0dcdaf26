"""``python -m training``."""

from __future__ import annotations

if __name__ == "__main__":
    from model.loading import ended_by_ctrl_c

    with ended_by_ctrl_c():
        from training.cli import main  # here, because the processes that training starts load this file, too

    main()
