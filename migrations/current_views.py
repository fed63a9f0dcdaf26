"""The views as the newest revision makes them; a revision that makes one anew changes the line below."""

from __future__ import annotations

from migrations.triage_views_0009 import FINDING, STAGE, VIEWS, WORKLIST, View

__all__ = ["FINDING", "STAGE", "VIEWS", "WORKLIST", "View"]
