"""What axe-core finds on a page that is open in a real Chromium."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page


def serious_findings(page: Page, path: str) -> list[str]:
    """Return what axe-core calls serious or critical on the open page."""
    return [
        f"{path}: {item['id']} {node['html'][:200]} {node['any'][:1]}"
        for item in Axe().run(page).response["violations"]
        if item["impact"] in ("serious", "critical")
        for node in item["nodes"][:3]
    ]
