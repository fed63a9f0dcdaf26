"""Every transfer syntax to the same stored values, and nothing unbounded."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np
import pydicom
import pytest
from factories import chest_radiograph, drawn_chest, write_dicom
from pydicom.encaps import encapsulate
from samples import public_sample

from dicom_io.foundation.reasons import ReasonCode
from dicom_io.pixels.decoding import UndecodableError, decode_stored_values
from dicom_io.pixels.radiograph import read_radiograph

PIXELS = drawn_chest(61, 47)
SYNTAX = "1.2.840.10008.1.2.4."
_DOWN, _ACROSS = np.ogrid[:300, :200]
WAVES = np.rint(
    2048 + 1900 * np.sin(_ACROSS / 40) * np.cos(_DOWN / 30) + np.random.default_rng(1).normal(0, 20, (300, 200))
).astype(np.uint16)
"""A picture of 12 bits that goes through most of its grey levels, without edges."""


def compressed(syntax: str, frame: bytes, **keywords: object) -> pydicom.Dataset:
    data = encapsulate([frame])
    dataset = chest_radiograph(PIXELS, TransferSyntaxUID=SYNTAX + syntax, PixelData=data, **keywords)
    dataset["PixelData"].is_undefined_length = True
    return dataset


@pytest.mark.parametrize(
    ("syntax", "frame"),
    [
        ("57", imagecodecs.ljpeg_encode(PIXELS, bitspersample=12)),
        ("70", imagecodecs.ljpeg_encode(PIXELS, bitspersample=12)),
        ("80", imagecodecs.jpegls_encode(PIXELS)),
        ("90", imagecodecs.jpeg2k_encode(PIXELS, level=0, reversible=True, codecformat="j2k", bitspersample=12)),
        ("201", imagecodecs.htj2k_encode(PIXELS)),
    ],
)
def test_lossless_syntaxes_give_the_stored_values_back(syntax, frame):
    np.testing.assert_array_equal(decode_stored_values(compressed(syntax, frame)), PIXELS)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"])
def test_uncompressed_and_deflated_syntaxes_give_the_stored_values_back(syntax, tmp_path):
    path = write_dicom(chest_radiograph(PIXELS, TransferSyntaxUID=syntax), tmp_path / "x.dcm")
    np.testing.assert_array_equal(decode_stored_values(pydicom.dcmread(path)), PIXELS)


def test_rle_gives_the_stored_values_back():
    dataset = chest_radiograph(PIXELS)
    dataset.compress("1.2.840.10008.1.2.5")
    np.testing.assert_array_equal(decode_stored_values(dataset), PIXELS)


def test_twelve_bit_extended_jpeg_is_decoded():
    frame = imagecodecs.jpeg8_encode(PIXELS, level=100, bitspersample=12)
    values = decode_stored_values(compressed("51", frame)).astype(int)
    assert np.abs(values - PIXELS).mean() < 20  # lossy; 4096 levels


def test_overlay_bits_above_the_stored_ones_are_cleared():
    values = decode_stored_values(chest_radiograph(PIXELS | 0x8000))
    np.testing.assert_array_equal(values, PIXELS)


def test_letters_above_the_stored_bits_are_cleared_wherever_they_stand():
    letters = np.zeros_like(PIXELS)
    letters[5:20, 5:30:3] = 0x1000
    letters[30:50, ::2] = 0x3000
    np.testing.assert_array_equal(decode_stored_values(chest_radiograph(PIXELS | letters)), PIXELS)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 11])
def test_a_picture_of_more_bits_than_it_says_is_not_read(bits, signed):
    keywords = {"BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": int(signed)}
    pixels = WAVES.astype(np.int16) - 2048 * signed
    with pytest.raises(UndecodableError) as caught:
        decode_stored_values(chest_radiograph(pixels.view(np.uint16), **keywords))
    assert caught.value.reason_code is ReasonCode.UNSUPPORTED_PIXELS


def collimated_with_mask(**keywords: object) -> tuple[np.ndarray, pydicom.Dataset]:
    """Return a film, and it with an overlay in bit 12 over the dark outside of the collimation, beside bright air."""
    film = PIXELS // 4 + 3000
    film[:, :12] = 0
    return film, chest_radiograph(film | np.where(film == 0, 0x1000, 0).astype(np.uint16), **keywords)


def declare_overlay(dataset: pydicom.Dataset, position: int) -> None:
    for element, vr, value in ((0x10, "US", 61), (0x11, "US", 47), (0x40, "CS", "G"), (0x50, "SS", [1, 1])):
        dataset.add_new((0x6000, element), vr, value)
    dataset.add_new((0x6000, 0x100), "US", 16)
    dataset.add_new((0x6000, 0x102), "US", position)


@pytest.mark.parametrize("signed", [False, True])
def test_an_overlay_that_the_header_tells_of_is_cleared_wherever_its_edges_are(signed):
    film, dataset = collimated_with_mask(PixelRepresentation=int(signed))
    declare_overlay(dataset, 12)
    np.testing.assert_array_equal(decode_stored_values(dataset) & 0x0FFF, film)


@pytest.mark.parametrize("position", [0, 11, 13])
def test_an_overlay_elsewhere_excuses_no_picture_above_its_stored_bits(position):
    _, dataset = collimated_with_mask()
    declare_overlay(dataset, position)
    with pytest.raises(UndecodableError):
        decode_stored_values(dataset)


def test_an_overlay_with_data_of_its_own_stands_in_no_bit_of_the_picture():
    _, dataset = collimated_with_mask()
    declare_overlay(dataset, 12)
    dataset.add_new((0x6000, 0x3000), "OW", bytes(360))
    with pytest.raises(UndecodableError):
        decode_stored_values(dataset)


def test_values_without_a_sign_under_a_header_that_gives_them_one_are_not_read():
    """The brighter half of them would be darker than the darkest."""
    with pytest.raises(UndecodableError) as caught:
        decode_stored_values(chest_radiograph(WAVES, PixelRepresentation=1))
    assert caught.value.reason_code is ReasonCode.UNSUPPORTED_PIXELS


@pytest.mark.parametrize(
    ("signed", "word", "stated"),
    [
        (False, 4096, 4096),  # one more than there can be
        (False, 0xFFFF, 0xFFFF),
        (False, 0xF830, 0xF830),
        (True, -2049, -2049),  # one less
        (True, -32768, -32768),
        (True, -2100, -2200),
        (True, -2049, 0xF7FF),  # written as if it had no sign
    ],
)
@pytest.mark.parametrize("window", [(2048, 4096), None])
def test_padding_beyond_the_stored_values_is_black_and_no_picture(signed, word, stated, window):
    pixels = WAVES.astype(np.int32) - 2048 * signed
    keywords = {"PixelRepresentation": int(signed), "WindowCenter": None, "WindowWidth": None}
    if window:
        keywords |= {"WindowCenter": window[0] - 2048 * signed, "WindowWidth": window[1]}
    alone = read_radiograph(chest_radiograph((pixels[:, 30:] & 0xFFFF).astype(np.uint16), **keywords))
    pixels[:, :30] = word
    dataset = chest_radiograph((pixels & 0xFFFF).astype(np.uint16), **keywords)
    dataset.add_new("PixelPaddingValue", "SS" if stated < 0 else "US", stated)
    dataset.add_new("PixelPaddingRangeLimit", "SS" if word < 0 else "US", word)
    padded = read_radiograph(dataset)
    assert padded.pixels[:, :30].max() == 0
    np.testing.assert_array_equal(padded.pixels[:, 30:], alone.pixels)


def test_a_few_values_beyond_the_stored_bits_are_cleared():
    pixels = PIXELS.copy()
    pixels[10, 10:14] = 4097
    assert decode_stored_values(chest_radiograph(pixels)).max() < 4096


@pytest.mark.parametrize("sign_extended", [False, True])
def test_signed_values_are_read_with_and_without_their_sign_above_the_stored_bits(sign_extended):
    pixels = (PIXELS.astype(np.int16) - 2048).view(np.uint16)
    pixels = pixels if sign_extended else pixels & 0x0FFF
    values = decode_stored_values(chest_radiograph(pixels, PixelRepresentation=1))
    np.testing.assert_array_equal(values & 0x0FFF, (PIXELS.astype(np.int16) - 2048).view(np.uint16) & 0x0FFF)


@pytest.mark.parametrize(
    ("keywords", "reason_code"),
    [
        ({"Rows": 0}, ReasonCode.UNSUPPORTED_PIXELS),
        ({"HighBit": 15}, ReasonCode.UNSUPPORTED_PIXELS),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, ReasonCode.UNSUPPORTED_PIXELS),
        ({"BitsStored": 17, "HighBit": 16}, ReasonCode.UNSUPPORTED_PIXELS),
        ({"Rows": None}, ReasonCode.UNSUPPORTED_PIXELS),
        ({"PixelData": None}, ReasonCode.NO_PIXELS),
        ({"PixelData": b""}, ReasonCode.NO_PIXELS),
        ({"NumberOfFrames": 2}, ReasonCode.MULTI_FRAME),
        ({"Rows": 65535, "Columns": 65535}, ReasonCode.TOO_LARGE),
        ({"PixelData": bytes(100)}, ReasonCode.UNDECODABLE),
        ({"TransferSyntaxUID": "1.2.840.10008.1.2.4.90", "PixelData": bytes(900)}, ReasonCode.UNDECODABLE),
        ({"TransferSyntaxUID": "1.2.826.0.1.3680043.9.1"}, ReasonCode.UNDECODABLE),
    ],
)
def test_what_cannot_be_read_says_why(keywords, reason_code):
    with pytest.raises(UndecodableError) as caught:
        decode_stored_values(chest_radiograph(**keywords))
    assert caught.value.reason_code is reason_code


@pytest.mark.parametrize("syntax", ["50", "70", "80", "90", "201"])
@pytest.mark.parametrize(
    "frame", [b"\xff\xd8\xff\xda", b"\0" * 64, b"\xff\xd8\xff\xc0\x00\x0b\x0c\xff\xff\xff\xff\x01\x01\x11\x00"]
)
def test_broken_code_streams_are_undecodable(syntax, frame):
    with pytest.raises(UndecodableError) as caught:
        decode_stored_values(compressed(syntax, frame))
    assert caught.value.reason_code is ReasonCode.UNDECODABLE


def test_a_code_stream_larger_than_announced_is_refused_before_decoding():
    bomb = bytearray(imagecodecs.jpeg2k_encode(PIXELS, level=0, codecformat="j2k"))
    struct.pack_into(">II", bomb, bomb.index(b"\xff\x51") + 6, 60_000, 60_000)
    with pytest.raises(UndecodableError, match="60000 x 60000"):
        decode_stored_values(compressed("90", bytes(bomb)))


def test_a_truncated_code_stream_is_undecodable():
    frame = imagecodecs.jpegls_encode(PIXELS)
    with pytest.raises(UndecodableError):
        decode_stored_values(compressed("80", frame[: len(frame) // 2]))


@pytest.mark.parametrize("name", ["RG1", "RG3"])
def test_real_lossless_copies_decode_identically(name):
    plain, jpeg2000 = (
        decode_stored_values(pydicom.dcmread(public_sample(f"{name}_{kind}.dcm"))) for kind in ("UNCR", "J2KR")
    )
    np.testing.assert_array_equal(plain, jpeg2000)


def lossy(syntax: str, pixels: np.ndarray, bits: int) -> pydicom.Dataset:
    """Return a picture of 12 bits in a lossy stream, under a header that says `bits`."""
    wavelet = {"level": 60, "reversible": False, "codecformat": "j2k", "bitspersample": 12}
    encode = {
        "51": lambda: imagecodecs.jpeg8_encode(pixels, level=100, bitspersample=12),
        "81": lambda: imagecodecs.jpegls_encode(pixels, level=2),
        "91": lambda: imagecodecs.jpeg2k_encode(pixels, **wavelet),
    }
    data = encapsulate([encode[syntax]()])
    keywords = {"TransferSyntaxUID": SYNTAX + syntax, "BitsStored": bits, "HighBit": bits - 1, "PixelData": data}
    dataset = chest_radiograph(pixels, **keywords)
    dataset["PixelData"].is_undefined_length = True
    return dataset


LOSSY = ("51", "81", "91")


@pytest.mark.parametrize("bits", [8, 10, 11])
@pytest.mark.parametrize("syntax", LOSSY)
def test_a_lossy_picture_of_more_bits_than_it_says_is_not_read(syntax, bits):
    with pytest.raises(UndecodableError) as caught:
        decode_stored_values(lossy(syntax, WAVES, bits))
    assert caught.value.reason_code is ReasonCode.UNSUPPORTED_PIXELS


@pytest.mark.parametrize("syntax", LOSSY)
def test_samples_that_lossy_coding_rounded_beyond_the_stored_values_are_the_highest(syntax):
    bright = np.full_like(PIXELS, 1010)
    bright[:, ::2] = 1040  # above the 1023 of ten bits, as if rounded there, in half of the picture
    values = decode_stored_values(lossy(syntax, bright, 10))
    assert values.max() == 1023
    assert values.min() > 990


@pytest.mark.parametrize("syntax", LOSSY)
def test_letters_of_an_overlay_in_a_lossy_picture_are_the_highest_value(syntax):
    pixels = np.clip(WAVES // 4, 0, 1023).astype(np.uint16)
    lettered = pixels.copy()
    lettered[5:45, 5:45:8] += 1024
    values = decode_stored_values(lossy(syntax, lettered, 10)).astype(int)
    assert np.median(np.abs(values - pixels)[60:]) < 8
