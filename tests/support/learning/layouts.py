"""Small folders in ChestX-ray14's layout for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

HEADER_V2020 = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
HEADER_2017 = HEADER_V2020 + ","  # the first release ends every line with a comma
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"


def picture_name(patient: int, follow_up: int = 0) -> str:
    """Return a name as the NIH gives them."""
    return f"{patient:08d}_{follow_up:03d}.png"


def write_layout(
    root: Path,
    *,
    patients: int = 10,
    test_patients: int = 3,
    size_px: int = 64,
    header: str = HEADER_V2020,
    labels: str = "Effusion|Mass",
) -> list[str]:
    """Write one noisy picture for each patient, every second with the labels; return the names."""
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(1)
    names = [picture_name(number) for number in range(1, patients + 1)]
    lines = [header]
    for number, name in enumerate(names, start=1):
        pixels = rng.integers(0, 256, (size_px, size_px), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / name)
        found = labels if number % 2 else "No Finding"
        age, end = ("058Y", ",") if header == HEADER_2017 else ("58", "")
        lines.append(f"{name},{found},0,{number},{age},M,PA,{size_px},{size_px},0.4,0.4{end}")
    (root / "Data_Entry_2017.csv").write_text("\n".join(lines) + "\n")
    (root / "train_val_list.txt").write_text("\n".join(names[:-test_patients]) + "\n")
    (root / "test_list.txt").write_text("\n".join(names[-test_patients:]) + "\n")
    boxes = [BOX_HEADER, f"{names[0]},Mass,100.5,200,300,50,,,"]
    (root / "BBox_List_2017.csv").write_text("\n".join(boxes) + "\n")
    return names


def replace_in(path: Path, old: str, new: str) -> None:
    """Change a table; the old text must be there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
