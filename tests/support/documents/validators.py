"""Independent validators of DICOM objects: dcmtk, dicom3tools and PixelMed, run on real files."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PIXELMED_JAR = Path("/usr/share/java/pixelmed.jar")  # where Debian's libpixelmed-java puts it
# without these limits PixelMed dies on Java 17 and newer before it validates anything
_JAVA = [
    "java",
    *(f"-Djdk.xml.xpath{limit}Limit=0" for limit in ("ExprOp", "ExprGrp", "TotalOp")),
    "-Djava.awt.headless=true",
    "-Xmx1g",
    # half the CPU time, where all is over after seconds
    *("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:+IgnoreUnrecognizedVMOptions"),
]


def need(present: bool, name: str) -> None:
    """Skip the test where a validator is missing, or fail where services are demanded."""
    if present:
        return
    if os.environ.get("CXR_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{name} is not installed (CXR_REQUIRE_SERVICES=1)", pytrace=False)
    pytest.skip(f"{name} is not installed; CXR_REQUIRE_SERVICES=1 makes this an error")


def _output(*command: str) -> str:
    finished = subprocess.run(command, capture_output=True, timeout=360, check=False)
    return (finished.stdout + finished.stderr).decode(errors="replace")


def dciodvfy_errors(path: Path) -> list[str]:
    """Return the errors dicom3tools finds in the modules and attributes of an object."""
    need(shutil.which("dciodvfy") is not None, "dciodvfy (Debian package dicom3tools)")
    return [line for line in _output("dciodvfy", str(path)).splitlines() if line.startswith("Error")]


def dcentvfy_errors(source: Path, path: Path) -> list[str]:
    """Return the disagreements on patient and study between two objects."""
    need(shutil.which("dcentvfy") is not None, "dcentvfy (Debian package dicom3tools)")
    return [line for line in _output("dcentvfy", str(source), str(path)).splitlines() if line.startswith("Error")]


def dsrdump(path: Path) -> str:
    """Return dcmtk's rendering of a structured report with full texts; the test fails when dcmtk cannot read it."""
    need(shutil.which("dsrdump") is not None, "dsrdump (Debian package dcmtk)")
    finished = subprocess.run(["dsrdump", "+Pl", str(path)], capture_output=True, timeout=360, check=False)
    assert finished.returncode == 0, finished.stderr.decode(errors="replace")
    return finished.stdout.decode(errors="replace")


def pixelmed_complaints(path: Path) -> list[str]:
    """Return what PixelMed finds wrong with the tree of a structured report, and whether it ran to its end."""
    need(shutil.which("java") is not None and PIXELMED_JAR.exists(), "PixelMed (Debian package libpixelmed-java)")
    output = _output(*_JAVA, "-cp", str(PIXELMED_JAR), "com.pixelmed.validate.DicomSRValidator", str(path))
    complaints = [line for line in output.splitlines() if line.startswith("Error")]
    for sign in ("Found Root Template TID_1500", "IOD validation complete"):
        if sign not in output:
            complaints.append(f"PixelMed did not say {sign!r}: {output[-300:]}")
    return complaints
