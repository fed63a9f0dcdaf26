"""Cut, damaged and mislabelled code streams: half a chest must never be analysed as a whole one."""

from __future__ import annotations

import re
import resource
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import imagecodecs
import jpeg_ls
import numpy as np
import pydicom
import pytest
from factories import chest_radiograph, drawn_chest, write_dicom
from fuzzing import environment
from hypothesis import given
from hypothesis import strategies as st
from mutations import sources
from PIL import Image
from pydicom.encaps import encapsulate
from samples import shared

from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.decoding import decode_frame, decode_stored_values
from dicom_io.pixels.encapsulation import single_frame
from dicom_io.pixels.jpeg_stream import GO_ON, LS_GO_ON, scan_end
from dicom_io.pixels.radiograph import read_radiograph

PIXELS = drawn_chest(61, 47)
NOISY = PIXELS ^ np.random.default_rng(3).integers(0, 16, PIXELS.shape, dtype=np.uint16)
BYTES = (NOISY >> 4).astype(np.uint8)
FAMILY = "1.2.840.10008.1.2.4."
EIGHT_BITS = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
STREAMS = {
    "50": imagecodecs.jpeg8_encode(BYTES, level=90),
    "51": imagecodecs.jpeg8_encode(NOISY, level=90, bitspersample=12),
    "70": imagecodecs.ljpeg_encode(NOISY, bitspersample=12),
    "80": imagecodecs.jpegls_encode(NOISY),
    "90": imagecodecs.jpeg2k_encode(NOISY, level=0, reversible=True, codecformat="j2k", bitspersample=12),
    "201": imagecodecs.htj2k_encode(NOISY),
}


def compressed(syntax: str, frame: bytes, **keywords: object) -> pydicom.Dataset:
    sized = EIGHT_BITS if syntax == "50" else {}
    dataset = chest_radiograph(
        NOISY, **{"TransferSyntaxUID": FAMILY + syntax, "PixelData": encapsulate([frame])} | sized | keywords
    )
    dataset["PixelData"].is_undefined_length = True
    return dataset


def refusal(dataset: pydicom.Dataset) -> ReasonCode:
    with pytest.raises(UndecodableError) as caught:
        decode_stored_values(dataset)
    return caught.value.reason_code


def damaged(stream: bytes, start: int, replacement: bytes) -> bytes:
    return stream[:start] + replacement + stream[start + len(replacement) :]


@pytest.mark.parametrize("syntax", STREAMS)
def test_whole_streams_decode(syntax):
    values = decode_stored_values(compressed(syntax, STREAMS[syntax])).astype(int)
    if syntax in ("50", "51"):  # lossy at quality 90: a few grey levels
        expected = BYTES if syntax == "50" else NOISY
        assert np.abs(values - expected).mean() < 0.02 * expected.max()
    else:
        np.testing.assert_array_equal(values, NOISY)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("syntax", STREAMS)
def test_a_cut_stream_is_undecodable_wherever_it_was_cut(syntax, part):
    stream = STREAMS[syntax]
    cut = stream[: min(int(len(stream) * part), len(stream) - 1)]
    assert refusal(compressed(syntax, cut)) is ReasonCode.UNDECODABLE
    assert refusal(compressed(syntax, cut + bytes(2048))) is ReasonCode.UNDECODABLE  # padded


@pytest.mark.parametrize("syntax", ["70", "80"])
@pytest.mark.parametrize("replacement", [bytes(64), b"\x55" * 64, bytes(range(64))])
def test_a_damaged_lossless_stream_is_undecodable_though_it_has_its_end(syntax, replacement):
    stream = STREAMS[syntax]
    assert refusal(compressed(syntax, damaged(stream, len(stream) // 2, replacement))) is ReasonCode.UNDECODABLE


def test_a_lossless_stream_that_lost_its_middle_is_undecodable():
    stream = STREAMS["70"]
    half = len(stream) // 2
    assert refusal(compressed("70", stream[:half] + stream[half + 200 :])) is ReasonCode.UNDECODABLE


@pytest.mark.parametrize("selection_value", range(1, 8))
def test_every_predictor_of_an_independent_encoder_fits_its_picture(selection_value, tmp_path: Path):
    dcmcjpeg = shutil.which("dcmcjpeg")
    if dcmcjpeg is None:
        pytest.skip("dcmtk's dcmcjpeg is not installed")
    plain = write_dicom(chest_radiograph(NOISY), tmp_path / "plain.dcm")
    packed = tmp_path / "packed.dcm"
    subprocess.run([dcmcjpeg, "+el", "+sv", str(selection_value), plain, packed], check=True, capture_output=True)
    dataset = pydicom.dcmread(packed)
    assert dataset.file_meta.TransferSyntaxUID == FAMILY + "57"
    np.testing.assert_array_equal(decode_stored_values(dataset), NOISY)
    stream = single_frame(dataset.PixelData)
    dataset.PixelData = encapsulate([damaged(stream, len(stream) // 2, bytes(40))])
    assert refusal(dataset) is ReasonCode.UNDECODABLE


@pytest.mark.parametrize("name", ["p14", "sv1", "base", "ext", "jls", "jlsn", "j2k", "rle"])
def test_cut_copies_of_the_shared_fixtures_are_undecodable(name):
    dataset = pydicom.dcmread(shared(f"data/examples/transfer_syntaxes/{name}.dcm"))
    stream = single_frame(dataset.PixelData)
    decode_stored_values(dataset)
    for part in (0.3, 0.6, 0.95):
        dataset.PixelData = encapsulate([stream[: int(len(stream) * part)]])
        assert refusal(dataset) is ReasonCode.UNDECODABLE


@pytest.mark.parametrize("syntax", STREAMS)
def test_bytes_behind_the_end_do_no_harm(syntax):
    plain = decode_stored_values(compressed(syntax, STREAMS[syntax]))
    for tail in (b"\0", bytes(512)):
        np.testing.assert_array_equal(decode_stored_values(compressed(syntax, STREAMS[syntax] + tail)), plain)


@pytest.mark.parametrize(
    ("label", "actual", "coding"),
    [("70", "80", "JPEG-LS"), ("80", "70", "JPEG Lossless"), ("50", "90", "JPEG 2000"), ("90", "201", "HTJ2K")],
)
def test_a_stream_under_the_wrong_label_is_decoded_as_what_it_is(label, actual, coding):
    frame = decode_frame(compressed(label, STREAMS[actual], BitsAllocated=16, BitsStored=12, HighBit=11))
    np.testing.assert_array_equal(frame.values, NOISY)
    assert frame.coding == coding


@pytest.mark.parametrize("syntax", ["57", "70", "80", "90", "201"])
def test_the_sign_of_a_stream_with_fewer_bits_than_the_header_says_is_kept(syntax):
    signed = NOISY.astype(np.int32) - 2048  # 12 bits, two's complement
    codes = (signed & 0xFFF).astype(np.uint16)
    described = {"rows": 61, "columns": 47, "samples_per_pixel": 1, "bits_stored": 12}
    encode = {
        "57": lambda: imagecodecs.jpeg8_encode(codes, lossless=True, predictor=4, bitspersample=12),
        "70": lambda: imagecodecs.ljpeg_encode(codes, bitspersample=12),
        "80": lambda: bytes(jpeg_ls.encode_pixel_data(codes.tobytes(), **described)),
        "90": lambda: imagecodecs.jpeg2k_encode(codes, level=0, reversible=True, codecformat="j2k", bitspersample=12),
        "201": lambda: imagecodecs.htj2k_encode(signed.astype(np.int16)),
    }[syntax]
    values = decode_stored_values(compressed(syntax, encode(), BitsStored=16, HighBit=15, PixelRepresentation=1))
    np.testing.assert_array_equal(values.view(np.int16), signed)


@pytest.mark.parametrize("bits_stored", [12, 14, 16])
def test_a_lossless_jpeg_with_a_sign_and_fewer_bits_is_what_dcmtk_reads(bits_stored: int, tmp_path: Path) -> None:
    if (program := shutil.which("dcmdjpeg")) is None:
        pytest.skip("dcmdjpeg is not installed")
    codes = (NOISY.astype(np.int32) - 2048 & 0xFFF).astype(np.uint16)
    frame = imagecodecs.ljpeg_encode(codes, bitspersample=12)
    image = compressed("70", frame, BitsStored=bits_stored, HighBit=bits_stored - 1, PixelRepresentation=1)
    ours = decode_stored_values(image).astype(np.int32)
    ours = (ours ^ 1 << bits_stored - 1) - (1 << bits_stored - 1)
    source = write_dicom(image, tmp_path / "compressed.dcm")
    subprocess.run([program, str(source), str(tmp_path / "plain.dcm")], check=True)
    plain = pydicom.dcmread(tmp_path / "plain.dcm")
    stored = np.frombuffer(plain.PixelData, np.uint16)[: NOISY.size].reshape(NOISY.shape).astype(np.int32)
    sign = 1 << plain.BitsStored - 1
    np.testing.assert_array_equal(ours, (stored ^ sign) - sign)


@pytest.mark.parametrize("syntax", ["50", "70"])
def test_a_jpeg_of_eight_bits_under_a_header_of_twelve_has_the_values_it_holds(syntax):
    stream = STREAMS["50"] if syntax == "50" else imagecodecs.ljpeg_encode(BYTES, bitspersample=8)
    plain = decode_stored_values(compressed(syntax, stream, **EIGHT_BITS))
    dataset = compressed(syntax, stream, BitsAllocated=16, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(decode_stored_values(dataset), plain)
    dataset.WindowCenter, dataset.WindowWidth = "128", "256"  # that of 12 bits would show nothing
    np.testing.assert_array_equal(read_radiograph(dataset).pixels, plain)


def test_a_stream_deeper_than_the_header_allocates_is_refused():
    assert refusal(compressed("70", STREAMS["70"], **EIGHT_BITS)) is ReasonCode.UNDECODABLE


def test_a_stream_with_three_components_under_a_grey_header_is_refused():
    colour = imagecodecs.jpeg2k_encode(np.dstack([BYTES] * 3), level=0, codecformat="j2k")
    assert refusal(compressed("90", colour)) is ReasonCode.UNDECODABLE


def item(value: bytes) -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(value)) + value


END = b"\xfe\xff\xdd\xe0" + bytes(4)
STREAM = STREAMS["80"] + bytes(len(STREAMS["80"]) % 2)
HALF = len(STREAM) // 4 * 2


@pytest.mark.parametrize(
    "pixel_data",
    [
        item(b"") + item(STREAM) + END,
        item(b"") + item(STREAM),  # pydicom takes the delimiter off
        item(struct.pack("<I", 0)) + item(STREAM) + END,
        item(struct.pack("<I", 77)) + item(STREAM) + END,  # an offset that leads nowhere
        item(struct.pack("<II", 0, 500)) + item(STREAM) + END,  # offsets for two frames
        item(b"") + item(STREAM[:HALF]) + item(STREAM[HALF:]) + END,
        item(struct.pack("<I", 0)) + item(STREAM[:HALF]) + item(b"") + item(STREAM[HALF:]) + item(b"") + END,
        item(STREAM) + END,  # no offset table
        item(STREAM[:HALF]) + item(STREAM[HALF:]) + END,
    ],
)
def test_the_frame_is_found_whatever_stands_in_the_offset_table(pixel_data):
    assert single_frame(pixel_data) == STREAM
    np.testing.assert_array_equal(decode_stored_values(compressed("80", STREAM, PixelData=pixel_data)), NOISY)


@pytest.mark.parametrize(
    "pixel_data",
    [b"", END, item(b"") + END, item(b"") + item(b"") + END, item(b"") + item(STREAM)[:-10], b"\xff\xd8\xff\xe0" * 9],
)
def test_encapsulated_data_without_a_frame_are_undecodable(pixel_data):
    with pytest.raises(UndecodableError) as caught:
        single_frame(pixel_data)
    assert caught.value.reason_code is ReasonCode.UNDECODABLE


def test_uncompressed_data_may_have_a_tail_but_not_a_second_frame():
    np.testing.assert_array_equal(
        decode_stored_values(chest_radiograph(NOISY, PixelData=NOISY.tobytes() + bytes(300))), NOISY
    )
    for tail in (b"", b"\0\0"):
        twice = chest_radiograph(NOISY, PixelData=NOISY.tobytes() * 2 + tail)
        assert refusal(twice) is ReasonCode.UNSUPPORTED_PIXELS


def test_words_under_a_header_that_speaks_of_bytes_are_not_read():
    """Every second of these bytes would be noise, and half of the picture missing."""
    assert refusal(chest_radiograph(NOISY, **EIGHT_BITS)) is ReasonCode.UNSUPPORTED_PIXELS


def test_one_pixel_of_one_byte_is_padded_to_two():
    pixel = chest_radiograph(NOISY[:1, :1], **EIGHT_BITS, PixelData=b"\7\0")
    assert decode_stored_values(pixel).tolist() == [[7]]


def test_run_lengths_that_end_early_or_late_are_undecodable():
    dataset = chest_radiograph(NOISY)
    dataset.compress("1.2.840.10008.1.2.5")
    stream = single_frame(dataset.PixelData)
    for changed in (stream[:-60], stream[:64] + stream[200:], stream[: len(stream) // 2]):
        dataset.PixelData = encapsulate([changed])
        assert refusal(dataset) is ReasonCode.UNDECODABLE


@pytest.mark.parametrize(
    ("name", "start", "replacement"),
    [
        ("SC_rgb_dcmtk_+eb+cy+s2.dcm", 90, bytes(1)),  # GDCM ends the process
        ("GDCMJ2K_TextGBR.dcm", 40, bytes(4)),  # pydicom follows boxes of no length for ever
    ],
)
def test_damage_that_ends_or_holds_other_decoders_does_the_worker_no_harm(name, start, replacement, tmp_path: Path):
    dataset = pydicom.dcmread(next(path for path in sources() if path.name == name))
    dataset.PixelData = encapsulate([damaged(single_frame(dataset.PixelData), start, replacement)])
    path = write_dicom(dataset, tmp_path / "x.dcm")
    reading = "import sys; from fuzz_child import *; print(outcome(Path(sys.argv[1])))"
    command = [sys.executable, "-c", reading, str(path)]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() in ("read", "undecodable")


def bright_edges() -> np.ndarray:
    """Return 12-bit pixels whose lossy copies overshoot: noise beside the brightest level there is."""
    pixels = np.full((64, 64), 4095, np.uint16)
    pixels[::7, ::5] = 0
    pixels[20:40, 20:40] = 4095
    pixels[-12:] = some_grey(12, 64, 4096)  # a picture of black and white alone might as well have a sign
    return pixels


def some_grey(rows: int, columns: int, values: int) -> np.ndarray:
    """Return noise about the middle of so many values."""
    noise = np.random.default_rng(8).integers(-values // 100, values // 100, (rows, columns))
    return np.asarray(values // 2 + noise)


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        ("51", lambda pixels: imagecodecs.jpeg8_encode(pixels >> 2, level=60, bitspersample=12)),
        ("203", lambda pixels: imagecodecs.htj2k_encode(pixels, level=0.01, reversible=False)),
        ("91", lambda pixels: imagecodecs.jpeg2k_encode(pixels, level=25, codecformat="j2k", bitspersample=16)),
        ("81", lambda pixels: imagecodecs.jpegls_encode(pixels, level=9)),
    ],
)
def test_what_lossy_coding_adds_above_the_highest_level_stays_bright(syntax, encode):
    """Without its upper bits, 4107 would be 11: black specks in the brightest parts."""
    bits = 10 if syntax == "51" else 12
    dataset = compressed(syntax, encode(bright_edges()), Rows=64, Columns=64, BitsStored=bits, HighBit=bits - 1)
    values = decode_stored_values(dataset)
    assert values.max() == (1 << bits) - 1
    assert values[bright_edges() == 4095].min() > (1 << bits) // 4


def hard_edges(bits: int) -> np.ndarray:
    """Return samples of so many bits with black beside white."""
    rows, columns = np.mgrid[:230, :190]
    pixels = np.where((columns // 37 + rows // 29) % 2, (1 << bits) - 1, 0)
    pixels[-40:] = some_grey(40, 190, 1 << bits)
    return pixels


@pytest.mark.parametrize(("bits", "dtype", "level"), [(8, np.uint8, 0.01), (16, np.uint16, 0.0001)])
def test_lossy_samples_beyond_what_their_words_hold_do_not_turn_over(bits: int, dtype: type, level: float) -> None:
    """OpenJPH writes 256 as 0: black specks in white, and white ones in black."""
    pixels = hard_edges(bits)
    stream = imagecodecs.htj2k_encode(pixels.astype(dtype), level=level, reversible=False)
    layout = {"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1}
    values = decode_stored_values(compressed("203", stream, Rows=230, Columns=190, **layout)).astype(int)
    assert np.abs(values - pixels).max() < 1 << (bits - 2)


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        ("203", lambda pixels: imagecodecs.htj2k_encode(pixels, level=0.0001, reversible=False)),
        ("91", lambda pixels: imagecodecs.jpeg2k_encode(pixels, level=70, reversible=False, codecformat="j2k")),
    ],
)
def test_lossy_samples_with_a_sign_do_not_turn_over_beyond_the_bits_they_may_have(
    syntax: str, encode: Callable[[np.ndarray], bytes]
) -> None:
    pixels = hard_edges(12) - 2048
    layout = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1}
    stream = encode(pixels.astype(np.int16))
    codes = decode_stored_values(compressed(syntax, stream, Rows=230, Columns=190, **layout)).astype(int)
    values = np.where(codes >= 2048, codes - 4096, codes)
    assert np.abs(values - pixels).max() < 1024


def test_bits_above_the_stored_ones_of_a_lossless_stream_are_overlays():
    overlaid = NOISY | 0x8000
    dataset = compressed("90", imagecodecs.jpeg2k_encode(overlaid, level=0, reversible=True, codecformat="j2k"))
    np.testing.assert_array_equal(decode_stored_values(dataset), NOISY)


def test_a_real_lossy_file_has_no_specks_in_its_brightest_parts():
    """RG3 as JPEG of 12 bits: eight samples are 1024, where 1023 is the highest."""
    dataset = pydicom.dcmread(shared("data/dicom/nema_wg04_RG3_JPLY.dcm"))
    raw = imagecodecs.jpeg8_decode(single_frame(dataset.PixelData))
    assert (raw > 1023).any()
    np.testing.assert_array_equal(decode_stored_values(dataset), np.minimum(raw, 1023))


def in_tiles(pixels: np.ndarray, tile: int) -> bytes:
    return bytes(imagecodecs.htj2k_encode(pixels, tile=(tile, tile)))  # OpenJPEG by way of Pillow spoils 16 bits


def test_a_stream_in_tiles_is_read_and_one_that_lost_a_tile_is_undecodable():
    """Decoders leave a missing tile black."""
    pixels = np.random.default_rng(4).integers(0, 4096, (64, 64), dtype=np.uint16)
    stream = in_tiles(pixels, 16)
    dataset = compressed("90", stream, Rows=64, Columns=64)
    np.testing.assert_array_equal(decode_stored_values(dataset), pixels)
    starts = [found.start() for found in re.finditer(b"\xff\x90\x00\x0a", stream)]
    assert len(starts) == 16
    lost = stream[: starts[5]] + stream[starts[6] :]
    assert refusal(compressed("90", lost, Rows=64, Columns=64)) is ReasonCode.UNDECODABLE
    twice = stream[: starts[5]] + stream[starts[4] : starts[5]] + stream[starts[6] :]
    assert refusal(compressed("90", twice, Rows=64, Columns=64)) is ReasonCode.UNDECODABLE


def with_precincts(stream: bytes, size: int) -> bytes:
    """Return the stream with precincts of one size at every resolution."""
    place = stream.index(b"\xff\x52")
    (length,) = struct.unpack_from(">H", stream, place + 2)
    sizes = bytes([size]) * (stream[place + 9] + 1)
    head = stream[:place] + b"\xff\x52" + struct.pack(">H", length + len(sizes)) + bytes([stream[place + 4] | 1])
    return head + stream[place + 5 : place + 2 + length] + sizes + stream[place + 2 + length :]


def test_a_small_stream_that_announces_millions_of_parts_takes_no_memory():
    """OpenJPEG would take 2 GB for the 1.3 million precincts of these 158 bytes, and 50 GB for a larger picture."""
    blank = imagecodecs.jpeg2k_encode(np.zeros((2000, 2000), np.uint16), level=0, codecformat="j2k", bitspersample=12)
    bomb = compressed("90", with_precincts(bytes(blank), 0x11), Rows=2000, Columns=2000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(bomb) is ReasonCode.UNDECODABLE
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # KiB
    for size in (0x77, 0xFF):  # 128 x 128 and as large as can be: what encoders write
        decode_stored_values(compressed("90", with_precincts(bytes(blank), size), Rows=2000, Columns=2000))


@pytest.mark.parametrize("side", [1, 2, 3])
def test_a_grid_of_a_million_tiles_is_undecodable(side):
    stream = bytearray(in_tiles(np.zeros((2000, 2000), np.uint16), 1000))
    struct.pack_into(">II", stream, stream.index(b"\xff\x51") + 22, side, side)
    assert refusal(compressed("90", bytes(stream), Rows=2000, Columns=2000)) is ReasonCode.UNDECODABLE


@pytest.mark.parametrize("tile", [(0, 0), (0, 16), (16, 0), (2**32 - 1, 2**32 - 1)])
def test_tiles_of_no_size_are_undecodable_and_one_larger_than_the_picture_holds_it_all(tile):
    stream = bytearray(STREAMS["90"])
    struct.pack_into(">II", stream, stream.index(b"\xff\x51") + 22, *tile)
    if tile[0] and tile[1]:
        np.testing.assert_array_equal(decode_stored_values(compressed("90", bytes(stream))), NOISY)
    else:
        assert refusal(compressed("90", bytes(stream))) is ReasonCode.UNDECODABLE


def written(**options: object) -> bytes:
    """Return a JPEG of BYTES as Pillow writes it with these options."""
    stream = BytesIO()
    Image.fromarray(BYTES).save(stream, "JPEG", quality=90, **options)
    return stream.getvalue()


def coloured(**options: object) -> bytes:
    stream = BytesIO()
    Image.fromarray(np.stack([BYTES, BYTES // 2, 255 - BYTES], axis=-1)).save(stream, "JPEG", quality=90, **options)
    return stream.getvalue()


@pytest.mark.parametrize("quality", [1, 30, 75, 95, 100])
@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 3}, {"progressive": True}])
@pytest.mark.parametrize("shape", [(61, 47), (1, 9), (9, 1), (8, 8), (16, 17)])
def test_a_grey_jpeg_is_decoded_once_to_what_two_decoders_make_of_it(quality, options, shape, monkeypatch):
    stream = BytesIO()
    pixels = np.random.default_rng(quality).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, **options)
    encoded = stream.getvalue()
    theirs = [np.asarray(Image.open(BytesIO(encoded))), imagecodecs.jpeg8_decode(encoded).reshape(shape)]
    monkeypatch.setattr(imagecodecs, "jpeg8_decode", lambda frame: pytest.fail("it is decoded a second time"))
    rows, columns = shape
    values = decode_stored_values(compressed("50", encoded, Rows=rows, Columns=columns))
    for expected in theirs:
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("part", [0.4, 0.5, 0.6, 0.7])
@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 3}, {"progressive": True}])
def test_a_jpeg_that_lost_bytes_in_its_middle_is_undecodable(options, part):
    """Behind a restart marker and in the next scan a decoder finds its place again: the end of the data is in order."""
    stream = written(**options)
    scan = stream.index(b"\xff\xda")
    place = scan + int((len(stream) - scan) * part)
    decode_stored_values(compressed("50", stream))
    assert refusal(compressed("50", stream[:place] + stream[place + 60 :])) is ReasonCode.UNDECODABLE


@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 3}, {"progressive": True}])
def test_a_jpeg_in_colours_that_lost_bytes_is_undecodable(options):
    colours = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422", "PlanarConfiguration": 0}
    stream = coloured(**options)
    place = len(stream) // 2
    assert decode_stored_values(compressed("50", stream, **colours)).shape == (*BYTES.shape, 3)
    assert refusal(compressed("50", stream[:place] + stream[place + 300 :], **colours)) is ReasonCode.UNDECODABLE


@pytest.mark.parametrize(
    "oddity",
    [
        lambda stream: stream[:-2] + bytes(5) + stream[-2:],  # zeros behind the data
        lambda stream: stream[:-2] + b"\xff" * 5 + stream[-2:],  # fill bytes (ISO/IEC 10918-1 B.1.1.2)
        lambda stream: stream.replace(b"JFIF\0\x01", b"JFIF\0\x02"),
        lambda stream: stream[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0\x09" + stream[2:],  # no such transform
    ],
)
def test_oddities_of_devices_do_not_make_a_jpeg_undecodable(oddity):
    stream = written()
    odd = oddity(stream)
    assert odd != stream
    np.testing.assert_array_equal(
        decode_stored_values(compressed("50", odd)), decode_stored_values(compressed("50", stream))
    )
    half = len(stream) // 2
    assert refusal(compressed("50", oddity(stream[: half + 200] + stream[half + 260 :]))) is ReasonCode.UNDECODABLE


def progressive(scans: int) -> bytes:
    """Return a progressive JPEG of BYTES whose last scan stands there so many times more."""
    written = BytesIO()
    Image.fromarray(BYTES).save(written, "JPEG", progressive=True)
    stream = written.getvalue()
    last = stream.rindex(b"\xff\xda")
    return stream[:-2] + stream[last:-2] * scans + b"\xff\xd9"


def test_a_progressive_stream_is_read_and_one_of_a_thousand_scans_is_undecodable():
    """Every scan costs a pass over all of the picture, however few bytes it has."""
    values = decode_stored_values(compressed("50", progressive(0))).astype(int)
    assert np.abs(values - BYTES).mean() < 0.1 * BYTES.max()
    assert refusal(compressed("50", progressive(1000))) is ReasonCode.UNDECODABLE


@pytest.mark.parametrize(
    ("syntax", "place", "segment"),
    [("50", 2, b"\xff\xfe\x00\x02"), ("90", STREAMS["90"].index(b"\xff\x52"), b"\xff\x64\x00\x04\x00\x01")],
)
def test_a_stream_of_nothing_but_comments_is_undecodable_at_once(syntax, place, segment):
    stream = STREAMS[syntax]
    few, many = (stream[:place] + segment * count + stream[place:] for count in (100, 2_000_000))
    decode_stored_values(compressed(syntax, few))
    started = time.process_time()
    assert refusal(compressed(syntax, many)) is ReasonCode.UNDECODABLE
    assert time.process_time() - started < 1


def test_pixel_data_in_millions_of_empty_fragments_take_no_memory():
    with pytest.raises(UndecodableError, match="more than 1048576 fragments"):
        single_frame(item(b"") * 2_000_000)


_NEXT_MARKER = {
    "JPEG": re.compile(rb"\xff(?![\x00\xff\xd0-\xd7])"),  # ISO/IEC 10918-1 B.1.1.2 and F.1.2.3
    "JPEG-LS": re.compile(rb"\xff(?![\x00-\x7f\xff\xd0-\xd7])"),  # ISO/IEC 14495-1 9.1
}


@pytest.mark.parametrize(("coding", "go_on"), [("JPEG", GO_ON), ("JPEG-LS", LS_GO_ON)])
@given(
    pieces=st.lists(st.sampled_from([b"\xff", b"\x00", b"\xd0", b"\xd7", b"\xd8", b"\xd9", b"\x7f", b"\x80"])),
    filler_bytes=st.sampled_from([0, 1, 4093, 12_290]),
    start=st.integers(0, 20),
)
def test_a_scan_ends_where_a_regular_expression_says(
    coding: str, go_on: frozenset[int], pieces: list[bytes], filler_bytes: int, start: int
) -> None:
    half = len(pieces) // 2
    stream = b"".join(pieces[:half]) + bytes([17]) * filler_bytes + b"".join(pieces[half:])
    found = _NEXT_MARKER[coding].search(stream, start)
    end, stuffed_zeros = scan_end(stream, start, go_on)
    if found is None or found.end() == len(stream):  # 0xFF with nothing behind it is no marker
        assert end is None
    else:
        assert end == found.start()
        assert stuffed_zeros == stream.count(b"\xff\x00", start, end)
