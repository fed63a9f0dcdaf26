"""The settings as environment variables, for processes that we start."""

from __future__ import annotations

import json
import os

from worker.settings.config import Settings


def settings_environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment with exactly these settings in it, for a child process."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("CXR_") or name == "CXR_FAILPOINT"
    }
    given = settings.model_dump(mode="json", exclude_none=True)
    written = {
        f"CXR_{name.upper()}": value if isinstance(value, str) else json.dumps(value) for name, value in given.items()
    }
    return inherited | written
