"""One real radiograph in every coding, sent over the network to running processes: one verdict, and results for each.

Lossless copies must say what the uncompressed one says to the last digit. Lossy ones may differ as their samples do.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from datetime import date
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from factories import write_dicom
from numpy.typing import NDArray
from peers import StandInPacs
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_voi_lut
from pydicom.uid import UID, RLELossless, generate_uid
from samples import public_sample
from sites import Site
from sqlalchemy import select

from worker.rows.run_tables import Prediction

pytestmark = pytest.mark.timeout(400)
BUNDLE = Path(__file__).resolve().parents[2] / "model" / "bundles" / "nih-starter-densenet121"
FAMILY = "1.2.840.10008.1.2.4."
MOST_LOSSY_DIFFERENCE = 0.02
"""Of a probability; three quarters of what eight bits instead of real numbers cost (docs/pixels.md)."""
Pixels = NDArray[np.generic]
Encoder = Callable[[Pixels], bytes]


def deflated(pixels: Pixels) -> bytes:
    compressor = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    return compressor.compress(pixels.tobytes()) + compressor.flush()


def jpegxl(pixels: Pixels, **options: object) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(pixels, photometric="gray", bitspersample=12, effort=1, **options))


def jpeg(pixels: Pixels, **options: object) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(pixels, level=95, **options))


LOSSLESS: dict[str, Encoder] = {
    "1.2.840.10008.1.2.1.98": lambda pixels: pixels.tobytes(),
    "1.2.840.10008.1.2.8.1": deflated,
    FAMILY + "57": lambda pixels: imagecodecs.ljpeg_encode(pixels, bitspersample=12),
    FAMILY + "70": lambda pixels: imagecodecs.ljpeg_encode(pixels, bitspersample=12),
    FAMILY + "80": imagecodecs.jpegls_encode,
    FAMILY + "90": lambda pixels: imagecodecs.jpeg2k_encode(
        pixels, level=0, reversible=True, codecformat="j2k", bitspersample=12
    ),
    FAMILY + "110": lambda pixels: jpegxl(pixels, lossless=True),
    FAMILY + "201": imagecodecs.htj2k_encode,
    FAMILY + "202": imagecodecs.htj2k_encode,
}
LOSSY: dict[str, Encoder] = {
    FAMILY + "51": lambda pixels: jpeg(pixels, bitspersample=12),
    FAMILY + "81": lambda pixels: imagecodecs.jpegls_encode(pixels, level=2),
    FAMILY + "91": lambda pixels: imagecodecs.jpeg2k_encode(
        pixels, level=70, reversible=False, codecformat="j2k", bitspersample=12
    ),
    FAMILY + "112": lambda pixels: jpegxl(pixels, lossless=False, distance=0.5),
    FAMILY + "203": lambda pixels: imagecodecs.htj2k_encode(pixels, level=0.0005, reversible=False),
}
OF_BYTES: dict[str, Encoder] = {
    FAMILY + "50": jpeg,
    FAMILY + "111": lambda pixels: bytes(imagecodecs.jpegxl_encode_jpeg(jpeg(pixels), usecontainer=True)),
}
EXPLICIT, ODD_FRAGMENTS = "1.2.840.10008.1.2.1", "fragments of odd length"
WHOLE_DATA_SETS = ("1.2.840.10008.1.2", EXPLICIT, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
LATER = frozenset(
    {
        "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1", ODD_FRAGMENTS,
        *(FAMILY + each for each in ("50", "110", "111", "112")),
    }
)  # fmt: skip
"""Those that few archives send, and the JPEG that one of them holds."""
EARLIER = frozenset({*LOSSLESS, *LOSSY, *OF_BYTES, *WHOLE_DATA_SETS}) - LATER | {FAMILY + "50", FAMILY + "111"}


def radiograph(bits: int) -> tuple[Dataset, Pixels]:
    """Return the header of a real chest as of a study of its own, of today, and its pixels in so many bits.

    It is half as large, so that twenty copies are judged in a few seconds.
    """
    source = pydicom.dcmread(public_sample("RG1_UNCR.dcm"))
    pixels = np.clip(apply_voi_lut(source.pixel_array, source), 0, 32767)[::2, ::2] / 32767 * ((1 << bits) - 1)
    source.Rows, source.Columns = pixels.shape
    source.StudyDate = f"{date.today():%Y%m%d}"
    source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID = (generate_uid() for _ in range(3))
    source.file_meta.MediaStorageSOPInstanceUID = source.SOPInstanceUID
    source.BitsAllocated, source.BitsStored, source.HighBit = 8 if bits == 8 else 16, bits, bits - 1
    source.WindowCenter, source.WindowWidth = str(1 << (bits - 1)), str(1 << bits)
    return source, np.rint(pixels).astype(np.uint8 if bits == 8 else np.uint16)


def with_frame(syntax: str, frame: bytes, bits: int) -> Dataset:
    made, _ = radiograph(bits)
    made.file_meta.TransferSyntaxUID = UID(syntax)
    made.PixelData = encapsulate([frame], fragments_per_frame=3)
    made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
    return made


def plain(syntax: str, bits: int = 12) -> Dataset:
    made, pixels = radiograph(bits)
    made.file_meta.TransferSyntaxUID = UID(syntax)
    made.PixelData = (pixels.byteswap() if syntax.endswith("1.2.2") else pixels).tobytes()
    made["PixelData"].VR = "OB" if bits == 8 else "OW"
    return made


def in_odd_fragments() -> Dataset:
    """Return JPEG-LS in two fragments of odd length, the first with a byte behind it that no length counts."""
    _, pixels = radiograph(12)
    frame = bytes(imagecodecs.jpegls_encode(pixels))
    cut = len(frame) // 2 | 1
    made = with_frame(FAMILY + "80", bytes(8), 12)
    items = [b"", frame[:cut], frame[cut:]]
    made.PixelData = b"".join(
        b"\xfe\xff\x00\xe0" + struct.pack("<I", len(item)) + item + b"\0" * (len(item) % 2) for item in items
    )
    return made


def run_lengths() -> Dataset:
    made = plain(EXPLICIT)
    made.compress(RLELossless, generate_instance_uid=False)
    return made


def chosen(encoders: dict[str, Encoder], codings: frozenset[str]) -> list[tuple[str, Encoder]]:
    return [each for each in encoders.items() if each[0] in codings]


def probabilities(site: Site, study_instance_uid: str) -> dict[str, float]:
    """Return what the study's run says of each trained finding."""
    (run,) = site.runs(study_instance_uid)
    with site.session() as session:
        rows = session.scalars(select(Prediction).where(Prediction.run_id == run.id))
        return {row.finding: row.probability for row in rows if row.probability is not None}


@pytest.mark.parametrize("codings", [LATER, pytest.param(EARLIER, marks=pytest.mark.slow)], ids=["later", "earlier"])
def test_a_real_radiograph_is_judged_alike_in_every_coding_and_every_result_comes_back(
    codings: frozenset[str], site_with: Callable[..., Site], pacs: StandInPacs, tmp_path: Path
) -> None:
    site = site_with(bundles={"default": BUNDLE}, allow_demonstration_bundle=True, destinations=[pacs.destination])
    site.start_listening()
    _, words = radiograph(12)
    _, octets = radiograph(8)
    lossless = {syntax: plain(syntax) for syntax in WHOLE_DATA_SETS if syntax in codings or syntax == EXPLICIT}
    lossless |= {syntax: with_frame(syntax, encode(words), 12) for syntax, encode in chosen(LOSSLESS, codings)}
    lossless |= {ODD_FRAGMENTS: in_odd_fragments()} if ODD_FRAGMENTS in codings else {str(RLELossless): run_lengths()}
    lossy = {syntax: with_frame(syntax, encode(words), 12) for syntax, encode in chosen(LOSSY, codings)}
    of_bytes = {"as bytes": plain(EXPLICIT, 8)}
    of_bytes |= {syntax: with_frame(syntax, encode(octets), 8) for syntax, encode in chosen(OF_BYTES, codings)}
    sent = lossless | lossy | of_bytes
    paths = [write_dicom(dataset, tmp_path / f"{dataset.SOPInstanceUID}.dcm") for dataset in sent.values()]
    assert {outcome.status for outcome in site.send(*paths)} == {0x0000}

    said = {}
    for coding, dataset in sent.items():
        uid = str(dataset.StudyInstanceUID)
        site.wait_for_state(uid, "triaged", "not_analysed", "failed", "needs_review", "out_of_scope")
        site.wait_for_delivery(uid, "sent")
        said[coding] = probabilities(site, uid)
    arrived = {str(arrival.dataset.StudyInstanceUID) for arrival in pacs.stored}
    assert arrived == {str(dataset.StudyInstanceUID) for dataset in sent.values()}

    expected = said[EXPLICIT]
    assert len(expected) >= 8 and max(expected.values()) > 0.1
    assert {coding: said[coding] for coding in lossless if said[coding] != expected} == {}
    off = {
        coding: max(abs(said[coding][finding] - p) for finding, p in expected.items()) for coding in lossy | of_bytes
    }
    assert {coding: most for coding, most in off.items() if not most <= MOST_LOSSY_DIFFERENCE} == {}
    assert said[FAMILY + "111"] == said[FAMILY + "50"], "a recompressed JPEG is the JPEG"
