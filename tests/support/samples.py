"""Real DICOM files for tests: those of the installed pydicom-data package, and the shared folder where there is one."""

from __future__ import annotations

import importlib.resources
import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("CXR_SHARED") or Path(__file__).resolve().parents[3] / "shared")


def public_sample(name: str) -> Path:
    """Return a file of pydicom-data (RG1: a chest CR, RG3: a leg); never downloads, as pydicom's own look-up may."""
    path = Path(str(importlib.resources.files("data_store"))) / "data" / name
    if not path.is_file():
        raise FileNotFoundError(f"{name} is not in the installed pydicom-data; reinstall the test dependencies")
    return path


def shared(relative_path: str) -> Path:
    """Return a file or folder of the shared material; skip the test where this checkout has none."""
    path = SHARED / relative_path
    if not path.exists():
        pytest.skip(f"shared/{relative_path} is not here (set CXR_SHARED)")
    return path
