"""What to do with pictures that a network has seen. Apart, since a command line knows it before numpy is loaded."""

from __future__ import annotations

from enum import StrEnum


class SeenPolicy(StrEnum):
    """What to do with pictures that a network has seen, or whose patient it has seen."""

    REFUSE = "refuse"
    """Stop and name them."""
    LEAVE_OUT = "leave-out"
    """Compute every figure without them."""
    MARK = "mark"
    """Go on with them, and mark every figure as too good to believe."""
