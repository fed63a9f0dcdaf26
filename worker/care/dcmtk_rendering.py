"""How dcmtk, an independent program, renders a DICOM file: for a person to hold beside what the network saw."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TIMEOUT_SECONDS = 60
_FAMILY = "1.2.840.10008.1.2.4."
_TOOLS = dict.fromkeys([_FAMILY + each for each in ("50", "51", "57", "70")], "dcmj2pnm") | dict.fromkeys(
    [_FAMILY + each for each in ("80", "81")], "dcml2pnm"
)


@dataclass(frozen=True)
class Rendering:
    """What came of it."""

    tool: str
    pixels: NDArray[np.uint8] | None
    """[rows, columns], 0..255; None where there is none."""
    why: str = ""
    """Why there is none, or what was done otherwise than by us; empty where there is nothing to say."""


def tool_for(transfer_syntax_uid: str) -> str | None:
    """Return the program of dcmtk that reads this transfer syntax; None where none does."""
    if not transfer_syntax_uid.startswith(_FAMILY):
        return "dcm2pnm"
    return _TOOLS.get(transfer_syntax_uid)


def render(path: Path, transfer_syntax_uid: str, voi: str | None, folder: Path) -> Rendering:
    """Render the file without overlays, with its own VOI LUT or first window.

    Parameters
    ----------
    voi
        The VOI our picture was made with, as ``GreyScale.voi`` names it; None for colour.
    folder
        Where an intermediate file may be written.
    """
    tool = tool_for(transfer_syntax_uid)
    if tool is None:
        return Rendering("dcmtk", None, f"dcmtk has no decoder for transfer syntax {transfer_syntax_uid}")
    program = shutil.which(tool)
    if program is None:
        return Rendering(tool, None, f"{tool} is not installed (package dcmtk)")
    options, why = _voi_options(voi)
    target = folder / "rendered.pgm"
    try:
        subprocess.run(
            [program, "-O", *options, str(path), str(target)],
            check=True, capture_output=True, timeout=TIMEOUT_SECONDS,
        )  # fmt: skip
        with Image.open(target) as picture:
            return Rendering(tool, np.asarray(picture.convert("L")), why)
    except subprocess.TimeoutExpired:
        return Rendering(tool, None, f"{tool} did not end within {TIMEOUT_SECONDS} s")
    except (subprocess.CalledProcessError, OSError) as error:
        return Rendering(tool, None, f"{tool} does not render this file ({type(error).__name__})")


def _voi_options(voi: str | None) -> tuple[list[str], str]:
    if voi is None or voi.startswith("all"):
        return [], ""
    if voi.startswith("LUT"):
        return ["+Wl", "1"], ""
    if voi.startswith("window"):
        return ["+Wi", "1"], ""
    return ["+Wm"], "the file has no window: dcmtk shows lowest to highest value, we leave 0.5 % out at either end"
