"""The views as the newest revision makes them; a revision that makes one anew changes the lines below."""

from __future__ import annotations

from migrations.triage_views_0009 import FINDING, STAGE, View
from migrations.triage_views_0027 import WORKLIST

VIEWS = (WORKLIST, FINDING, STAGE)

__all__ = ["FINDING", "STAGE", "VIEWS", "WORKLIST", "View"]
