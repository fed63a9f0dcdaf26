"""``python -m worklist``: serve the page, or set its password."""

from __future__ import annotations

from worklist.cli import main

if __name__ == "__main__":
    main()
