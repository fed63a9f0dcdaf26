"""Entry of ``python -m model``."""

from __future__ import annotations

from model.cli import main

if __name__ == "__main__":
    main()
