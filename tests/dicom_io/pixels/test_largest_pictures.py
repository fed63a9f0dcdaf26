"""A file of a few hundred bytes may announce as many pixels as the largest detector has, and no more."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from factories import chest_radiograph, write_dicom
from fuzzing import environment
from pydicom.encaps import encapsulate

SIDE_PX = 9_900
MOST_SECONDS, MOST_BYTES = 20.0, 900 << 20
"""Of processor time and of resident memory; the samples alone are 196 MB."""
ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    "51": lambda pixels: imagecodecs.jpeg8_encode(pixels, level=90, bitspersample=12),
    "70": lambda pixels: imagecodecs.ljpeg_encode(pixels, bitspersample=12),
    "80": imagecodecs.jpegls_encode,
    "90": lambda pixels: imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", bitspersample=12),
    "201": imagecodecs.htj2k_encode,
}
READ = """
import json, sys, time
from pathlib import Path
from fuzz_child import limited, peak_bytes
from dicom_io.data_sets.dicom_file import read_dicom_file
from dicom_io.pixels.radiograph import read_radiograph
limited()
started = time.process_time()
radiograph = read_radiograph(read_dicom_file(Path(sys.argv[1])))
peak = peak_bytes()
print(json.dumps([radiograph.rows, time.process_time() - started, peak]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("syntax", ENCODERS)
def test_a_small_file_of_a_huge_picture_takes_bounded_time_and_memory(syntax: str, tmp_path: Path) -> None:
    frame = ENCODERS[syntax](np.zeros((SIDE_PX, SIDE_PX), np.uint16))
    dataset = chest_radiograph(
        Rows=SIDE_PX, Columns=SIDE_PX, TransferSyntaxUID=f"1.2.840.10008.1.2.4.{syntax}",
        PixelData=encapsulate([frame]),
    )  # fmt: skip
    dataset["PixelData"].is_undefined_length = True
    path = write_dicom(dataset, tmp_path / "huge.dcm")
    command = [sys.executable, "-c", READ, str(path)]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=True)
    rows, seconds, peak_bytes = json.loads(ended.stdout)
    assert rows == SIDE_PX
    assert seconds < MOST_SECONDS and peak_bytes < MOST_BYTES, (seconds, peak_bytes)
